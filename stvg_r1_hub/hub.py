"""A model's name -> its files on this disk, and back: load, save, push.

A *bundle* is a vision-language model's repository (config, weights, tokenizer at the root) with a
`stvg_config.json` beside the weights and, if it has a detector of its own, a folder for that.
A repository without `stvg_config.json` is a bare model and gets the official STVG-R1 preset.
Only safetensors, ONNX and text files are ever fetched or copied: never a pickle.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from stvg_r1_hub.config import CONFIG_NAME, SamplingConfig, STVGConfig
from stvg_r1_hub.errors import ModelError, OutputError
from stvg_r1_hub.model_card import CARD_NAME, CardFacts, model_card, read_figures

BUNDLED = Path(__file__).parent / "bundled"
BUNDLED_MODELS = ("tiny",)
_ADAPTER_CONFIG = "adapter_config.json"
FILE_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.md", "*.onnx")


@dataclass(frozen=True)
class Bundle:
    """A model's files and settings."""

    name: str
    """What was asked for."""
    folder: Path
    """Where the language model's weights lie."""
    config: STVGConfig
    warnings: tuple[str, ...] = ()
    adapter: Path | None = None
    """Folder of a PEFT adapter for these weights."""

    @property
    def own_folder(self) -> Path:
        """The folder of what was asked for: of the adapter, where it is one."""
        return self.adapter or self.folder

    @property
    def detector_home(self) -> Path:
        """The folder that holds the detector its settings name: an adapter may use its base's."""
        inside = (self.folder / self.config.tracking.detector).is_dir()
        own = self.adapter is not None and (self.adapter / self.config.tracking.detector).is_dir()
        return self.folder if inside and not own else self.own_folder


def load_bundle(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    weights: bool = True,
) -> Bundle:
    """Find or download a model and read its settings.

    Args:
        name: a local folder (wins), a bundled model such as `"tiny"`, or a Hub id `"owner/name"`.
        revision: branch, tag or commit on the Hub.
        token: Hub token; None uses the one of `hf auth login`.
        cache_dir: where downloads are kept; None uses the Hub's own cache.
        local_files_only: never use the network.
        weights: fetch and require the weights; False takes the settings alone.

    Raises:
        ModelError: unknown, gated, out of reach, or without the files of a model.
        ConfigError: its `stvg_config.json` cannot be used.
    """

    def fetch(name: str | Path, revision: str | None) -> Path:
        return resolve(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            weights=weights,
        )

    folder, adapter = fetch(name, revision), None
    if (folder / _ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file():
        adapter = folder
        base, base_revision = _base_of(name, adapter)
        folder = fetch(base, base_revision)
        _check_model_files(base, folder, weights)
    else:
        _check_model_files(name, folder, weights)
    for place in (adapter, folder):
        if place is not None and (place / CONFIG_NAME).is_file():
            return Bundle(str(name), folder, STVGConfig.load(place), (), adapter)
    return Bundle(str(name), folder, _preset(folder), (_bare(name, folder),), adapter)


def _base_of(name: str | Path, adapter: Path) -> tuple[str, str | None]:
    """Name and revision of the model that an adapter was trained on."""
    if not (adapter / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"The adapter {name} has no adapter_model.safetensors; other formats are refused "
            "because they can run code: save it again with peft's save_pretrained."
        )
    try:
        values = json.loads((adapter / _ADAPTER_CONFIG).read_text(encoding="utf-8"))
        base, revision = values["base_model_name_or_path"], values.get("revision")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        base, revision = None, None
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"The adapter {name} does not say which model it belongs to; "
            f"set base_model_name_or_path in its {_ADAPTER_CONFIG}."
        )
    return base, revision if isinstance(revision, str) else None


def _preset(folder: Path) -> STVGConfig:
    """The official settings, in the units of a bare model's architecture."""
    if _model_type(folder) != "qwen3_vl":
        return STVGConfig()
    # Patches of 16 pixels instead of 14, merged by two; the same number of tokens.
    sampling = SamplingConfig(size_factor=32, min_pixels=16 * 32 * 32, total_pixels=2048 * 32 * 32)
    return STVGConfig(sampling=sampling, position_rule="timestamps")


def _bare(name: str | Path, folder: Path) -> str:
    times = ", times as text" if _model_type(folder) == "qwen3_vl" else ""
    return (
        f"{name} has no {CONFIG_NAME}: the official STVG-R1 preset is used "
        f"(2 frames per second, official prompt and markers{times})."
    )


def _model_type(folder: Path) -> str | None:
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values.get("model_type") if isinstance(values, dict) else None


def resolve(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    weights: bool = True,
) -> Path:
    """The folder with a model's files; see `load_bundle` for the arguments and errors."""
    folder = Path(name)
    if folder.is_dir():
        return folder
    text = str(name)
    if text in BUNDLED_MODELS:
        if not (BUNDLED / text).is_dir():
            raise ModelError(
                f"The bundled model '{text}' is missing from this installation; "
                "reinstall with: pip install --force-reinstall stvg-r1-hub"
            )
        return BUNDLED / text
    owner, slash, repo = text.partition("/")
    is_hub_id = (
        bool(slash and owner and repo) and "/" not in repo and not text.startswith((".", "~"))
    )
    if isinstance(name, Path) or not is_hub_id:
        raise ModelError(
            f"There is no model '{text}': it is no folder on this disk, no bundled model "
            f"({', '.join(BUNDLED_MODELS)}) and no Hub id of the form 'owner/name'."
        )
    return _download(text, revision, token, cache_dir, local_files_only, weights)


def _download(
    repo_id: str,
    revision: str | None,
    token: str | None,
    cache_dir: str | Path | None,
    local_files_only: bool,
    weights: bool,
) -> Path:
    from huggingface_hub import snapshot_download

    with _hub_errors(repo_id, revision):
        folder = snapshot_download(
            repo_id,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=list(FILE_PATTERNS),
            # Detectors lie in folders of their own and are always wanted.
            ignore_patterns=None if weights else ["*.safetensors"],
        )
    return Path(str(folder))


@contextmanager
def _hub_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Turn the Hub client's errors into one sentence each."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except HFValidationError as error:
        raise ModelError(
            f"'{repo_id}' is not a valid Hub id; it must have the form 'owner/name'."
        ) from error
    except GatedRepoError as error:
        raise ModelError(
            f"Access to {repo_id} is gated: accept its terms on huggingface.co/{repo_id}, "
            "then log in with: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no model {repo_id} on the Hub, or it is private: check the name, "
            "or log in with: hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"{repo_id} has no revision '{revision}'; name one of its branches, tags or commits."
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ModelError(_out_of_reach(repo_id, revision, error)) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "no status")
        raise ModelError(
            f"The Hub refused the request for {repo_id} (HTTP {status}); "
            "check your token and try again later."
        ) from error
    except OSError as error:
        raise ModelError(
            f"Cannot fetch {repo_id}: {error.strerror or error}; check the network and the disk."
        ) from error


def _out_of_reach(repo_id: str, revision: str | None, error: Exception) -> str:
    wanted = f"{repo_id} at revision '{revision}'" if revision else repo_id
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    cause = error.__cause__
    if offline or cause is None:
        return (
            f"{wanted} is not in the local cache and downloads are switched off; "
            "unset HF_HUB_OFFLINE and local_files_only, or use the bundled model 'tiny'."
        )
    return (
        f"{wanted} is not in the local cache and the Hub cannot be reached; "
        "check the network, or use the bundled model 'tiny'."
    )


def _check_model_files(name: str | Path, folder: Path, weights: bool) -> None:
    if (folder / "config.json").is_file():
        if weights and not any(folder.glob("*.safetensors")):
            raise ModelError(
                f"{name} has no .safetensors weights; other formats are refused because they can "
                "run code: convert them with transformers' save_pretrained."
            )
        return
    raise ModelError(
        f"{name} is not a model: {folder} has no config.json; "
        "name a folder or repository that holds a Qwen2.5-VL model."
    )


def model_files(folder: Path) -> list[Path]:
    """The files of a bundle that may be copied or pushed, relative to its folder, sorted."""
    files = (p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file())
    return [
        f
        for f in files
        if any(fnmatch(f.name, pattern) for pattern in FILE_PATTERNS)
        and not any(part.startswith(".") for part in f.parts)
    ]


def card_facts(source: Path, results: str | Path | None = None) -> CardFacts:
    """What the card of a copy may say: what the original's card and an evaluation say.

    Args:
        source: folder of the model or adapter.
        results: what an evaluation wrote; see `model_card.read_figures`.

    Raises:
        ModelError: the results cannot be read or hold no figures.
    """
    from huggingface_hub import ModelCard

    license_name = base = None
    card = source / CARD_NAME
    if card.is_file():
        try:
            data = ModelCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
        except (ValueError, OSError):
            data = None
        license_name, base = getattr(data, "license", None), getattr(data, "base_model", None)
    relation = "finetune"
    if (source / _ADAPTER_CONFIG).is_file() and not (source / "config.json").is_file():
        base, relation = _base_of(source, source)[0], "adapter"
    return CardFacts(
        license=license_name if isinstance(license_name, str) else None,
        base_model=base if isinstance(base, str) and "/" in base else None,
        relation=relation,
        figures=None if results is None else read_figures(results),
    )


def save_bundle(
    source: Path,
    config: STVGConfig,
    name: str,
    target: str | Path,
    *,
    results: str | Path | None = None,
) -> Path:
    """Write a bundle: the files of `source` with `config` and a model card.

    The folder appears whole or not at all; a bundle that is already there is replaced.

    Args:
        source: the bundle or bare model whose weights are copied.
        config: settings to save beside them.
        name: what the model is called in the card.
        target: folder to write.
        results: what an evaluation wrote; its figures go into the card.

    Raises:
        ModelError: the results cannot be read or hold no figures.
        OutputError: the target holds something else, or cannot be written.
    """
    target = Path(target)
    facts = card_facts(source, results)
    if target.exists() and target.resolve() == source.resolve():
        raise OutputError(f"Cannot save into {target}: the model is loaded from there.")
    if target.exists() and not _may_replace(target):
        raise OutputError(
            f"Cannot save into {target}: it exists and is no saved pipeline, or holds other files "
            "too; name a new or an empty folder."
        )
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for file in model_files(source):
            if file.name != CARD_NAME or file.parent != Path("."):
                (temporary / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / file, temporary / file)
        config.save(temporary)
        (temporary / CARD_NAME).write_text(model_card(name, config, facts), encoding="utf-8")
        if target.exists():
            # A folder cannot be replaced in one step, so the old one steps aside first.
            old = temporary.with_name(temporary.name + ".old")
            os.rename(target, old)
            try:
                os.rename(temporary, target)
            except OSError:
                os.rename(old, target)
                raise
            shutil.rmtree(old)
        else:
            os.rename(temporary, target)
    except OSError as error:
        raise OutputError(f"Cannot save into {target}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _may_replace(target: Path) -> bool:
    """Whether nothing would be lost: an empty folder, or a bundle and nothing else."""
    if not target.is_dir():
        return False
    files = {p.relative_to(target) for p in target.rglob("*") if not p.is_dir()}
    return not files or (Path(CONFIG_NAME) in files and files <= set(model_files(target)))


def push_bundle(
    source: Path,
    config: STVGConfig,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload an STVG-R1 pipeline",
    results: str | Path | None = None,
    dry_run: bool = False,
) -> str:
    """Upload a bundle to the Hub, creating the repository when missing.

    What is there already is not sent again, so a broken upload is simply repeated.

    Returns:
        Address of the commit; in a dry run, which sends nothing, a line a file with its bytes.

    Raises:
        ModelError: the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as scratch, _hub_errors(repo_id, revision):
        folder = save_bundle(source, config, repo_id, Path(scratch) / "bundle", results=results)
        if dry_run:
            return "\n".join(
                f"{(folder / file).stat().st_size:>12} {file}" for file in model_files(folder)
            )
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message,
        )
    return str(commit)
