"""Settings of a training run: one YAML file, checked before anything is loaded."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from stvg_r1_hub.errors import ConfigError
from train.rewards import REWARD_SETS, REWARDS

TRACKERS = ("tensorboard", "wandb", "trackio")


@dataclass(frozen=True)
class TrainingConfig:
    """All settings of GRPO and supervised training; the defaults are the official values.

    "Official" is scripts/run_grpo_video.sh of XiaowZhang00/stvg-r1 @ 0bea9e5 with the defaults of
    trl 0.15.1 that it leaves as they are.
    """

    # Model
    model: str
    """Folder or Hub id of the checkpoint to start from."""
    revision: str | None = None
    """Branch, tag or commit on the Hub."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the weights in memory; adapters are always float32."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Attention of transformers. The shared prefix needs a mask that flash-attention 2 lacks."""

    # What is trained
    method: Literal["full", "lora"] = "full"
    freeze_vision: bool = False
    """Keep the vision tower as it is: it then runs once a video and step, for everything."""
    lora_rank: int = 64
    lora_alpha: int = 128
    lora_dropout: float = 0.0
    """Above 0 the rollout, which never drops, is no longer exactly what the loss pass sees."""
    gradient_checkpointing: bool = True
    """Recompute the layers in the backward pass instead of keeping them."""

    # Groups
    num_generations: int = 8
    """G, completions of one prompt."""
    max_completion_tokens: int = 1024
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 50
    """Sample among so many of the most probable tokens; 0 among all. The official trainer sets
    none, which leaves the 50 of transformers' `GenerationConfig` in force."""
    share_prefix: bool = True
    """One copy of prompt and video a group; False repeats them, as the official trainer does."""

    engine: str | None = None
    """Address of a vLLM server that draws the completions, such as `http://localhost:8000/v1`, see
    `train/grpo/engine.py`; left out, each process draws its own."""
    engine_folder: str | None = None
    """Where the engine reads each step's weights, under the same path as here; best in memory. Left
    out, `engine` in the run's folder."""
    correction_cap: float = 2.0
    """The most by which a token's gain is multiplied where the engine's probability of it is below
    the policy's."""

    # Rewards
    rewards: dict[str, float] = field(default_factory=lambda: dict(REWARD_SETS["official"]))
    """Weight of each reward of `train.rewards.REWARDS`, or the name of one of its `REWARD_SETS`;
    those not listed are not computed."""

    # Loss
    beta: float = 0.04
    """Weight of the KL to the model that training started from; 0 needs no reference."""
    clip_low: float = 0.2
    clip_high: float = 0.2
    """The probability ratio is cut to [1 - clip_low, 1 + clip_high]; without effect in the
    official recipe, which updates once a rollout."""
    scale_by_std: bool = True
    """Divide advantages by the group's standard deviation; False for Dr. GRPO."""
    loss_type: Literal["grpo", "bnpo", "dapo", "dr_grpo"] = "grpo"
    """What a sum over tokens is divided by, named as in trl: the length of each completion
    (`grpo`), the tokens of the group (`bnpo`), of the whole batch (`dapo`), or the longest allowed
    length (`dr_grpo`)."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """One probability ratio a token, or one a completion (GSPO)."""
    mask_truncated_completions: bool = False
    """Leave completions out of the loss that were cut at `max_completion_tokens`."""

    # Optimisation
    learning_rate: float = 1e-6
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    epochs: float = 2.0
    max_steps: int | None = None
    """So many steps instead of `epochs`."""
    accumulation: int = 1
    """Prompts a process answers before one update; a step sees processes x accumulation."""
    updates_per_rollout: int = 1
    """Updates with the same completions; above 1 the clip matters."""
    seed: int = 42

    # Saving and watching
    save_every: int = 50
    keep_checkpoints: int = 2
    trackers: tuple[str, ...] = ("tensorboard",)
    """Of accelerate, by name in `TRACKERS`; empty for none."""
    table_every: int = 10
    """Steps between two tables of sample completions."""
    validate_every: int = 50
    """Steps between two looks at held-out samples (`--validation`)."""
    validation_samples: int = 100
    """The first so many of them are answered, greedily."""
    merge_adapter: bool = False
    """Write the trained model with the adapter merged in, instead of the adapter alone."""

    # Machine; for `--dry-run`, and checked against how the run was launched
    processes: int = 1
    sharding: Literal["none", "full", "full-offload"] = "none"
    """Whether weights, gradients and optimizer are spread over the processes (FSDP, ZeRO-3), and
    kept in host memory between uses."""
    gpu_memory_gb: float = 80.0
    """Memory of one GPU, where none can be asked."""

    def __post_init__(self) -> None:
        for name in (
            "num_generations", "max_completion_tokens", "accumulation", "updates_per_rollout",
            "save_every", "keep_checkpoints", "table_every", "validate_every",
            "validation_samples", "processes", "lora_rank",
        ):  # fmt: skip
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        for name in (
            "temperature",
            "correction_cap",
            "learning_rate",
            "max_grad_norm",
            "epochs",
            "gpu_memory_gb",
        ):
            _require(getattr(self, name) > 0, f"{name} must be above 0", getattr(self, name))
        for name in ("beta", "clip_low", "clip_high", "weight_decay", "warmup_steps", "top_k"):
            _require(getattr(self, name) >= 0, f"{name} must be 0 or above", getattr(self, name))
        _require(0 < self.top_p <= 1, "top_p must be in (0, 1]", self.top_p)
        _require(0 <= self.lora_dropout < 1, "lora_dropout must be in [0, 1)", self.lora_dropout)
        _require(self.max_steps is None or self.max_steps >= 1, "max_steps must be at least 1 or "
                 "left out", self.max_steps)  # fmt: skip
        for name in self.trackers:
            _require(
                name in TRACKERS,
                f"trackers has no {name!r}{_nearest(name, TRACKERS)}; known are "
                f"{', '.join(TRACKERS)}",
                name,
            )
        self._check_rewards()
        self._check_combinations()

    def _check_rewards(self) -> None:
        for name, weight in self.rewards.items():
            _require(
                name in REWARDS,
                f"rewards has no {name!r}{_nearest(name, REWARDS)}; known are {', '.join(REWARDS)}",
                name,
            )
            _require(isinstance(weight, int | float), f"the weight of {name} is no number", weight)
        _require(any(self.rewards.values()), "one reward needs a weight", self.rewards)

    def _check_combinations(self) -> None:
        _require(
            self.num_generations >= 2,
            "num_generations must be at least 2: a single completion has nothing to be better than",
            self.num_generations,
        )
        _require(
            self.method == "lora" or not self.merge_adapter,
            "merge_adapter needs method: lora, but method is",
            self.method,
        )
        _require(
            self.method == "lora" or self.dtype == "float32" or self.sharding != "none",
            "full training in bfloat16 without sharding would round most updates away, because "
            "nothing keeps float32 copies of the weights; set dtype: float32, sharding, or "
            "method: lora; dtype",
            self.dtype,
        )
        _require(
            self.sharding == "none" or self.processes > 1 or self.sharding == "full-offload",
            "sharding over a single process saves nothing; set processes or sharding: none",
            self.sharding,
        )
        _require(
            self.engine is None or self.engine.startswith(("http://", "https://")),
            "engine must be the address of a vLLM server, such as http://localhost:8000/v1, or "
            "be left out to draw completions in this process",
            self.engine,
        )
        _require(
            self.engine is None or self.temperature == 1,
            "engine needs temperature: 1, because vLLM tells log-probabilities before it divides "
            "by the temperature; temperature",
            self.temperature,
        )
        if self.max_steps is not None:
            _require(
                self.warmup_steps <= self.max_steps,
                f"warmup_steps must be at most max_steps ({self.max_steps})",
                self.warmup_steps,
            )

    @property
    def needs_reference(self) -> bool:
        """Whether the KL term asks for the start model's log-probabilities."""
        return self.beta > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the YAML file has them."""
        values = dataclasses.asdict(self)
        return {**values, "trackers": list(self.trackers)}

    @classmethod
    def from_dict(cls, values: Any, where: str = "the config") -> TrainingConfig:
        """Check names and types of the fields, then their values.

        Raises:
            ConfigError: in one sentence; an unknown field names the nearest known one.
        """
        _require(isinstance(values, dict), f"{where} must map names to values", values)
        hints = typing.get_type_hints(cls)
        checked = {}
        for name, value in values.items():
            if name not in hints:
                raise ConfigError(
                    f"{where} has the unknown field {name!r}{_nearest(str(name), hints)}."
                )
            if name == "rewards" and isinstance(value, str):
                value = _named_rewards(value, where)
            checked[name] = _converted(name, value, hints[name], where)
        if "model" not in checked:
            raise ConfigError(f"{where} lacks the field 'model': the checkpoint to start from.")
        try:
            return cls(**checked)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error

    @classmethod
    def load(cls, path: str | Path, **overrides: Any) -> TrainingConfig:
        """Read a YAML file; `overrides` win over what it says.

        Raises:
            ConfigError: not readable, or as `from_dict`.
        """
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"Cannot read the config {path}: {reason}") from error
        if isinstance(values, dict):
            values = {**values, **overrides}
        return cls.from_dict(values, str(path))


def _named_rewards(name: str, where: str) -> dict[str, float]:
    if name not in REWARD_SETS:
        raise ConfigError(
            f"{where}: rewards has no set {name!r}{_nearest(name, REWARD_SETS)}; known are "
            f"{', '.join(REWARD_SETS)}, or give weights by name."
        )
    return dict(REWARD_SETS[name])


def _require(condition: bool, message: str, got: Any) -> None:
    if not condition:
        raise ConfigError(f"{message}, got {got!r}.")


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _converted(name: str, value: Any, hint: Any, where: str) -> Any:
    """A YAML value as the field's type; YAML reads `1e-6` as text and `2` as an int."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    kind = next(option for option in options if option is not type(None))
    origin = typing.get_origin(kind)
    if origin is Literal:
        allowed = typing.get_args(kind)
        text = ", ".join(map(repr, allowed))
        if value not in allowed:
            raise ConfigError(f"{where}: {name} must be one of {text}, got {value!r}.")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(str(item) for item in value)
    if kind is float and isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    expected = origin or kind
    if isinstance(value, bool) != (expected is bool) or not isinstance(value, expected):
        raise ConfigError(f"{where}: {name} must be {_type_name(kind)}, got {value!r}.")
    return value


def _type_name(kind: Any) -> str:
    origin = typing.get_origin(kind) or kind
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(origin, {dict: "a mapping", tuple: "a list"}.get(origin, str(origin)))
