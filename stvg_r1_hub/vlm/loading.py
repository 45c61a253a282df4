"""A checkpoint's folder -> the model in memory: architecture, precision, with an adapter."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.config import TIMES_AS_TEXT
from stvg_r1_hub.errors import ConfigError, ModelError, require_package
from stvg_r1_hub.vlm.adapter import with_adapter

if TYPE_CHECKING:
    import torch

ARCHITECTURES = ("qwen2_5_vl", "qwen2_vl", *TIMES_AS_TEXT)
"""`model_type` of the checkpoints that `LocalVLM` runs."""
DTYPES = ("float32", "float16", "bfloat16")
QUANTIZATIONS = ("4bit", "8bit", "int8")
"""bitsandbytes in 4 or 8 bits, or torchao weights in 8 bits; the vision tower stays as it is."""
_NOT_QUANTIZED = ["model.visual", "lm_head"]


def check_architecture(name: str, model_type: str, position_rule: str) -> None:
    """Whether this backend can run a checkpoint.

    Raises:
        ModelError: another architecture.
        ConfigError: the position rule is not one the architecture was trained with.
    """
    if model_type not in ARCHITECTURES:
        raise ModelError(
            f"{name} is a {model_type!r} model; this version runs {', '.join(ARCHITECTURES)} "
            "models (Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5 and their fine-tunes), so choose one "
            "of those."
        )
    as_text = model_type in TIMES_AS_TEXT
    if as_text != (position_rule == "timestamps"):
        needed = "'timestamps'" if as_text else "'transformers-4.50' or 'installed'"
        raise ConfigError(
            f"Got position_rule {position_rule!r} for the {model_type!r} model {name}, which needs "
            f"{needed}: correct it in stvg_config.json."
        )


def check_folder(folder: Path, position_rule: str) -> None:
    """All that can be said of a local checkpoint without loading it.

    Raises:
        ModelError: another architecture, also one that the installed transformers does not know;
            something missing; or damaged weights.
        ConfigError: as `check_architecture`.
    """
    model_type = _json(folder / "config.json").get("model_type")
    if isinstance(model_type, str):
        check_architecture(str(folder), model_type, position_rule)
    check_complete(folder)
    check_whole(folder)


def check_complete(folder: Path) -> None:
    """Whether a local checkpoint holds all that is needed to run it.

    transformers fills what a config lacks with the values of another model, so this looks first.

    Raises:
        ModelError: with the list of what is missing.
    """
    config = _json(folder / "config.json")
    text = config.get("text_config") or config
    needed = {
        "vision_config": config,
        "video_token_id": config,
        **dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads"), text),
        "vocab_size": text,
    }
    missing = [f"'{key}' in config.json" for key, place in needed.items() if key not in place]
    missing += _missing_shards(folder)
    one_of = {
        "tokenizer.json": ("tokenizer.json", "vocab.json"),
        "preprocessor_config.json": (
            "preprocessor_config.json",
            "video_preprocessor_config.json",
            "processor_config.json",
        ),
    }
    for wanted, names in one_of.items():
        if not any((folder / name).is_file() for name in names):
            missing.append(wanted)
    templates = ("chat_template.jinja", "chat_template.json")
    if not any((folder / name).is_file() for name in templates) and not any(
        _json(folder / name).get("chat_template")
        for name in ("tokenizer_config.json", "processor_config.json")
    ):
        missing.append("chat_template.jinja")
    if missing:
        raise ModelError(
            f"The checkpoint {folder} is incomplete: it lacks {_first_three(missing)}; download it "
            "again, or add these from the model it was made from."
        )


def _missing_shards(folder: Path) -> list[str]:
    """Files that the index of the weights names and that are not there."""
    if (folder / "model.safetensors").is_file():
        return []  # transformers takes this one, whatever an index beside it says.
    index = _json(folder / "model.safetensors.index.json").get("weight_map")
    shards = set(map(str, index.values())) if isinstance(index, dict) else set()
    return [name for name in sorted(shards) if not (folder / name).is_file()]


def check_whole(folder: Path) -> None:
    """Whether the weights of a model or an adapter are files that can be read to their end.

    Raises:
        ModelError: one is damaged or cut off; says how to fetch it again.
    """
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy"):  # Compares the header with the file's length.
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{path.name} of {folder} is damaged or only half downloaded ({error}); "
                f"{_fetch_again(path)}"
            ) from error


def _fetch_again(file: Path) -> str:
    """What to do about a bad file: in the Hub's cache deleting it alone would not help."""
    snapshots, cached = file.parent.parent, file.parent.parent.parent.name
    if snapshots.name != "snapshots" or not cached.startswith("models--"):
        return "delete it, and copy or download it again."
    repo = cached.removeprefix("models--").replace("--", "/")
    revision = "" if file.parent.name == _main(snapshots) else f" --revision {file.parent.name}"
    return f"fetch it again with: hf download {repo} {file.name}{revision} --force-download"


def _main(snapshots: Path) -> str | None:
    """Commit of the branch main, as the cache has it."""
    try:
        return (snapshots.parent / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _json(path: Path) -> dict[str, Any]:
    """A JSON object's content; empty when there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


@dataclass(frozen=True)
class Placement:
    """Where a language model is held in memory, and in which form.

    Raises:
        ConfigError: an unknown dtype or quantization.
    """

    device: str = "cpu"
    """A torch device; ignored when `device_map` is given."""
    device_map: str | dict[str, Any] | None = None
    """As in transformers."""
    dtype: str | None = None
    """One of `DTYPES`; None is float32 on a CPU and bfloat16 elsewhere."""
    attn_implementation: str | None = None
    """As in transformers; None is flash-attention 2 on a CUDA device that has it, else sdpa."""
    quantization: str | None = None
    """One of `QUANTIZATIONS`, or None."""

    def __post_init__(self) -> None:
        for what, given, allowed in (
            ("dtype", self.dtype, DTYPES),
            ("quantization", self.quantization, QUANTIZATIONS),
        ):
            if given is not None and given not in allowed:
                names = ", ".join(map(repr, allowed))
                raise ConfigError(f"Got {what} {given!r}; it must be one of {names}, or None.")


def load_model(
    folder: Path, placement: Placement, *, adapter: Path | None
) -> tuple[Any, tuple[str, ...]]:
    """Load weights (safetensors only, no remote code), put an adapter on them.

    Args:
        folder: with the checkpoint's files.
        placement: where it goes.
        adapter: folder of a PEFT adapter; merged into the weights where these are not quantized.

    Returns:
        The model, and what is worth knowing about its files, one sentence each.

    Raises:
        ModelError: the weights or the adapter cannot be loaded.
    """
    from transformers import AutoModelForImageTextToText

    device, device_map = placement.device, placement.device_map
    torch_dtype = _torch_dtype(placement.dtype, device_map is not None or device != "cpu")
    quantized = _quantization(placement.quantization, torch_dtype)
    with _without_table():
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            str(folder),
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch_dtype,
            attn_implementation=placement.attn_implementation
            or _attention(torch_dtype, device, device_map),
            # With a map weights go from the file to the device, without being held in between.
            device_map=device_map or {"": device},
            output_loading_info=True,
            # None would take away what a quantized checkpoint says of itself.
            **({} if quantized is None else {"quantization_config": quantized}),
        )
    model, report = loaded
    is_quantized = getattr(model, "hf_quantizer", None) is not None
    # transformers would go on with random numbers in their place.
    absent = sorted(report["missing_keys"])
    if absent:
        raise ModelError(
            f"{folder} lacks weights: {_first_three(absent)}; "
            "download it again, or save it with all its weights."
        )
    unused = sorted(report["unexpected_keys"])
    messages: tuple[str, ...] = ()
    if unused:
        messages = (
            f"{folder} has weights that its config.json has no place for, and they are not "
            f"used: {_first_three(unused)}; check that config and weights belong together.",
        )
    if adapter is not None:
        # Quantized weights cannot take it in, whether we quantized them or they came so.
        model, more = with_adapter(model, adapter, str(folder), merge=not is_quantized)
        messages += more
    return model, messages


@contextlib.contextmanager
def _without_table() -> Iterator[None]:
    """Keep back transformers' table of weights that did not fit; we say it in a sentence."""
    log = logging.getLogger("transformers.modeling_utils")

    def is_not_table(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    log.addFilter(is_not_table)
    try:
        yield
    finally:
        log.removeFilter(is_not_table)


def _first_three(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _attention(dtype: torch.dtype, device: str, device_map: Any) -> str:
    import torch
    from transformers.utils.import_utils import is_flash_attn_2_available

    on_cuda = device.startswith("cuda") or (device_map is not None and torch.cuda.is_available())
    usable = on_cuda and dtype != torch.float32 and is_flash_attn_2_available()
    return "flash_attention_2" if usable else "sdpa"


def _torch_dtype(name: str | None, on_gpu: bool) -> torch.dtype:
    import torch

    if name is None:
        return torch.bfloat16 if on_gpu else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _quantization(name: str | None, dtype: torch.dtype) -> Any:
    if name is None:
        return None
    if name in ("4bit", "8bit"):
        require_package("bitsandbytes", "quantization")
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=name == "4bit",
            load_in_8bit=name == "8bit",
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=_NOT_QUANTIZED,
        )
    require_package("torchao.quantization", "quantization")
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=_NOT_QUANTIZED)
