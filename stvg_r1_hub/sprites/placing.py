"""Where the objects of a clip stand: inside the frame, apart, or before another on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.sprites.motion import Event, SceneObject

OCCLUDED = 0.3
"""A target is occluded when nearer objects cover at least this share of it at some instant."""
_MOST_COVERED = 0.75
_CAMERA_MARGIN = 0.1
"""How far outside objects wait, so that no pan or shake of the camera shows them."""
_CANDIDATES = 48
_STEP = 0.25


@dataclass(frozen=True)
class Role:
    """An object before it has a place."""

    kind: str
    tint: str
    size: float
    events: tuple[Event, ...]


def extents(thing: SceneObject, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(T, 4)` roughly what an object covers at T instants, xyxy in fractions of the side."""
    pose = thing.poses(seconds)
    turned = np.abs(np.sin(np.deg2rad(pose.angle)))
    half = pose.size * (0.46 + 0.12 * turned)
    return np.stack([pose.x - half, pose.y - half, pose.x + half, pose.y + half], axis=1)


def _covered(boxes: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each box that another covers; leading axes broadcast."""
    low = np.maximum(boxes[..., :2], by[..., :2])
    high = np.minimum(boxes[..., 2:], by[..., 2:])
    area = np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)
    shared: NDArray[np.float64] = np.prod(np.clip(high - low, 0, None), axis=-1) / area
    return shared


def is_occluded(
    target: SceneObject, objects: Sequence[SceneObject], span: tuple[float, float]
) -> bool:
    """Whether nearer objects hide a good part of the target at some instant of a time range."""
    instants = np.arange(span[0], span[1], _STEP)
    mine = extents(target, instants)
    return any(
        float(_covered(mine, extents(other, instants)).max()) >= OCCLUDED
        for other in objects
        if other is not target and other.depth > target.depth
    )


class Placing:
    """Finds a place for one object after the other.

    Args:
        rng: draws the places.
        duration: length of the clip in seconds.
        overlap: largest share of an object that another may cover.
        perspective: objects at the top of the frame are smaller by this share.
    """

    def __init__(
        self, rng: np.random.Generator, duration: float, overlap: float, perspective: float
    ) -> None:
        self.rng, self.overlap, self.perspective = rng, overlap, perspective
        self.times = np.arange(0, duration + _STEP / 2, _STEP)
        self.placed: list[SceneObject] = []
        self.boxes: list[NDArray[np.float64]] = []

    def place(self, cast: Sequence[Role], *, occlude: bool) -> list[SceneObject] | None:
        """Objects in the order of the cast, or None when it does not fit.

        Args:
            cast: the target first.
            occlude: the last object shall pass before the target, or the target behind it.
        """
        for i, role in enumerate(cast):
            hides = occlude and i == len(cast) - 1 and i > 0
            if not self._place_one(role, hides=hides) and not (
                hides and self._place_one(role, hides=False)
            ):
                return None
        return self.placed

    def _place_one(self, role: Role, *, hides: bool) -> bool:
        flipped = bool(self.rng.random() < 0.5)
        depth = float(self.rng.random()) + 2 * hides
        # Coming and going is added once the place, and with it the nearer border, is known.
        staying = tuple(
            replace(e, amount=0.0) if e.name in ("enter", "leave") else e for e in role.events
        )
        origin = SceneObject(0, role.kind, 0.0, 0.0, role.size, flipped, staying, role.tint)
        relative = extents(origin, self.times)
        xy = self.rng.uniform(0.08, 0.92, (_CANDIDATES, 2))
        # Perspective is part of the size; it changes an object's extent about its middle.
        scale = 1 - self.perspective * (1 - xy[:, 1])
        middle = (relative[:, :2] + relative[:, 2:]) / 2
        half = (relative[:, 2:] - relative[:, :2]) / 2
        centers = xy[:, None] + middle[None]
        halves = half[None] * scale[:, None, None]
        boxes = np.concatenate([centers - halves, centers + halves], axis=-1)  # (K, T, 4)
        fits = self._inside(boxes, role.events)
        if hides:
            event = self.placed[0].events[0] if self.placed[0].events else None
            during = (
                (self.times >= event.start_seconds) & (self.times < event.end_seconds)
                if event
                else np.ones(len(self.times), bool)
            )
            cover = _covered(self.boxes[0][None], boxes)
            most = np.max(cover[:, during], axis=1)
            fits &= (most >= OCCLUDED + 0.08) & (cover.max(axis=1) <= _MOST_COVERED)
        for other in self.boxes[1 if hides else 0 :]:
            covered = np.maximum(_covered(other[None], boxes), _covered(boxes, other[None]))
            fits &= covered.max(axis=1) <= self.overlap
        if not fits.any():
            return False
        k = int(np.argmax(fits))
        x, y = xy[k]
        size = role.size * float(scale[k])
        grown = float(np.prod([1 + e.amount for e in role.events if e.name == "grow"]))
        walked = sum(e.amount for e in role.events if e.name == "walk")
        events = tuple(
            _crossing(e, float(x) + walked * (e.name == "leave"), size * grown) for e in role.events
        )
        start_x = float(x) - sum(e.amount for e in events if e.name == "enter")
        thing = SceneObject(
            0, role.kind, start_x, float(y), size, flipped, events, role.tint, depth
        )
        self.placed.append(thing)
        self.boxes.append(extents(thing, self.times))
        return True

    def _inside(
        self, boxes: NDArray[np.float64], events: tuple[Event, ...]
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Which candidates stay in the frame while they neither come nor go."""
        here = np.ones(len(self.times), bool)
        for event in events:
            if event.name == "enter":
                here &= self.times >= event.end_seconds
            elif event.name == "leave":
                here &= self.times <= event.start_seconds
        inside: NDArray[np.bool_] = np.asarray(
            (boxes[:, here, :2] >= -0.01).all((1, 2)) & (boxes[:, here, 2:] <= 1.01).all((1, 2))
        )  # fmt: skip
        return inside


def _crossing(event: Event, x: float, size: float) -> Event:
    """An entry or exit stretched so that it crosses the nearer border wholly."""
    if event.name not in ("enter", "leave"):
        return event
    to_left = x < 0.5
    distance = (x if to_left else 1 - x) + 0.6 * size + _CAMERA_MARGIN
    leaves = event.name == "leave"
    sign = -1.0 if to_left == leaves else 1.0
    return replace(event, amount=sign * distance)
