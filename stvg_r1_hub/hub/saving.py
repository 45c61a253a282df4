"""A model's files -> a folder or a Hub repository: what is copied, the card, the upload."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from stvg_r1_hub.config import CONFIG_NAME, STVGConfig
from stvg_r1_hub.errors import ModelError, OutputError
from stvg_r1_hub.hub import base_of, fingerprint, is_adapter
from stvg_r1_hub.hub.card import CARD_NAME, CardFacts, card_data, model_card
from stvg_r1_hub.hub.client_errors import sending
from stvg_r1_hub.hub.files import FILE_PATTERNS, is_stage
from stvg_r1_hub.hub.results import EVAL_RESULTS_PATTERN, eval_results, read_figures
from stvg_r1_hub.hub.training_record import hub_base, load_training

STALE_PATTERNS = ("*.safetensors", "*.safetensors.index.json", EVAL_RESULTS_PATTERN)
"""Files of an earlier push that would be taken for the new model's; its commit removes them."""


def model_files(folder: Path) -> list[Path]:
    """The files of a bundle that may be copied or pushed, relative to its folder, sorted."""
    files = (p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file())
    return [f for f in files if _is_of_bundle(f)]


def _is_of_bundle(file: Path) -> bool:
    if fnmatch(file.as_posix(), EVAL_RESULTS_PATTERN):
        return True
    aside = is_stage(file) or any(part.startswith(".") for part in file.parts)
    return not aside and any(fnmatch(file.name, pattern) for pattern in FILE_PATTERNS)


def card_facts(source: Path, config: STVGConfig, results: str | Path | None = None) -> CardFacts:
    """What the card of a copy may say: the original's card, its training, an evaluation.

    Args:
        source: folder of the model or adapter.
        config: the settings it is saved with.
        results: what an evaluation wrote; see `card_results.read_figures`.

    Raises:
        ModelError: the results cannot be read, hold no figures, or are of other weights; or the
            record of the training cannot be read.
    """
    data = card_data(source)
    license_name, base = getattr(data, "license", None), getattr(data, "base_model", None)
    training = load_training(source)
    base = hub_base(training) or base
    relation = "finetune"
    if is_adapter(source):
        base, relation = base_of(source, source)[0], "adapter"
    figures = None if results is None else read_figures(results, fingerprint(source, config))
    return CardFacts(
        license=license_name if isinstance(license_name, str) else None,
        base_model=base if isinstance(base, str) and "/" in base else None,
        relation=relation,
        own_detector=(source / config.tracking.detector).is_dir(),
        training=training,
        figures=figures,
    )


def write_files(
    source: Path,
    config: STVGConfig,
    name: str,
    folder: Path,
    *,
    results: str | Path | None = None,
    put: Callable[[Path, Path], object] = shutil.copyfile,
) -> None:
    """Fill a folder with the files of a bundle.

    Args:
        source: the bundle or bare model whose weights are taken.
        config: settings to save beside them.
        name: what the model is called in the card.
        folder: an empty folder.
        results: what an evaluation wrote; its figures go into the card.
        put: called with a file of the source and where it shall be.

    Raises:
        ModelError: as `card_facts`.
        OSError: the folder cannot be written.
    """
    facts = card_facts(source, config, results)
    for file in model_files(source):
        # The card is written anew; results of an evaluation are never taken over unseen.
        if file.parts[0] in (CARD_NAME, CONFIG_NAME) or file.parts[0].startswith("."):
            continue
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        put(source / file, folder / file)
    config.save(folder)
    (folder / CARD_NAME).write_text(model_card(name, config, facts), encoding="utf-8")
    for path, text in eval_results(facts.figures or {}).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


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
        ModelError: as `card_facts`.
        OutputError: the target holds something else, or cannot be written.
    """
    target = Path(target)
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
        temporary.mkdir()
        write_files(source, config, name, temporary, results=results)
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
    """Upload a bundle to the Hub, creating the repository and the branch when missing.

    What is there already is not sent again, so a broken upload is simply repeated. Weights of an
    earlier push that are not among the new ones are removed.

    Returns:
        Address of the commit; in a dry run, which sends nothing, a line a file with its bytes.

    Raises:
        ModelError: the Hub cannot be reached or refuses, or as `card_facts`; or an adapter whose
            base model is a folder on this disk, so that nobody else could load it.
    """
    from huggingface_hub import HfApi

    if is_adapter(source) and Path(base_of(source, source)[0]).is_dir():
        raise ModelError(
            f"The base model of the adapter {source} is the folder {base_of(source, source)[0]} on "
            "this disk: push that first and write its Hub id into adapter_config.json, or train "
            "with merge_adapter: true."
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_files(source, config, repo_id, folder, results=results, put=_link)
        if dry_run:
            return "\n".join(
                f"{(folder / file).stat().st_size:>12} {file.as_posix()}"
                for file in model_files(folder)
            )
        api = HfApi(token=token)
        with sending(repo_id):
            api.create_repo(repo_id, private=private, exist_ok=True)
            if revision is not None and not revision.startswith("refs/"):
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=commit_message,
                delete_patterns=list(STALE_PATTERNS),
            )
    return str(commit)


def _link(source: Path, target: Path) -> None:
    """Weights are not copied only to be read once; where links are not allowed they are."""
    try:
        os.symlink(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
