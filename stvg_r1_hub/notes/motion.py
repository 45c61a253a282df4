"""What an object does, from its boxes alone: directions and rests, as segments with seconds.

The point that is followed is where the object stands: the middle of its box's lower edge, or the
edges that are in view while the frame cuts it. Speeds are in heights of the object a second, so
that near and far ones are judged alike, over the second around each instant, with the movement of
the camera taken out. Below `STILL` it is still; at least `SIDEWAYS` and 1.2 times faster across
than along is left or right; at least `ALONG` down or up in the picture is towards or away, and so
is growing or shrinking by `GROWTH` a second; anything else is just moving. Gaps of at most 0.6 s
are closed, and what does not last for 0.8 s is dropped. The thresholds were chosen on frames 1 to
400 of PETS09-S2L1; `benchmarks/bench_notes.py` holds them against true trajectories.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.notes.camera import CameraMotion
from stvg_r1_hub.structures import Segment, Track

STILL, SIDEWAYS, ALONG, GROWTH = 0.18, 0.3, 0.15, 0.15
"""Heights a second; a share of the height a second for the last."""
MAINLY = 1.2
REACH_SECONDS = 0.5
GAP_SECONDS, SHORTEST_SECONDS = 0.6, 0.8
_NEAR_EDGE = 0.01
"""Share of the frame's side within which a box is cut by the frame."""
_MODES = ("still", "left", "right", "towards", "away", "moving")


def follow(
    track: Track, times: NDArray[np.float64], size: tuple[int, int], camera: CameraMotion
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where an object goes on the ground of the picture.

    Args:
        track: T boxes.
        times: `(T,)` seconds of them.
        size: width and height of the frame.
        camera: is taken out.

    Returns:
        `(T, 3)` velocity: right, down (heights a second) and growth (share a second); and `(T,)`
        speed in heights a second.
    """
    boxes = track.boxes.astype(np.float64)
    heights = np.maximum(_smooth(boxes[:, 3] - boxes[:, 1], times), 1.0)
    feet = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1)
    step = np.stack(
        [
            _free_step(boxes[:, 0], boxes[:, 2], size[0], middle=True),
            _free_step(boxes[:, 1], boxes[:, 3], size[1], middle=False),
            np.diff(np.log(heights)),
        ],
        axis=1,
    )
    seconds = np.diff(times)[:, None]
    rates = camera.at((times[:-1] + times[1:]) / 2)
    ground = rates[:, :2] + rates[:, 2:] * (feet[:-1] - np.array(camera.centre))
    step -= np.concatenate([ground, rates[:, 2:]], axis=1) * seconds
    path = np.concatenate([np.zeros((1, 3)), np.cumsum(step, axis=0)])
    before = np.searchsorted(times, times - REACH_SECONDS - 1e-6)
    after = np.searchsorted(times, times + REACH_SECONDS + 1e-6) - 1
    span = np.maximum(times[after] - times[before], 1e-6)[:, None]
    velocity = (path[after] - path[before]) / span
    velocity[:, :2] /= heights[:, None]
    if len(times) < 2 or times[-1] - times[0] < REACH_SECONDS:
        velocity[:] = 0
    return velocity, np.hypot(velocity[:, 0], velocity[:, 1])


def _free_step(
    low: NDArray[np.float64], high: NDArray[np.float64], side: int, *, middle: bool
) -> NDArray[np.float64]:
    """`(T - 1,)` steps along one axis, of the edge that the frame does not cut.

    Args:
        low: `(T,)` left or upper edges.
        high: `(T,)` right or lower edges.
        side: of the frame.
        middle: follow the middle where both are free, else the high edge.
    """
    margin = _NEAR_EDGE * side
    cut_low, cut_high = low <= margin, high >= side - margin
    cut_low, cut_high = cut_low[:-1] | cut_low[1:], cut_high[:-1] | cut_high[1:]
    low_step, high_step = np.diff(low), np.diff(high)
    free = (low_step + high_step) / 2 if middle else high_step
    step = np.where(cut_high & ~cut_low, low_step, free)
    return np.where(cut_low & ~cut_high, high_step, step) if middle else step


def _smooth(values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(T,)` means over the half second around each instant."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    first = np.searchsorted(times, times - 0.25)
    stop = np.searchsorted(times, times + 0.25, side="right")
    return np.asarray((total[stop] - total[first]) / (stop - first))


def modes_of(velocity: NDArray[np.float64]) -> NDArray[np.intp]:
    """`(T,)` places in `_MODES` for `(T, 3)` velocities; rules in the module's docstring."""
    x, y, growth = velocity.T
    speed = np.hypot(x, y)
    along = np.where(np.abs(y) >= ALONG, y, np.where(np.abs(growth) >= GROWTH, growth, 0.0))
    mode = np.full(len(velocity), _MODES.index("moving"))
    mode[along > 0] = _MODES.index("towards")
    mode[along < 0] = _MODES.index("away")
    across = (np.abs(x) >= SIDEWAYS) & (np.abs(x) >= MAINLY * np.abs(y))
    mode[across & (x < 0)] = _MODES.index("left")
    mode[across & (x > 0)] = _MODES.index("right")
    unclear = ~across & (speed >= STILL) & (np.abs(y) * MAINLY < np.abs(x))
    mode[unclear] = _MODES.index("moving")
    mode[(speed < STILL) & (np.abs(growth) < GROWTH)] = _MODES.index("still")
    return mode


def segments_of(
    flags: NDArray[np.bool_], times: NDArray[np.float64], end_seconds: float, word: str
) -> list[Segment]:
    """Stretches in which a flag holds: gaps of `GAP_SECONDS` closed, short ones dropped.

    Args:
        flags: `(T,)`.
        times: `(T,)` seconds.
        end_seconds: end of the last frame.
        word: what the flag means.
    """
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    ends = np.append(times, end_seconds)
    found: list[tuple[float, float]] = []
    for first, stop in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True):
        start, end = float(ends[first]), float(ends[stop])
        if found and start - found[-1][1] <= GAP_SECONDS:
            start = found.pop()[0]
        found.append((start, end))
    return [Segment(word, a, b) for a, b in found if b - a >= SHORTEST_SECONDS - 1e-6]


def motion_of(
    velocity: NDArray[np.float64],
    times: NDArray[np.float64],
    end_seconds: float,
    fast_speed: float,
) -> tuple[Segment, ...]:
    """All segments of one object, by start: directions, rests, and `"fast"` beside them.

    Args:
        velocity: `(T, 3)` of `follow`.
        times: `(T,)`.
        end_seconds: end of the last frame.
        fast_speed: heights a second from which it counts as fast.
    """
    modes = modes_of(velocity)
    speed = np.hypot(velocity[:, 0], velocity[:, 1])
    found = [
        segment
        for place, word in enumerate(_MODES)
        for segment in segments_of(modes == place, times, end_seconds, word)
    ]
    found += segments_of(speed >= fast_speed, times, end_seconds, "fast")
    return tuple(sorted(found, key=lambda s: (s.start_seconds, s.end_seconds)))
