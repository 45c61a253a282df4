"""What a run would take, before it takes it: parameters, tokens, memory, disk.

The model is built on torch's meta device, so nothing is loaded and no memory is used. What weights,
gradients and optimizer take follows from how FSDP 2 and ZeRO-3 spread them, and is tested against
runs of two processes; activations are an estimate from the sizes of what must exist at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stvg_r1_hub import hub
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import ConfigError, STVGError
from stvg_r1_hub.video.sampling import plan_sampling
from train.grpo.policy import LOGITS_AT_ONCE
from train.run.start_model import LANGUAGE_LAYERS, check_trainable
from train.run.training_config import TrainingConfig

GB = 1e9
PROMPT_TEXT_TOKENS = 260
"""Text tokens of the official prompt with an ordinary query and the chat template."""
TYPICAL_CLIP = (600, 30.0, 1280, 720)
"""Frames, frames per second, width and height: a clip of HC-STVG, 20 s."""
RESERVE = 1.1
"""For fragmentation and what is not counted."""
CONTEXT_GB = 1.0
"""Of the CUDA context and libraries."""

# Sizes of the published checkpoints (their config.json on the Hugging Face Hub), for a dry run
# without network. Qwen2.5-VL's vision tower is the same in both but for its output.
_VISION = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
    "patch_size": 14, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
_SIZES: dict[str, dict[str, Any]] = {
    "7b": {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
    },
    "3b": {
        "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
        "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
}  # fmt: skip
KNOWN = re.compile(r"(?:qwen/qwen2\.5-vl-(\d+b)-instruct|xiaowenzhang/stvg-r1-model-(\d+b))", re.I)


@dataclass(frozen=True)
class RunReport:
    """What was found out; `text` is for people."""

    parameters: int
    trained: int
    prompt_tokens: int
    packed_tokens: int
    """Tokens of one loss pass in the layout that the config asks for."""
    plain_tokens: int
    """The same when prompt and video are repeated for each completion."""
    memory: dict[str, float]
    """Bytes on one GPU, by part."""
    host: dict[str, float]
    """Bytes of all processes together in the memory of one machine, by what happens then; one
    after the other."""
    checkpoint: float
    """Bytes of one checkpoint."""
    disk: float
    """Bytes of all checkpoints when there are most, of the trained model and of `engine`."""
    engine: float
    """Bytes that an engine reads from the run's folder; 0 where `engine_folder` names another."""
    limit_gb: float

    @property
    def total_gb(self) -> float:
        """Estimated peak of one GPU."""
        return sum(self.memory.values()) / GB * RESERVE + CONTEXT_GB

    @property
    def fits(self) -> bool:
        """Whether the estimate is within one GPU's memory."""
        return self.total_gb <= self.limit_gb

    def text(self) -> str:
        """The report, one fact a line."""
        lines = [
            f"parameters          {self.parameters / 1e6:,.1f} M, "
            f"trained {self.trained / 1e6:,.1f} M",
            f"prompt and video    {self.prompt_tokens:,} tokens a sample",
            f"loss pass           {self.packed_tokens:,} tokens a group "
            f"({self.plain_tokens:,} with the prefix repeated)",
            "memory of one GPU, estimated:",
            *(f"  {part:<18}{size / GB:8.2f} GB" for part, size in self.memory.items()),
            f"  {'in all':<18}{self.total_gb:8.2f} GB, "
            f"with {RESERVE - 1:.0%} and {CONTEXT_GB:.0f} GB in reserve",
            "host memory, if all processes are on one machine:",
            *(f"  {when:<18}{size / GB:8.2f} GB" for when, size in self.host.items()),
            f"disk                {self.disk / GB:,.2f} GB at most: "
            f"checkpoints of {self.checkpoint / GB:,.2f} GB, and the trained model"
            + (f", and {self.engine / GB:,.2f} GB that the engine reads" if self.engine else ""),
        ]
        if self.fits:
            lines.append(f"This fits into {self.limit_gb:.0f} GB.")
        else:
            lines.append(
                f"This does not fit into {self.limit_gb:.0f} GB; use sharding, method: lora, fewer "
                "num_generations or max_completion_tokens, or gradient_checkpointing."
            )
        return "\n".join(lines) + "\n"


def describe_run(config: TrainingConfig, *, groups: bool = True) -> RunReport:
    """Sizes and memory of a run.

    Args:
        config: of the run.
        groups: GRPO; False is supervised training with one answer a sample.

    Raises:
        ConfigError: the model's config is neither here nor known.
        ModelError: a model of another architecture.
    """
    from transformers import Qwen2_5_VLForConditionalGeneration

    shape, settings = _shape(config)
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(shape)
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    parameters = sum(sizes.values())
    trained = sum(n for name, n in sizes.items() if not (config.freeze_vision and "visual" in name))
    if config.method == "lora":
        trained = sum(
            config.lora_rank * (layer.in_features + layer.out_features)
            for name, layer in model.named_modules()
            if re.fullmatch(LANGUAGE_LAYERS, name)
        )
    visual = _visual_tokens(shape, settings)
    prompt = visual + PROMPT_TEXT_TOKENS
    n, length = (config.num_generations if groups else 1), config.max_completion_tokens
    packed, plain = prompt + n * length, n * (prompt + length)
    tokens = packed if config.share_prefix else plain
    state = State(config, parameters, trained, groups=groups)
    return RunReport(
        parameters,
        trained,
        prompt,
        tokens,
        plain,
        {
            **state.on_gpu(config.sharding),
            "gathered layers": _gathered(config, shape),
            "reference model": state.reference,
            "copy for rollouts": state.whole_copy,
            **_activations(config, shape, tokens, groups),
            "vision activations": _vision_memory(config, shape, visual, n),
        },
        state.host(),
        state.checkpoint,
        # The newest is whole before the oldest goes.
        state.checkpoint * (config.keep_checkpoints + 1) + state.exported + state.engine,
        state.engine,
        _gpu_gb() or config.gpu_memory_gb,
    )


class State:
    """Bytes of weights, gradients and optimizer, and where they are.

    One process and DDP hold them whole, adapters in float32. FSDP 2 (`sharding: full`, as
    accelerate sets it up) turns trained weights into float32 before it spreads them. ZeRO-3 with
    offload (`full-offload`) keeps them in the config's precision beside a float32 copy, and all of
    it in host memory; its checkpoints have that copy alone. Both write frozen weights too.
    """

    def __init__(
        self, config: TrainingConfig, parameters: int, trained: int, *, groups: bool
    ) -> None:
        self.config = config
        width = _width(config)
        frozen = parameters - (trained if config.method == "full" else 0)
        by_zero = config.sharding == "full-offload"
        in_float32 = config.sharding == "full" or (config.method == "lora" and not by_zero)
        trained_width = 4 if in_float32 else width
        self.weights = float(frozen * width + trained * trained_width)
        self.gradients = 4.0 * trained
        master = 4.0 if by_zero or trained_width == 2 else 0.0
        self.optimizer = trained * (8.0 + master)
        self.loaded = parameters * float(trained_width if config.method == "full" else width)
        plain, sharded = float(parameters * width), config.sharding != "none"
        has_reference = groups and config.needs_reference and config.method == "full"
        shares = config.processes if sharded else 1
        self.reference = plain / shares if has_reference else 0.0
        self.whole_copy = plain if groups and sharded else 0.0
        """On every GPU."""
        # Each step's weights, whole, for the server to read; a folder that is named may be memory.
        in_run_folder = groups and config.engine and not config.engine_folder
        self.engine = plain if in_run_folder else 0.0
        self.checkpoint = self.optimizer + (0 if by_zero else trained * trained_width)
        if sharded:
            self.checkpoint += frozen * width
        adapter_alone = config.method == "lora" and not config.merge_adapter
        self.exported = 4.0 * trained if adapter_alone else plain

    def on_gpu(self, sharding: str) -> dict[str, float]:
        """Of one process."""
        parts = {
            "weights": self.weights, "gradients": self.gradients, "optimizer": self.optimizer,
        }  # fmt: skip
        if sharding == "full-offload":
            return dict.fromkeys(parts, 0.0)
        shards = self.config.processes if sharding == "full" else 1
        return {name: size / shards for name, size in parts.items()}

    def host(self) -> dict[str, float]:
        """Of all processes together, by what happens."""
        everyone = self.config.processes
        # Each process reads the whole model, and then the reference, before it spreads them.
        found = {"while loading": everyone * self.loaded}
        if self.config.sharding == "full-offload":
            kept = self.weights + self.gradients + self.optimizer
            return {"while loading": found["while loading"] + kept, "while training": kept}
        if self.config.sharding == "full":
            found["while saving"] = max(self.checkpoint, self.exported)
        return found


def _width(config: TrainingConfig) -> int:
    return 2 if config.dtype == "bfloat16" else 4


def _gathered(config: TrainingConfig, shape: Any) -> float:
    """Bytes of the layers that are whole at a time: the one at work and the next."""
    if config.sharding == "none":
        return 0.0
    text = shape.text_config
    layer = text.hidden_size * (2 * text.hidden_size + 3 * text.intermediate_size)
    # What is no layer, the embedding and the head, is gathered with the model itself.
    outer = text.vocab_size * text.hidden_size * (1 if shape.tie_word_embeddings else 2)
    return float((2 * layer + outer) * _width(config))


def _activations(config: TrainingConfig, shape: Any, tokens: int, groups: bool) -> dict[str, float]:
    """Bytes on one GPU of what comes and goes with each step."""
    text, width = shape.text_config, _width(config)
    kv = text.hidden_size // text.num_attention_heads * text.num_key_value_heads
    # What one decoder layer keeps for its backward pass: norms, q, k, v, attention, the MLP.
    kept = tokens * width * (10 * text.hidden_size + 4 * text.intermediate_size + 4 * kv)
    inputs = tokens * width * text.hidden_size * text.num_hidden_layers
    backward = inputs + kept if config.gradient_checkpointing else kept * text.num_hidden_layers
    cache = 2 * tokens * kv * width * text.num_hidden_layers if groups else 0
    return {
        "activations or KV": float(max(backward, cache)),
        "logits": 4.0 * 4 * min(LOGITS_AT_ONCE, tokens) * text.vocab_size,
    }


def _vision_memory(config: TrainingConfig, shape: Any, tokens: int, n: int) -> float:
    """Bytes that a trained vision tower keeps for its backward pass, for `n` completions."""
    if config.freeze_vision or config.method == "lora":
        return 0.0
    vision = shape.vision_config
    width = _width(config)
    patches = tokens * vision.spatial_merge_size**2 * (1 if config.share_prefix else n)
    inputs = patches * width * vision.hidden_size * vision.depth
    kept = patches * width * (10 * vision.hidden_size + 4 * vision.intermediate_size)
    return float(inputs + kept if config.gradient_checkpointing else kept * vision.depth)


def _shape(config: TrainingConfig) -> tuple[Any, STVGConfig]:
    """The model's config and how its clips are sampled."""
    from transformers import AutoConfig, Qwen2_5_VLConfig

    known = KNOWN.fullmatch(config.model)
    if known and not Path(config.model).exists():
        size = dict(_SIZES[(known[1] or known[2]).lower()])
        tied = size.pop("tie_word_embeddings", False)
        vision = {**_VISION, "out_hidden_size": size["hidden_size"]}
        shape = Qwen2_5_VLConfig(text_config=size, vision_config=vision, tie_word_embeddings=tied)
        return shape, STVGConfig()
    try:
        bundle = hub.load_bundle(
            config.model, hub.HubAccess(revision=config.revision), weights=False
        )
        shape = AutoConfig.from_pretrained(str(bundle.folder), trust_remote_code=False)
    except (STVGError, OSError, ValueError) as error:
        raise ConfigError(f"Cannot find out the sizes of {config.model}: {error}") from error
    check_trainable(config, shape.model_type)
    return shape, bundle.config


def _visual_tokens(shape: Any, settings: STVGConfig) -> int:
    frames, fps, width, height = TYPICAL_CLIP
    plan = plan_sampling(frames, fps, width, height, settings.sampling)
    vision = shape.vision_config
    side = vision.patch_size * vision.spatial_merge_size
    steps = len(plan.frame_indices) // vision.temporal_patch_size
    return int(steps * (plan.model_height // side) * (plan.model_width // side))


def _gpu_gb() -> float | None:
    if not torch.cuda.is_available():
        return None
    return float(torch.cuda.get_device_properties(0).total_memory) / GB
