"""A PEFT adapter on a model, whatever trainer and release wrote it.

The names of its weights say which layers an adapter changes, and their shapes with what rank. What
its config says about that, in lists, regular expressions and patterns, was written for the layer
names of its time, and is read with these.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.errors import ModelError, first_line

if TYPE_CHECKING:
    import torch

WEIGHTS = "adapter_model.safetensors"
NAMES = (
    (r"^(base_model\.model\.)*", ""),
    # A state dict saved as it is, without peft: `lora_A.default.weight`.
    (r"(\.lora_[a-zA-Z_]+)\.default(?=\.|$)", r"\1"),
    (r"\.modules_to_save\.default\.", "."),
    # Rewritten for vLLM.
    (r"^language_model\.model\.", "model.language_model."),
    # transformers up to 4.51, and adapters of the model without its head.
    (r"^(?=(visual|language_model)\.)", "model."),
    # transformers up to 4.51, and adapters of the language model alone.
    (r"^model\.(?=(layers|embed_tokens|norm)\.)", "model.language_model."),
)
"""Names of weights as they are found, each replaced by what the installed transformers calls it."""
_PEFT = "base_model.model."
_LORA_A = re.compile(r"\.lora_(embedding_)?A(\.default)?(\.weight)?$")


def name_of_today(name: str) -> str:
    """What a weight or layer of an adapter is called in today's model."""
    for pattern, today in NAMES:
        name = re.sub(pattern, today, name)
    return name


def with_adapter(
    model: Any, adapter: Path, base: str, *, merge: bool
) -> tuple[Any, tuple[str, ...]]:
    """The model with an adapter; every weight of the adapter must have found its place.

    Args:
        model: a transformers model.
        adapter: folder with `adapter_config.json` and `adapter_model.safetensors`.
        base: name of the model.
        merge: add the adapter to the weights; else it stays beside them.

    Returns:
        The model, and what is worth knowing about the adapter, one sentence each.

    Raises:
        ModelError: the adapter does not fit the model, contradicts itself, or is of a kind that
            cannot be used; says which.
    """
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    stored = load_file(adapter / WEIGHTS)
    try:
        config: Any = PeftConfig.from_pretrained(str(adapter))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ModelError(
            f"The adapter {adapter} cannot be read by the installed peft "
            f"({first_line(error)[:80]}); upgrade with: pip install -U peft"
        ) from error
    if config.is_prompt_learning:
        raise ModelError(
            f"The adapter {adapter} is of the kind {config.peft_type.value}, which adds tokens to "
            "the prompt; only adapters that change weights, such as LoRA, can be used."
        )
    messages: tuple[str, ...] = ()
    layers = {name for name, _ in model.named_modules()}
    if config.peft_type == "LORA":
        messages = _as_the_weights_say(config, stored, adapter, layers, base)
    config.base_model_name_or_path, config.inference_mode = model.name_or_path, True
    weights = {_PEFT + name_of_today(name): weight for name, weight in stored.items()}
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise ModelError(
            f"The adapter {adapter} cannot be put on {base}: {first_line(error)[:100]}."
        ) from error
    _check_places(adapted, weights, adapter, base)
    set_peft_model_state_dict(adapted, weights)
    return adapted.merge_and_unload() if merge else adapted.get_base_model(), messages


def _as_the_weights_say(
    config: Any, stored: dict[str, torch.Tensor], adapter: Path, layers: set[str], base: str
) -> tuple[str, ...]:
    """Give a LoRA's config the layers that have weights, each with its own rank and scale."""
    ranks = {
        _LORA_A.sub("", name.removeprefix(_PEFT)): len(weight)
        for name, weight in stored.items()
        if _LORA_A.search(name)
    }
    if not ranks:
        raise ModelError(f"The adapter {adapter} has no LoRA weights in {WEIGHTS}; save it again.")
    rank_pattern, alpha_pattern = config.rank_pattern or {}, config.alpha_pattern or {}
    config.rank_pattern, config.alpha_pattern = {}, {}
    idle = [p for p in (*rank_pattern, *alpha_pattern) if not any(_fits(p, n) for n in ranks)]
    for name, rank in ranks.items():
        today = name_of_today(name)
        if today not in layers:
            raise ModelError(
                f"The adapter {adapter} does not fit the base model {base}, which has no layer "
                f"{today}; correct base_model_name_or_path in its adapter_config.json."
            )
        promised = _value(rank_pattern, name, config.r)
        if promised != rank:
            why = f", and the pattern {idle[0]!r} matches no layer" if idle else ""
            raise ModelError(
                f"The adapter {adapter} has weights of rank {rank} for {name}, but rank {promised} "
                f"in its adapter_config.json{why}; correct r or rank_pattern there."
            )
        config.rank_pattern[re.escape(today)] = rank
        config.alpha_pattern[re.escape(today)] = _value(alpha_pattern, name, config.lora_alpha)
    config.target_modules = {name_of_today(name) for name in ranks}
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    if not idle:
        return ()
    return (f"The pattern {idle[0]!r} of the adapter {adapter} matches none of its layers.",)


def _value(pattern: dict[str, Any], name: str, default: Any) -> Any:
    """What a config says of a layer: by the first pattern that matches it, as in peft."""
    return next((value for key, value in pattern.items() if _fits(key, name)), default)


def _fits(pattern: str, name: str) -> bool:
    """Whether a pattern means a layer, by the name it was saved with or by today's."""
    try:
        return any(
            re.match(rf"(.*\.)?({pattern})$", called) for called in (name, name_of_today(name))
        )
    except re.error:
        return False


def _check_places(adapted: Any, weights: dict[str, torch.Tensor], adapter: Path, base: str) -> None:
    """Whether a model with an adapter has exactly the places that its weights need."""
    from peft import get_peft_model_state_dict

    own = get_peft_model_state_dict(adapted)
    places = {**adapted.state_dict(), **own}
    for name, weight in weights.items():
        shape = tuple(weight.shape)
        wanted = tuple(places[name].shape) if name in places else None
        if shape != wanted:
            there = f"takes {wanted}" if wanted else "has no place for it"
            raise ModelError(
                f"The adapter {adapter} does not fit the base model {base}: "
                f"{name.removeprefix(_PEFT)} is {shape}, and the model {there}; correct "
                "base_model_name_or_path in its adapter_config.json."
            )
    if lacking := sorted(own.keys() - weights.keys()):
        raise ModelError(
            f"The adapter {adapter} is incomplete: it lacks {lacking[0].removeprefix(_PEFT)} and "
            f"{len(lacking) - 1} more weights; copy or download it again."
        )
