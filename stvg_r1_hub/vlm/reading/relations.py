"""When two objects stand to each other as a word says, from their boxes alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.structures import ObjectNote

_MOSTLY = 0.6
"""Share of the instants that both are seen in which a lasting relation must hold."""
_SHORTEST_SECONDS = 0.8
_FOLLOW_HEIGHTS = 5.0
"""Who follows is at most so many heights behind."""
_NEAR_HEIGHTS = 0.5
"""Boxes that are near leave at most so many heights between them."""


def related(
    one: ObjectNote, other: ObjectNote, relation: str, start_seconds: float, end_seconds: float
) -> tuple[float, float] | None:
    """The longest stretch in which `one` is so related to `other`, or None.

    Args:
        one: who is described.
        other: whom the relation is to.
        relation: `"left of"`, `"right of"`, `"above"`, `"below"`, `"near"`, `"in front of"`,
            `"behind"`, `"follows"`, `"followed by"` or `"passes"`.
        start_seconds: of the stretch to look at.
        end_seconds: its end.
    """
    if relation == "followed by":
        return related(other, one, "follows", start_seconds, end_seconds)
    times, a, b = _together(one, other, start_seconds, end_seconds)
    if len(times) < 2:
        return None
    if relation == "passes":
        return _passing(a, b, times)
    holds = _follows(a, b, times) if relation == "follows" else _holds(a, b, relation)
    step = float(np.median(np.diff(times)))
    if relation in ("left of", "right of", "above", "below", "in front of", "behind"):
        if holds.mean() < _MOSTLY:
            return None
        return float(times[0]), float(times[-1]) + step
    return _longest(holds, times, step)


def distances(
    one: ObjectNote, other: ObjectNote, start_seconds: float, end_seconds: float
) -> NDArray[np.float64]:
    """`(T,)` pixels between two objects' places on the ground at the instants that both are seen.

    Sideways between the boxes, in depth between their lower edges.
    """
    _, a, b = _together(one, other, start_seconds, end_seconds)
    gap = np.maximum(a[:, 0] - b[:, 2], b[:, 0] - a[:, 2]).clip(0)
    return np.asarray(np.hypot(gap, a[:, 3] - b[:, 3]))


def _together(
    one: ObjectNote, other: ObjectNote, start_seconds: float, end_seconds: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """`(T,)` instants of a stretch at which both are seen, and the `(T, 4)` boxes of each."""
    times, mine, theirs = np.intersect1d(
        one.times_seconds, other.times_seconds, assume_unique=True, return_indices=True
    )
    inside = (times >= start_seconds - 1e-6) & (times < end_seconds)
    a, b = one.boxes[mine[inside]], other.boxes[theirs[inside]]
    return times[inside], a.astype(np.float64), b.astype(np.float64)


def _holds(a: NDArray[np.float64], b: NDArray[np.float64], relation: str) -> NDArray[np.bool_]:
    """`(T,)` whether boxes `(T, 4)` stand so."""
    centre_a, centre_b = (a[:, :2] + a[:, 2:]) / 2, (b[:, :2] + b[:, 2:]) / 2
    size = (a[:, 2:] - a[:, :2] + b[:, 2:] - b[:, :2]) / 2
    x, y = ((centre_a - centre_b) / size).T
    gap = np.maximum(a[:, :2] - b[:, 2:], b[:, :2] - a[:, 2:]).clip(0)
    height = np.minimum(a[:, 3] - a[:, 1], b[:, 3] - b[:, 1])
    beside = np.hypot(gap[:, 0], gap[:, 1]) <= _NEAR_HEIGHTS * height
    feet = a[:, 3] - b[:, 3]
    match relation:
        case "left of":
            return np.asarray(x < -0.3)
        case "right of":
            return np.asarray(x > 0.3)
        case "above":
            return np.asarray((y < -0.3) & (np.abs(x) < 1.5))
        case "below":
            return np.asarray((y > 0.3) & (np.abs(x) < 1.5))
        case "in front of":
            return np.asarray((feet > 0) & (np.abs(x) < 1.5))
        case "behind":
            return np.asarray((feet < 0) & (np.abs(x) < 1.5))
    return np.asarray(beside)


def _ground_velocity(boxes: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(T, 2)` of the middle of the lower edge, pixels a second over about a second."""
    feet = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1)
    before = np.searchsorted(times, times - 0.5)
    after = np.searchsorted(times, times + 0.5, side="right") - 1
    seconds = np.maximum(times[after] - times[before], 1e-6)[:, None]
    return np.asarray((feet[after] - feet[before]) / seconds)


def _follows(
    a: NDArray[np.float64], b: NDArray[np.float64], times: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Both go the same way and the other is ahead, at most `_FOLLOW_HEIGHTS` away."""
    va, vb = _ground_velocity(a, times), _ground_velocity(b, times)
    height = (a[:, 3] - a[:, 1] + b[:, 3] - b[:, 1]) / 2
    ahead = np.stack([(b[:, 0] + b[:, 2] - a[:, 0] - a[:, 2]) / 2, b[:, 3] - a[:, 3]], axis=1)
    distance = np.hypot(*ahead.T)
    speed_a, speed_b = np.hypot(*va.T), np.hypot(*vb.T)
    same_way = (va * vb).sum(axis=1) > 0.5 * speed_a * speed_b
    behind = (va * ahead).sum(axis=1) > 0.5 * speed_a * distance
    walk = (speed_a > 0.2 * height) & (speed_b > 0.2 * height)
    return np.asarray(same_way & behind & walk & (distance < _FOLLOW_HEIGHTS * height))


def _passing(
    a: NDArray[np.float64], b: NDArray[np.float64], times: NDArray[np.float64]
) -> tuple[float, float] | None:
    """The two seconds around the moment when the faster one gets from behind to ahead."""
    x = (a[:, 0] + a[:, 2] - b[:, 0] - b[:, 2]) / 2
    width = (a[:, 2] - a[:, 0] + b[:, 2] - b[:, 0]) / 2
    speed_a = np.abs(_ground_velocity(a, times)[:, 0])
    speed_b = np.abs(_ground_velocity(b, times)[:, 0])
    crossings = np.flatnonzero(np.diff(np.sign(x)) != 0)
    for i in crossings.tolist():
        is_clear = np.abs(x).max() > 0.5 * width[i]
        if is_clear and speed_a[i] > speed_b[i]:
            end = min(float(times[-1]), float(times[i]) + 1.0)
            return max(float(times[0]), float(times[i]) - 1.0), end
    return None


def _longest(
    holds: NDArray[np.bool_], times: NDArray[np.float64], step: float
) -> tuple[float, float] | None:
    edges = np.diff(np.concatenate([[0], holds.astype(np.int8), [0]]))
    ends = np.append(times, times[-1] + step)
    runs = [
        (float(ends[i]), float(ends[j]))
        for i, j in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True)
    ]
    best = max(runs, key=lambda run: run[1] - run[0], default=(0.0, 0.0))
    return best if best[1] - best[0] >= _SHORTEST_SECONDS else None
