"""The easy level: few kinds and actions, objects apart, a smooth backdrop that stands still."""

from __future__ import annotations

import numpy as np

from stvg_r1_hub.sprites.motion import ACTIONS as ALL_ACTIONS
from stvg_r1_hub.sprites.motion import Event, SceneObject
from stvg_r1_hub.sprites.question import Question
from stvg_r1_hub.sprites.scene import KINDS as ALL_KINDS
from stvg_r1_hub.sprites.scene import TIME_STEP, Scene

KINDS = ALL_KINDS[:10]
ACTIONS = ALL_ACTIONS[:5]


def sample_scene(seed: tuple[int, ...], *, duration_seconds: float = 0) -> Scene:
    """Draw a scene; the same arguments give the same scene on every machine.

    The target's (kind, action) pair is unique in its scene. Of the other objects 35 % are of the
    same kind doing something else, 35 % of another kind doing the same, the rest anything.

    Args:
        seed: any non-negative integers, such as `(world seed, clip number)`.
        duration_seconds: length of the clip; 0 draws one of 3, 4 and 5 seconds.
    """
    rng = np.random.default_rng([*seed, 0])
    duration = duration_seconds or float(rng.integers(3, 6))
    fps = float(rng.choice([20, 24, 25, 30]))
    n_objects = int(rng.integers(2, 5))
    casts = _sample_casts(rng, n_objects)
    objects = _place(rng, casts, duration)
    target = objects[0]
    event = target.events[0]
    question = Question(target.kind, event.name)
    query, template = question.wording(rng, plain=True)
    order = rng.permutation(len(objects))
    ids = {int(old): new + 1 for new, old in enumerate(order)}
    numbered = tuple(
        SceneObject(ids[i], o.kind, o.x, o.y, o.size, o.flipped, o.events)
        for i, o in enumerate(objects)
    )
    by_id = tuple(sorted(numbered, key=lambda o: o.object_id))
    return Scene(
        seed,
        duration,
        fps,
        by_id,
        query,
        question,
        ids[0],
        (event.start_seconds, event.end_seconds),
        traits={
            "form": "plain",
            "action": event.name,
            "wording": template,
            "same kind": "yes" if sum(kind == target.kind for kind, _ in casts) > 1 else "no",
            "occluded": "no",
        },
    )


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
