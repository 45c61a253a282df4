"""Queries about motion, with their answers, from the trajectories of people in a clip.

Only what is unambiguous is asked: exactly one person does it, once and clearly, and nobody else
does it for a second. Speeds are in body heights a second, so that near and far people are
judged alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

LEFT, RIGHT, AWAY, TOWARDS, STILL, UNCLEAR = "left", "right", "away", "towards", "still", ""
WORDINGS = {
    LEFT: ("the person walking to the left", "the man who walks left"),
    RIGHT: ("the person walking to the right", "the man who walks right"),
    AWAY: ("the person walking away from the camera",),
    TOWARDS: ("the person walking towards the camera",),
    STILL: ("the person standing still", "the man who stands still"),
}
STANDS = 0.15
"""Slower than this nobody walks."""
STRIDES, APPROACHES = 0.3, 0.2
"""At least this fast sideways, and up or down in the picture, which perspective shortens."""
MAINLY = 1.5
"""A direction is clear when its speed is so many times the other one's."""
GAP_SECONDS, MOMENT_SECONDS, CLEAR_SECONDS = 0.5, 1.0, 1.5
CLEAR_HEIGHTS = 0.75
"""Body heights that a clear walk covers."""


@dataclass(frozen=True)
class Trajectory:
    """One person in consecutive frames of a clip."""

    person: int
    first_frame: int
    boxes: NDArray[np.float64]
    """`(T, 4)` xyxy pixels."""


@dataclass(frozen=True)
class MotionQuery:
    """A query with one right answer."""

    text: str
    motion: str
    person: int
    start_frame: int
    end_frame: int
    """Half-open."""


def motions(boxes: NDArray[np.float64], fps: float) -> list[str]:
    """What a person does in each frame, from feet that are followed over about a second."""
    feet = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]], axis=1)
    heights = float(np.median(boxes[:, 3] - boxes[:, 1]))
    reach = max(1, round(fps / 2))
    places = np.arange(len(feet))
    before, after = np.maximum(places - reach, 0), np.minimum(places + reach, len(feet) - 1)
    seconds = np.maximum(after - before, 1)[:, None] / fps
    velocity = (feet[after] - feet[before]) / seconds / heights
    return [_motion(float(x), float(y)) for x, y in velocity]


def _motion(x: float, y: float) -> str:
    if np.hypot(x, y) < STANDS:
        return STILL
    if abs(x) >= STRIDES and abs(x) >= MAINLY * abs(y):
        return RIGHT if x > 0 else LEFT
    if abs(y) >= APPROACHES and abs(y) >= MAINLY * abs(x):
        return TOWARDS if y > 0 else AWAY
    return UNCLEAR


def runs(states: list[str], motion: str, fps: float) -> list[tuple[int, int]]:
    """Half-open ranges in which a motion lasts at least a moment; short gaps are closed."""
    found: list[tuple[int, int]] = []
    place = 0
    for state, group in groupby(states):
        length = len(list(group))
        if state == motion:
            if found and place - found[-1][1] <= GAP_SECONDS * fps:
                found[-1] = (found[-1][0], place + length)
            else:
                found.append((place, place + length))
        place += length
    return [(a, b) for a, b in found if b - a >= MOMENT_SECONDS * fps]


def motion_queries(people: list[Trajectory], fps: float) -> list[MotionQuery]:
    """All unambiguous queries about a clip.

    Args:
        people: everybody in it.
        fps: of the clip.
    """
    states = {p.person: motions(p.boxes, fps) for p in people}
    queries = []
    for motion, wordings in WORDINGS.items():
        doing = [(p, run) for p in people for run in runs(states[p.person], motion, fps)]
        if len(doing) != 1 or not _is_clear(*doing[0], motion, fps):
            continue
        person, (first, stop) = doing[0]
        queries += [
            MotionQuery(
                text, motion, person.person, person.first_frame + first, person.first_frame + stop
            )
            for text in wordings
        ]
    return queries


def _is_clear(person: Trajectory, run: tuple[int, int], motion: str, fps: float) -> bool:
    first, stop = run
    if stop - first < CLEAR_SECONDS * fps:
        return False
    if motion == STILL:
        return True
    boxes = person.boxes[first:stop]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    covered = float(np.abs(middle[-1] - middle[0]).max())
    return covered >= CLEAR_HEIGHTS * float(np.median(boxes[:, 3] - boxes[:, 1]))
