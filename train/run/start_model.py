"""The checkpoint that training starts from, made ready; and the trained model written back."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stvg_r1_hub import hub
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import ConfigError, ModelError
from stvg_r1_hub.hub.training_record import TrainingStage, load_training, save_training
from stvg_r1_hub.vlm.decoding import use_grouped_attention
from stvg_r1_hub.vlm.inputs import InputBuilder
from stvg_r1_hub.vlm.loading import Placement, load_model
from stvg_r1_hub.vlm.processing import load_processor
from train.grpo.policy import Policy
from train.run.training_config import TrainingConfig

ARCHITECTURE = "qwen2_5_vl"
LANGUAGE_LAYERS = r".*language_model\.layers\..*_proj"
"""Linear layers of the decoder: where adapters go."""
DETECTOR_SUFFIXES = (".json", ".onnx", ".safetensors", "")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartModel:
    """Everything of a checkpoint that training needs."""

    policy: Policy
    processor: Any
    config: STVGConfig
    bundle: hub.Bundle
    """Its files."""
    eos_token_ids: tuple[int, ...]
    stages: tuple[TrainingStage, ...]
    """How it was trained before, as far as that is recorded."""

    @property
    def vision_token_ids(self) -> tuple[int, ...]:
        """Tokens that stand for pictures; none belongs into an answer."""
        config = self.policy.qwen.config
        names = ("image", "video", "vision_start", "vision_end")
        found = (getattr(config, f"{name}_token_id", None) for name in names)
        return tuple(token for token in found if token is not None)

    @property
    def inputs(self) -> InputBuilder:
        """Makes tokens, patches and positions as these weights know them."""
        return InputBuilder.of(self.policy.qwen, self.processor, self.config.position_rule)


def load_start_model(config: TrainingConfig) -> StartModel:
    """Load weights and processor, freeze what is not trained, add adapters.

    A PEFT adapter is merged into its base model, and that is what training starts from.

    Raises:
        ModelError: no Qwen2.5-VL checkpoint, or it cannot be loaded.
        ConfigError: an adapter was to be written that belongs on top of another one.
    """
    bundle = hub.load_bundle(config.model, hub.HubAccess(revision=config.revision))
    if bundle.adapter is not None and config.method == "lora" and not config.merge_adapter:
        raise ConfigError(
            f"{config.model} is itself an adapter, and a trained adapter would need both to be "
            "loaded; set merge_adapter: true, or start from a whole model."
        )
    stages = load_training(bundle.own_folder)
    policy = load_policy(config, bundle)
    model = policy.qwen
    processor = load_processor(bundle.folder, ARCHITECTURE)
    if config.gradient_checkpointing:
        # The name changed in transformers 5.24.
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
        if config.method == "lora":
            model.enable_input_require_grads()
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends]) | {processor.tokenizer.eos_token_id}
    eos = tuple(sorted(token for token in ends if token is not None))
    return StartModel(policy, processor, bundle.config, bundle, eos, stages)


def load_policy(config: TrainingConfig, bundle: hub.Bundle) -> Policy:
    """What training starts from, with new adapters, in plain tensors.

    Raises:
        ModelError: as `load_weights`.
    """
    model = load_weights(config, bundle)
    if config.freeze_vision:
        model.model.visual.requires_grad_(False)
    return Policy(_with_adapter(model, config) if config.method == "lora" else model)


def base_name(config: TrainingConfig) -> str:
    """What a model's card calls the start model; of a folder on this disk only its name."""
    path = Path(config.model)
    return path.resolve().name if path.is_dir() else config.model


def what_is_trained(config: TrainingConfig) -> str:
    """What a model's card says of the weights that changed."""
    if config.method == "lora":
        merged = ", merged" if config.merge_adapter else ""
        return f"LoRA of rank {config.lora_rank} on the language model{merged}"
    return "all weights but the vision tower" if config.freeze_vision else "all weights"


def check_trainable(config: TrainingConfig, model_type: str) -> None:
    """Whether this package trains models of a type.

    Raises:
        ModelError: another architecture.
    """
    if model_type != ARCHITECTURE:
        raise ModelError(
            f"{config.model} is a {model_type!r} model; training supports {ARCHITECTURE!r} "
            "(Qwen2.5-VL and its fine-tunes)."
        )


def load_weights(config: TrainingConfig, bundle: hub.Bundle) -> Any:
    """The transformers model of a checkpoint, in the config's precision.

    Raises:
        ModelError: another architecture, weights that are missing, or it cannot be loaded.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig

    try:
        found = AutoConfig.from_pretrained(str(bundle.folder), trust_remote_code=False)
        check_trainable(config, found.model_type)
        model, notes = load_model(
            bundle.folder,
            Placement(dtype=config.dtype, attn_implementation=config.attention),
            adapter=bundle.adapter,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"Cannot load {config.model} for training: {reason}") from error
    for note in notes:
        _log.warning(note)
    use_grouped_attention(model.config.get_text_config())
    return model.requires_grad_(True)  # peft freezes what it merges into


def _with_adapter(model: Any, config: TrainingConfig) -> Any:
    from peft import LoraConfig, get_peft_model

    model.requires_grad_(False)
    torch.manual_seed(config.seed)
    adapted: Any = get_peft_model(
        model,
        LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=LANGUAGE_LAYERS,
        ),
    )
    # peft writes down where the weights were read from: of a Hub model a folder of this cache.
    written, base = adapted.peft_config["default"], Path(config.model)
    written.base_model_name_or_path = str(base.resolve()) if base.is_dir() else config.model
    written.revision = None if base.is_dir() else config.revision
    return adapted


def export_model(
    start: StartModel,
    config: TrainingConfig,
    weights: dict[str, torch.Tensor],
    out: Path,
    stage: TrainingStage,
    settings: STVGConfig,
) -> None:
    """Write the trained model as a folder that `STVGPipeline.from_pretrained` loads.

    It appears whole: written aside, then renamed over an older one.

    Args:
        start: what training started from.
        config: says whether an adapter is merged.
        weights: state of the policy, gathered from all processes.
        out: the folder.
        stage: how it was trained; follows what is known of the start model.
        settings: how the trained model is to be asked.
    """
    temporary = out.with_name(f".{out.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    state = {name.removeprefix("model."): weight for name, weight in weights.items()}
    model = start.policy.model
    if config.merge_adapter or config.sharding != "none":
        # On a copy: the policy stays as it is, and may hold its weights in float32.
        fresh = load_policy(config, start.bundle).model
        fresh.load_state_dict(state)
        (fresh.merge_and_unload() if config.merge_adapter else fresh).save_pretrained(temporary)
    else:
        if not start.policy.has_adapter and model.config.tie_word_embeddings:
            state.pop("lm_head.weight", None)
        model.save_pretrained(temporary, state_dict=state)
    start.processor.save_pretrained(temporary)
    settings.save(temporary)
    save_training((*start.stages, stage), temporary)
    detector = start.bundle.detector_home / settings.tracking.detector
    if detector.is_dir():
        for path in detector.iterdir():
            if path.is_file() and path.suffix in DETECTOR_SUFFIXES:
                (temporary / detector.name).mkdir(exist_ok=True)
                shutil.copy(path, temporary / detector.name / path.name)
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.replace(out, old)
    os.replace(temporary, out)
    shutil.rmtree(old, ignore_errors=True)
