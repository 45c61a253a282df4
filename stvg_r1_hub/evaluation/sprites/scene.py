"""What happens in a sprite-world clip: objects, their actions, and the question about one.

A scene is drawn from a seed and holds no pixels. Positions and sizes are fractions of the
(square) frame's side, so one scene can be rendered at any resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

KINDS = ("dog", "pig", "frog", "car", "ball", "bee", "turtle", "penguin", "fish", "sheep")
"""Kinds of the easy level; each has a picture in `bundled/emoji`."""


@dataclass(frozen=True)
class Verb:
    """The forms of an action's name that queries use."""

    third_person: str
    gerund: str


VERBS = {
    "walk": Verb("walks", "walking"),
    "jump": Verb("jumps", "jumping"),
    "spin": Verb("spins", "spinning"),
    "grow": Verb("grows", "growing"),
    "shake": Verb("shakes", "shaking"),
}
ACTIONS = tuple(VERBS)
WORDINGS = (
    "the {kind} {gerund}",
    "the {gerund} {kind}",
    "the {kind} that {third}",
    "the {kind} that is {gerund}",
    "a {kind} {third}",
)
TIME_STEP = 0.25
"""Events start and end on this grid, in seconds."""
LEVELS = ("easy",)


@dataclass(frozen=True)
class Event:
    """One action of one object during `[start_seconds, end_seconds)`."""

    name: str
    start_seconds: float
    end_seconds: float
    amount: float
    """Walk: signed distance; jump: height; spin: turns; grow: gain; shake: degrees."""


@dataclass(frozen=True)
class Pose:
    """Where an object is at one instant."""

    x: float
    y: float
    size: float
    """Side of the square picture."""
    angle: float
    """Degrees, counter-clockwise."""


@dataclass(frozen=True)
class SceneObject:
    """One object; it rests except during its events, which never overlap."""

    object_id: int
    kind: str
    x: float
    y: float
    size: float
    flipped: bool
    events: tuple[Event, ...]

    def pose(self, seconds: float) -> Pose:
        """Pose at a time, the sum of what all events have done so far."""
        x, y, size, angle = self.x, self.y, self.size, 0.0
        for event in self.events:
            length = event.end_seconds - event.start_seconds
            done = min(max((seconds - event.start_seconds) / length, 0.0), 1.0)
            running = 0.0 < done < 1.0
            if event.name == "walk":
                x += event.amount * done
            elif event.name == "grow":
                size *= 1 + event.amount * done
            elif event.name == "jump" and running:
                hops = max(1, round(length / 0.75))
                y -= event.amount * abs(math.sin(math.pi * hops * done))
            elif event.name == "spin" and running:
                angle += 360 * event.amount * done
            elif event.name == "shake" and running:
                angle += event.amount * math.sin(2 * math.pi * 3 * length * done)
        return Pose(x, y, size, angle)

    def action_at(self, seconds: float) -> str | None:
        """Name of the action in progress, or None."""
        for event in self.events:
            if event.start_seconds <= seconds < event.end_seconds:
                return event.name
        return None


@dataclass(frozen=True)
class Scene:
    """A clip before rendering, with the one question asked about it."""

    seed: tuple[int, ...]
    """Seeds the background."""
    duration_seconds: float
    fps: float
    objects: tuple[SceneObject, ...]
    query: str
    target_id: int

    @property
    def target(self) -> SceneObject:
        """The object that the query is about."""
        return next(o for o in self.objects if o.object_id == self.target_id)

    @property
    def answer_event(self) -> Event:
        """The event that the query is about."""
        return self.target.events[0]


def sample_scene(level: str, seed: tuple[int, ...], *, duration_seconds: float = 0) -> Scene:
    """Draw a scene; the same arguments give the same scene on every machine.

    The target's (kind, action) pair is unique in its scene. Of the other objects 35 % are of the
    same kind doing something else, 35 % of another kind doing the same, the rest anything.

    Args:
        level: one of `LEVELS`.
        seed: any non-negative integers, such as `(world seed, clip number)`.
        duration_seconds: length of the clip; 0 draws one of 3, 4 and 5 seconds.

    Raises:
        ValueError: an unknown level.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    rng = np.random.default_rng([*seed, 0])
    duration = duration_seconds or float(rng.integers(3, 6))
    fps = float(rng.choice([20, 24, 25, 30]))
    n_objects = int(rng.integers(2, 5))
    casts = _sample_casts(rng, n_objects)
    objects = _place(rng, casts, duration)
    target = objects[0]
    verb = VERBS[target.events[0].name]
    wording = WORDINGS[int(rng.integers(len(WORDINGS)))]
    query = wording.format(kind=target.kind, gerund=verb.gerund, third=verb.third_person)
    order = rng.permutation(len(objects))
    ids = {int(old): new + 1 for new, old in enumerate(order)}
    numbered = tuple(
        SceneObject(ids[i], o.kind, o.x, o.y, o.size, o.flipped, o.events)
        for i, o in enumerate(objects)
    )
    by_id = tuple(sorted(numbered, key=lambda o: o.object_id))
    return Scene(seed, duration, fps, by_id, query, ids[0])


def _sample_casts(rng: np.random.Generator, n_objects: int) -> list[tuple[str, str | None]]:
    """(kind, action or None) of each object, the target first and unique."""
    target = (str(rng.choice(KINDS)), str(rng.choice(ACTIONS)))
    casts: list[tuple[str, str | None]] = [target]
    while len(casts) < n_objects:
        draw = rng.random()
        kind = target[0] if draw < 0.35 else str(rng.choice(KINDS))
        action: str | None = target[1] if 0.35 <= draw < 0.7 else str(rng.choice(ACTIONS))
        if draw < 0.35 or draw >= 0.7:
            action = None if rng.random() < 0.3 else action
        if (kind, action) != target:
            casts.append((kind, action))
    return casts


def _sample_event(rng: np.random.Generator, action: str, duration: float) -> Event:
    longest = min(2.5, duration - 0.5)
    length = TIME_STEP * int(rng.integers(round(1 / TIME_STEP), round(longest / TIME_STEP) + 1))
    latest = duration - TIME_STEP - length
    start = TIME_STEP * int(rng.integers(1, round(latest / TIME_STEP) + 1))
    amount = {
        "walk": rng.choice([-1, 1]) * min(rng.uniform(0.14, 0.24) * length, 0.45),
        "jump": rng.uniform(0.12, 0.18),
        "spin": rng.choice([-1, 1]) * max(1, round(0.7 * length)),
        "grow": rng.uniform(0.5, 0.8),
        "shake": rng.uniform(16, 24),
    }[action]
    return Event(action, start, start + length, float(amount))


def _place(
    rng: np.random.Generator, casts: list[tuple[str, str | None]], duration: float
) -> list[SceneObject]:
    """Give each object a place where its whole path stays inside and clear of the others.

    A crowd that does not fit after many tries loses its last objects, never the target.
    """
    placed: list[SceneObject] = []
    areas: list[tuple[float, float, float, float]] = []
    for kind, action in casts:
        for _ in range(60):
            events = (_sample_event(rng, action, duration),) if action else ()
            size = rng.uniform(0.22, 0.32)
            x, y = rng.uniform(size / 2, 1 - size / 2, 2)
            flipped = bool(rng.random() < 0.5)
            candidate = SceneObject(0, kind, float(x), float(y), float(size), flipped, events)
            area = _swept_area(candidate)
            inside = min(area[:2]) >= 0 and max(area[2:]) <= 1
            if inside and not any(_overlap(area, other) for other in areas):
                placed.append(candidate)
                areas.append(area)
                break
        else:
            if not placed:
                return _place(rng, casts, duration)
    return placed if len(placed) > 1 else _place(rng, casts, duration)


def _swept_area(candidate: SceneObject) -> tuple[float, float, float, float]:
    """A box around everything that an object covers during the clip, in fractions."""
    amounts = {event.name: event.amount for event in candidate.events}
    turns = "spin" in amounts or "shake" in amounts
    half = candidate.size * (1 + amounts.get("grow", 0.0)) * (0.6 if turns else 0.48)
    walk = amounts.get("walk", 0.0)
    left, right = candidate.x + min(walk, 0), candidate.x + max(walk, 0)
    top = candidate.y - amounts.get("jump", 0.0)
    return left - half, top - half, right + half, candidate.y + half


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])
