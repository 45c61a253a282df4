"""What the levels `medium`, `crowd` and `hard` draw their scenes from, as tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stvg_r1_hub.sprites.motion import ACTIONS
from stvg_r1_hub.sprites.scene import KINDS


@dataclass(frozen=True)
class Level:
    """What a level draws from. Shares are probabilities in 0..1."""

    kinds: tuple[str, ...]
    actions: tuple[str, ...]
    durations: tuple[float, ...]
    n_objects: tuple[int, int]
    """Fewest and most."""
    most_events: int
    forms: dict[str, float]
    """Share of each form of question; `"none"` is a question that nothing answers."""
    same_kind: float
    """Share of clips with another object of the target's kind."""
    occlusion: float
    """Share of clips in which something is to pass before the target."""
    overlap: float
    """Largest share of an object that another may cover otherwise."""
    sizes: tuple[float, float]
    perspective: float
    """Objects at the top of the frame are smaller by this share."""
    tinted: float
    backdrops: tuple[str, ...]
    pan: float
    zoom: float
    shake: float
    compression: int


MEDIUM = Level(
    kinds=KINDS[:20],
    actions=(*ACTIONS[:5], "shrink", "rise", "sink", "fade"),
    durations=(3.0, 4.0, 5.0),
    n_objects=(2, 4),
    most_events=2,
    forms={"plain": 0.7, "attribute": 0.15, "none": 0.15},
    same_kind=0.65,
    occlusion=0.15,
    overlap=0.25,
    sizes=(0.2, 0.32),
    perspective=0.0,
    tinted=0.15,
    backdrops=("smooth", "texture"),
    pan=0.0,
    zoom=0.0,
    shake=0.006,
    compression=4,
)
CROWD = replace(
    MEDIUM,
    n_objects=(12, 30),
    most_events=1,
    same_kind=1.0,
    occlusion=0.0,
    overlap=0.45,
    sizes=(0.09, 0.15),
    durations=(4.0, 5.0),
)
HARD = Level(
    kinds=KINDS,
    actions=ACTIONS,
    durations=tuple(float(d) for d in np.arange(4.0, 10.5, 1.0)),
    n_objects=(2, 6),
    most_events=3,
    forms={
        "plain": 0.42, "attribute": 0.12, "relation": 0.12, "sequence": 0.12, "rest": 0.08,
        "none": 0.14,
    },
    same_kind=0.85,
    occlusion=0.95,
    overlap=0.35,
    sizes=(0.15, 0.3),
    perspective=0.35,
    tinted=0.2,
    backdrops=("smooth", "texture", "photo", "photo"),
    pan=0.12,
    zoom=0.12,
    shake=0.012,
    compression=10,
)  # fmt: skip
