"""How weights were trained: a small file that the trainer leaves beside them, shown by the card."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import ModelError

TRAINING_NAME = "stvg_training.json"


@dataclass(frozen=True)
class TrainingStage:
    """One training run; a model may have gone through several."""

    method: str
    """Such as `"GRPO"`."""
    base_model: str
    """What it started from: a Hub id, a bundled model, or the name of a folder."""
    trained: str
    """Which weights, in words."""
    data: str
    """Name of the training samples."""
    n_samples: int
    steps: int
    samples_per_step: int
    learning_rate: float
    rewards: dict[str, float]
    """Weight of each reward; empty where nothing was rewarded."""


def save_training(stages: tuple[TrainingStage, ...], folder: Path) -> None:
    """Write `stvg_training.json` into a model's folder."""
    values = {"stages": [dataclasses.asdict(stage) for stage in stages]}
    (folder / TRAINING_NAME).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def load_training(folder: Path) -> tuple[TrainingStage, ...]:
    """The training runs of a model, the first one first; empty where none is recorded.

    Raises:
        ModelError: the file is not what `save_training` writes.
    """
    path = folder / TRAINING_NAME
    if not path.is_file():
        return ()
    try:
        stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
        return tuple(_stage(values) for values in stages)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"Cannot read how the model was trained from {path} ({error!r}); correct the file, or "
            "remove it."
        ) from error


def _stage(values: dict[str, Any]) -> TrainingStage:
    stage = TrainingStage(**values)
    for field in dataclasses.fields(stage):
        value = getattr(stage, field.name)
        kinds = {"str": str, "int": int, "float": int | float}
        if field.type in kinds and not isinstance(value, kinds[str(field.type)]):
            raise TypeError(f"{field.name} is {value!r}")
    for weight in stage.rewards.values():
        float(weight)
    return stage


def hub_base(stages: tuple[TrainingStage, ...]) -> str | None:
    """The Hub id that the weights come from, where a stage names one."""
    ids = [stage.base_model for stage in stages if stage.base_model.count("/") == 1]
    return ids[-1] if ids else None


def how_trained(stages: tuple[TrainingStage, ...]) -> str:
    """The section of the card; empty where nothing is recorded."""
    if not stages:
        return ""
    lines = [
        f"{number}. {_plain(stage.method)} from `{_plain(stage.base_model)}`: "
        f"{_plain(stage.trained)}; {stage.n_samples} samples of {_plain(stage.data)}, "
        f"{stage.steps} steps of {stage.samples_per_step}, learning rate "
        f"{stage.learning_rate:g}{_rewards(stage)}."
        for number, stage in enumerate(stages, start=1)
    ]
    return "## How it was trained\n\n" + "\n".join(lines) + "\n\n"


def _rewards(stage: TrainingStage) -> str:
    parts = [f"{_plain(name)} x {weight:g}" for name, weight in stage.rewards.items()]
    return f"; rewards {', '.join(parts)}" if parts else ""


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("`", "").replace("<", "&lt;")
