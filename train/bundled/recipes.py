"""How each size of the bundled model is trained: stages with their data, lengths and rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from train.bundled.sizes import DETAILED, LARGE, SMALL, ModelSize


@dataclass(frozen=True)
class Stage:
    """Settings of one stage. Rates are peaks of a warm-up and cosine schedule."""

    previous: str | None
    steps: int
    batch_size: int
    levels: dict[str, float]
    """Share of each level of sprite world."""
    durations: tuple[float, ...]
    """Lengths of clips in seconds."""
    dense_share: float
    """Share of clips that are listed instead of asked about."""
    grid_steps: int
    """Frame pairs of each clip; 0 keeps all."""
    muon_rate: float
    final_rate: float
    """Share of the peak rate at the end."""
    token_weight: float
    """Weight of the visual tokens' read-outs."""
    text_weight: float
    n_dialogues: int = 0
    """Questions a step about scenes that are not shown but listed in the text."""


@dataclass(frozen=True)
class Goal:
    """Go / no-go figure of a stage: go on to the next one only when it is reached."""

    figure: Literal["id", "text", "answer_id"]
    """Accuracy in the log: of drawn numbers, of all said tokens, of the answered ID."""
    at_least: float


@dataclass(frozen=True)
class Recipe:
    """All that `train.bundled.pretrain` needs to make one model."""

    size: ModelSize
    stages: dict[str, Stage]
    goals: dict[str, Goal]
    level: str
    """Level on which generated answers are checked."""
    keeps_vocabulary: bool = False
    """Whether the processor is the start model's own; else it is built from the worlds' text."""


_SHORT = (3.0, 4.0, 5.0)
_LONG = (4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)
_EASY = {"easy": 1.0}
_CPU_MIX = {"easy": 0.25, "medium": 0.75}
_GPU_MIX = {"easy": 0.15, "medium": 0.25, "hard": 0.6}
_GOALS = {
    "tok": Goal("id", 0.9),
    "dense": Goal("text", 0.85),
    "mix": Goal("text", 0.85),
    "read": Goal("answer_id", 0.9),
    "sharpen": Goal("answer_id", 0.9),
}

RECIPES = {
    # About two hours on one CPU core when it starts from the easy base (--warm-start).
    "cpu": Recipe(
        SMALL,
        {
            "tok": Stage(None, 450, 32, _CPU_MIX, (3.0,), 1.0, 2, 2.5e-3, 0.3, 1.0, 0.0),
            "dense": Stage("tok", 200, 16, _CPU_MIX, (3.0,), 1.0, 0, 2.2e-3, 0.7, 0.3, 1.0, 24),
            "mix": Stage("dense", 450, 20, _CPU_MIX, _SHORT, 0.4, 0, 1.8e-3, 0.7, 0.3, 1.0, 40),
            "read": Stage("mix", 450, 20, _CPU_MIX, _SHORT, 0.1, 0, 1.3e-3, 0.02, 0.3, 1.0, 40),
        },
        _GOALS,
        "medium",
    ),
    # The easy world alone, from nothing: the base that GRPO starts from.
    "easy": Recipe(
        SMALL,
        {
            "tok": Stage(None, 1000, 32, _EASY, (3.0,), 1.0, 2, 3e-3, 0.3, 1.0, 0.0),
            "dense": Stage("tok", 500, 16, _EASY, (3.0,), 1.0, 0, 2.5e-3, 0.6, 0.3, 1.0),
            "mix": Stage("dense", 400, 24, _EASY, _SHORT, 0.2, 0, 2e-3, 0.7, 0.3, 1.0),
            "read": Stage("mix", 650, 20, _EASY, _SHORT, 0.1, 0, 1.3e-3, 0.02, 0.3, 1.0, 80),
        },
        _GOALS,
        "easy",
    ),
    # The finished model of `cpu` (--warm-start) at twice the visual tokens.
    "detailed": Recipe(
        DETAILED,
        {"sharpen": Stage(None, 800, 14, _CPU_MIX, _SHORT, 0.05, 0, 1e-3, 0.02, 0.3, 1.0, 10)},
        _GOALS,
        "medium",
        keeps_vocabulary=True,
    ),
    # The hard world on one GPU. Lengths follow a feasibility run on an H100 (1.2 M image pairs,
    # 180 k and 200 k clips) with half again for the harder world; not yet run.
    "gpu": Recipe(
        LARGE,
        {
            "tok": Stage(None, 3600, 512, _GPU_MIX, (4.0,), 1.0, 2, 3e-3, 0.05, 1.0, 0.0),
            "dense": Stage("tok", 2400, 128, _GPU_MIX, _LONG, 1.0, 0, 2.1e-3, 0.2, 0.3, 1.0),
            "mix": Stage("dense", 2400, 128, _GPU_MIX, _LONG, 0.3, 0, 1.8e-3, 0.3, 0.3, 1.0, 256),
            "read": Stage("mix", 1600, 128, _GPU_MIX, _LONG, 0.1, 0, 1.2e-3, 0.02, 0.3, 1.0, 512),
        },
        _GOALS,
        "hard",
    ),
}  # fmt: skip
