"""A model's name -> its files on this disk, and its settings.

A *bundle* is a vision-language model's repository (config, weights, tokenizer at the root) with a
`stvg_config.json` beside the weights and, if it has a detector of its own, a folder for that.
A repository without `stvg_config.json` is a bare model and gets the official STVG-R1 preset.
Only safetensors, ONNX and text files are ever fetched or copied: never a pickle.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from stvg_r1_hub.config import CONFIG_NAME, TIMES_AS_TEXT, SamplingConfig, STVGConfig
from stvg_r1_hub.errors import ModelError, package_origin
from stvg_r1_hub.hub.files import HubAccess, fetch, holds, is_stage
from stvg_r1_hub.hub.training_record import TRAINING_NAME

BUNDLED = Path(__file__).parents[1] / "bundled"
BUNDLED_MODELS = ("tiny", "zero-shot")
"""A model, and the settings for any model that a server runs."""
ABOUT_BUNDLED = (
    "The bundled model knows everyday objects by kind, colour, place and movement; anything else "
    "needs a larger model."
)
"""Said where a bundled model is loaded; its card says more."""
ADAPTER_CONFIG = "adapter_config.json"
_NOT_LORA = "non_lora_state_dict.bin"
LANGUAGE_MODEL = ("model*.safetensors", "adapter_model*.safetensors")
"""Weights of the language model, or of an adapter for it; those of a detector lie in a folder."""


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
    name: str | Path, access: HubAccess = HubAccess(), *, weights: bool = True
) -> Bundle:
    """Find or download a model and read its settings.

    Args:
        name: a local folder (wins), a bundled model such as `"tiny"`, or a Hub id `"owner/name"`.
        access: how the Hub is asked.
        weights: fetch and require the weights; False leaves those of the language model out.

    Raises:
        ModelError: unknown, gated, out of reach, or without the files of a model.
        ConfigError: its `stvg_config.json` cannot be used.
    """
    folder, adapter = resolve(name, access, weights=weights), None
    warnings: tuple[str, ...] = ()
    if is_adapter(folder):
        adapter = folder
        base, base_revision = base_of(name, adapter, weights=weights)
        folder = resolve(base, replace(access, revision=base_revision), weights=weights)
        _check_model_files(base, folder, weights)
        on_hub = not access.local_files_only and local_folder(name) is None
        if (adapter / _NOT_LORA).is_file() or (on_hub and holds(str(name), _NOT_LORA, access)):
            warnings = (
                f"{name} also has {_NOT_LORA}, weights trained beside the adapter: they are not "
                "used, because that file is a pickle, which can run code; merge them into the "
                "model with its trainer and save that as safetensors.",
            )
    else:
        _check_model_files(name, folder, weights)
    if folder.parent == BUNDLED:
        name = folder.name  # However it was named, such as by its path.
    for place in (adapter, folder):
        if place is not None and (place / CONFIG_NAME).is_file():
            return Bundle(str(name), folder, STVGConfig.load(place), warnings, adapter)
    return Bundle(str(name), folder, _preset(folder), (_bare(name, folder), *warnings), adapter)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter and no weights of a whole model.

    Trainers put the base model's config and tokenizer beside an adapter.
    """
    whole = any(folder.glob("model*.safetensors*"))
    return (folder / ADAPTER_CONFIG).is_file() and not whole


def base_of(name: str | Path, adapter: Path, *, weights: bool = True) -> tuple[str, str | None]:
    """Name and revision of the model that an adapter was trained on.

    Raises:
        ModelError: the adapter has no safetensors weights where `weights` are asked for, or does
            not say.
    """
    if weights and not (adapter / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"The adapter {name} has no adapter_model.safetensors; other formats are refused "
            "because they can run code: save it again with peft's save_pretrained."
        )
    try:
        values = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        base, revision = values["base_model_name_or_path"], values.get("revision")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        base, revision = None, None
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"The adapter {name} does not say which model it belongs to; "
            f"set base_model_name_or_path in its {ADAPTER_CONFIG}."
        )
    try:
        local_folder(base)
    except ModelError as error:
        raise ModelError(
            f"The adapter {name} was trained on '{base[-80:]}', which is no folder on this disk, "
            "no bundled model and no Hub id; write where that model is as base_model_name_or_path "
            f"into its {ADAPTER_CONFIG}."
        ) from error
    return base, revision if isinstance(revision, str) else None


def _preset(folder: Path) -> STVGConfig:
    """The official settings, in the units of a bare model's architecture."""
    if _model_type(folder) not in TIMES_AS_TEXT:
        return STVGConfig()
    # Patches of 16 pixels instead of 14, merged by two; the same number of tokens.
    sampling = SamplingConfig(size_factor=32, min_pixels=16 * 32 * 32, total_pixels=2048 * 32 * 32)
    return STVGConfig(sampling=sampling, position_rule="timestamps")


def _bare(name: str | Path, folder: Path) -> str:
    times = ", times as text" if _model_type(folder) in TIMES_AS_TEXT else ""
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


def resolve(name: str | Path, access: HubAccess = HubAccess(), *, weights: bool = True) -> Path:
    """The folder with a model's files; see `load_bundle` for the arguments and errors."""
    return local_folder(name) or fetch(str(name), access, without=() if weights else LANGUAGE_MODEL)


def local_folder(name: str | Path) -> Path | None:
    """The folder of a model on this disk or in the package; None for a Hub id.

    Raises:
        ModelError: neither of these, so that nothing need be asked of the Hub.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    text = str(name)
    if text in BUNDLED_MODELS:
        if not (BUNDLED / text).is_dir():
            raise ModelError(
                f"The bundled model '{text}' is missing from this installation; "
                f"reinstall with: pip install --force-reinstall --no-deps {package_origin()}"
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
    return None


def _check_model_files(name: str | Path, folder: Path, weights: bool) -> None:
    if (folder / "config.json").is_file():
        if weights and not any(folder.glob("*.safetensors")):
            raise ModelError(
                f"{name} has no .safetensors weights; other formats are refused because they can "
                "run code: convert them with transformers' save_pretrained."
            )
        return
    if (folder / CONFIG_NAME).is_file():
        if not weights:
            return
        raise ModelError(
            f"{name} is settings alone, for a model that a server runs; name the server with "
            "--server URL, or as vlm=ServerVLM(url)."
        )
    raise ModelError(
        f"{name} is not a model: {folder} has no config.json; "
        "name a folder or repository that holds a Qwen2.5-VL model."
    )


_FINGERPRINTED = (".safetensors", ".json", ".onnx", ".txt", ".jinja")
_WHOLE_BYTES = 64 * 1024**2
_SAMPLE_BYTES, _SAMPLES = 64 * 1024, 256


def fingerprint(folder: Path, config: STVGConfig) -> str:
    """SHA-256 of a model's settings and of the names, sizes and content of its files.

    Of files above 64 MB it reads 256 pieces of 64 kB, spread evenly from the first byte to the
    last: no training leaves all of them as they were. A saved copy has the same fingerprint.

    Args:
        folder: of the model, or of the adapter.
        config: the settings it is used with.
    """
    digest = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        # The settings are in the digest already; how it was trained changes no answer.
        if hidden or is_stage(name) or path.suffix not in _FINGERPRINTED:
            continue
        if name.name in (CONFIG_NAME, TRAINING_NAME):
            continue
        size = path.stat().st_size
        digest.update(f"{name.as_posix()} {size}\n".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_BYTES:
                digest.update(file.read())
                continue
            for i in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * i // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()
