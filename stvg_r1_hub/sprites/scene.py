"""A sprite-world clip before rendering: objects, camera, backdrop, and the question about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.sprites.motion import Camera, Poses, SceneObject
from stvg_r1_hub.sprites.question import Question

KINDS = (
    "dog", "pig", "frog", "car", "ball", "bee", "turtle", "penguin", "fish", "sheep",
    "cat", "cow", "horse", "elephant", "chicken", "duck", "owl", "rabbit", "bus", "robot",
    "mouse", "tiger", "monkey", "bear", "fox", "snail", "crab", "octopus", "whale", "dolphin",
    "butterfly", "ladybug", "dinosaur", "crocodile", "truck", "bicycle", "train", "rocket",
    "boat", "ghost", "snowman", "banana", "pumpkin", "tree", "cactus", "guitar",
)  # fmt: skip
"""All kinds; each has a picture in `bundled/emoji`. A level uses the first so many."""
TINTS = {
    "blue": (40, 90, 235),
    "green": (40, 185, 60),
    "purple": (150, 60, 215),
    "yellow": (245, 215, 30),
}
"""Colours that objects are dipped in, RGB; none is near the red of the numbers."""
TIME_STEP = 0.25
"""Events start and end on this grid, in seconds."""

STANDING = Camera()


@dataclass(frozen=True)
class Scene:
    """A clip before rendering, with the one question asked about it."""

    seed: tuple[int, ...]
    """Seeds the background."""
    duration_seconds: float
    fps: float
    objects: tuple[SceneObject, ...]
    """By ID, from 1."""
    query: str
    question: Question
    """What the query means."""
    target_id: int | None
    """None when nothing in the clip is what the query describes."""
    answer_range: tuple[float, float] | None
    """`[start, end)` in seconds of what the query describes; None with `target_id`."""
    camera: Camera = STANDING
    backdrop: str = "smooth"
    """`"smooth"`, `"texture"` or `"photo"`."""
    compression: int = 0
    """Strength of compression noise: libx264's constant rate factor added to the usual one."""
    traits: Mapping[str, str] = field(default_factory=dict)
    """What kind of clip and question this is, by name, for breakdowns of figures."""

    @property
    def target(self) -> SceneObject:
        """The object that the query is about.

        Raises:
            ValueError: nothing in the clip is.
        """
        if self.target_id is None:
            raise ValueError(f"nothing in the clip is described by {self.query!r}")
        return self.objects[self.target_id - 1]

    def poses(self, thing: SceneObject, seconds: NDArray[np.float64]) -> Poses:
        """Poses of an object as the camera sees it, at `(T,)` instants."""
        pose = thing.poses(seconds)
        shift_x, shift_y, scale = self.camera.view(seconds, self.duration_seconds).T
        return pose._replace(
            x=0.5 + scale * (pose.x - 0.5 + shift_x),
            y=0.5 + scale * (pose.y - 0.5 + shift_y),
            size=pose.size * scale,
        )


def traits(scene: Scene) -> dict[str, str]:
    """What kind of clip and question this is, by name."""
    return {
        "objects": str(len(scene.objects)),
        "fps": f"{scene.fps:g}",
        "backdrop": scene.backdrop,
        **scene.traits,
    }
