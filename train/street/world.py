"""A street scene before rendering: who moves where and when, and the question about it.

Positions are fractions of the frame's width and height. Every object has a noun, drawn without
regard to how it looks; several share one, so that their motion tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from train.street.words import (
    DOWN,
    LEFT,
    MOTIONS,
    NOUNS,
    RESTS,
    RIGHT,
    STREET_NOUNS,
    UP,
    WALKS,
    wording,
)

TIME_STEP = 0.25
DURATIONS = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)
MAX_NUMBER = 20
_SHORTEST = 1.0
"""Seconds of a segment, at least."""
_PLACES = 12
_UNANSWERABLE = 0.1


@dataclass(frozen=True)
class Segment:
    """One motion during `[start_seconds, end_seconds)`."""

    motion: str
    """One of `MOTIONS`, or `RESTS`."""
    start_seconds: float
    end_seconds: float
    velocity: tuple[float, float]
    """Fractions of width and height a second, to the right and down."""


@dataclass(frozen=True)
class Walker:
    """One object; its segments cover the time in which a tracker follows it."""

    number: int
    """Drawn on it; 0 where no tracker follows it."""
    noun: str
    x: float
    y: float
    """Middle at the first segment's start."""
    height: float
    segments: tuple[Segment, ...]
    leaves: bool
    """Not there at all before and after its segments; else there, but without a number."""
    nearing: float
    """Growth a second while it walks down, and shrinking while it walks up, as a share."""

    @property
    def start_seconds(self) -> float:
        """Of the track."""
        return self.segments[0].start_seconds

    @property
    def end_seconds(self) -> float:
        """Of the track."""
        return self.segments[-1].end_seconds

    def places(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(T, 3)` middle x, y and height at T instants; outer motions go on outside the track."""
        place = np.array([self.x, self.y, np.log(self.height)]) + np.zeros((len(seconds), 3))
        for i, segment in enumerate(self.segments):
            low = -np.inf if i == 0 else segment.start_seconds
            high = np.inf if i == len(self.segments) - 1 else segment.end_seconds
            run = np.clip(seconds, low, high) - segment.start_seconds
            toward = {UP: -1.0, DOWN: 1.0}.get(segment.motion, 0.0) * self.nearing
            place += run[:, None] * np.array([*segment.velocity, toward])
        place[:, 2] = np.exp(place[:, 2])
        return place


@dataclass(frozen=True)
class StreetScene:
    """A clip with its question."""

    seed: tuple[int, ...]
    """Seeds looks and background."""
    duration_seconds: float
    walkers: tuple[Walker, ...]
    """By number; those without one come first."""
    noun: str
    motion: str
    """What is asked for: one of `MOTIONS`, `RESTS`, or `WALKS` for any direction."""
    query: str
    target: Walker | None
    answer_range: tuple[float, float] | None
    """`[start, end)` in seconds; None when nothing is what the query describes."""

    @property
    def tracked(self) -> list[Walker]:
        """The numbered objects, by number."""
        return [walker for walker in self.walkers if walker.number]

    @property
    def hints(self) -> dict[int, str]:
        """Number to noun."""
        return {walker.number: walker.noun for walker in self.tracked}


def asked_segments(walker: Walker, noun: str, motion: str) -> list[Segment]:
    """The segments of an object that a question about a noun and a motion means."""
    if walker.noun != noun:
        return []
    return [
        s for s in walker.segments if s.motion == motion or (motion == WALKS and s.motion != RESTS)
    ]


def sample_street(seed: tuple[int, ...], *, duration_seconds: float = 0) -> StreetScene:
    """Draw a scene; the same arguments give the same scene.

    Args:
        seed: any non-negative integers.
        duration_seconds: length of the clip, a multiple of 0.5; 0 draws one of `DURATIONS`.
    """
    rng = np.random.default_rng([*seed, 7])
    duration = duration_seconds or float(rng.choice(DURATIONS))
    while True:
        walkers = _cast(rng, duration)
        question = _question(rng, walkers)
        if question is not None:
            break
    noun, motion, target, segment = question
    return StreetScene(
        seed,
        duration,
        walkers,
        noun,
        motion,
        wording(noun, motion, rng),
        target,
        (segment.start_seconds, segment.end_seconds) if segment else None,
    )


def _cast(rng: np.random.Generator, duration: float) -> tuple[Walker, ...]:
    count = int(rng.choice(np.arange(2, 10), p=(0.08, 0.1, 0.13, 0.15, 0.15, 0.14, 0.13, 0.12)))
    main = "person" if rng.random() < 0.35 else str(rng.choice(NOUNS))
    others = [str(rng.choice(STREET_NOUNS if rng.random() < 0.5 else NOUNS)) for _ in range(2)]
    typical = float(np.exp(rng.uniform(np.log(0.08), np.log(0.35))))
    # A crowd: everybody in one part of the frame; and half of the scenes are full from the start.
    reach = rng.uniform(0.35, 1.0, 2)
    corner = rng.uniform(0, 1 - reach)
    late = 0.3 if rng.random() < 0.5 else 0.05
    cast: list[Walker] = []
    for i in range(count + int(rng.choice(3, p=(0.6, 0.25, 0.15)))):
        noun = main if i == 0 or rng.random() < 0.65 else str(rng.choice(others))
        height = float(np.clip(typical * np.exp(rng.normal(0, 0.25)), 0.06, 0.5))
        cast.append(_placed(rng, _walker(rng, noun, height, duration, late), cast, corner, reach))
    # A tracker numbers in order of appearance, and some of its numbers are gone already.
    tracked = sorted(cast[:count], key=lambda w: w.start_seconds)
    highest = count if rng.random() < 0.6 else int(rng.integers(count, MAX_NUMBER + 1))
    numbers = np.sort(rng.choice(np.arange(1, highest + 1), count, replace=False)).tolist()
    numbered = [replace(w, number=n) for w, n in zip(tracked, numbers, strict=True)]
    return (*cast[count:], *numbered)


def _walker(
    rng: np.random.Generator, noun: str, height: float, duration: float, late: float
) -> Walker:
    steps = round(duration / TIME_STEP)
    least = round(_SHORTEST / TIME_STEP)
    start, end = 0, steps
    if rng.random() < late:
        start = int(rng.integers(1, steps - least))
    if rng.random() < late:
        end = int(rng.integers(start + least, steps + 1))
    wanted = int(rng.choice((1, 2, 3), p=(0.7, 0.22, 0.08)))
    count = max(1, min(wanted, (end - start) // least))
    spare = end - start - count * least
    cuts = np.sort(rng.integers(0, spare + 1, count - 1)) + least * np.arange(1, count)
    bounds = [start, *(start + cuts).tolist(), end]
    segments: list[Segment] = []
    for a, b in pairwise(bounds):
        motion = segments[-1].motion if segments else ""
        while motion == (segments[-1].motion if segments else ""):
            motion = str(rng.choice((RESTS, *MOTIONS), p=(0.3, 0.24, 0.24, 0.11, 0.11)))
        segments.append(Segment(motion, a * TIME_STEP, b * TIME_STEP, _velocity(rng, motion)))
    leaves = bool(rng.random() < 0.6)
    return Walker(0, noun, 0.5, 0.5, height, tuple(segments), leaves, float(rng.uniform(0.0, 0.12)))


def _velocity(rng: np.random.Generator, motion: str) -> tuple[float, float]:
    if motion == RESTS:
        return float(rng.normal(0, 0.003)), float(rng.normal(0, 0.003))
    # Slow in pixels: a pedestrian far away needs ten seconds or more across the frame.
    along = float(np.exp(rng.uniform(np.log(0.035), np.log(0.22))))
    across = along * float(rng.uniform(-0.4, 0.4))
    if motion in (LEFT, RIGHT):
        return (along if motion == RIGHT else -along), across
    along *= 0.8
    return across, (along if motion == DOWN else -along)


def _placed(
    rng: np.random.Generator,
    walker: Walker,
    others: list[Walker],
    corner: NDArray[np.float64],
    reach: NDArray[np.float64],
) -> Walker:
    """The object where it stays in its part of the frame, and rather apart from the others."""
    instants = np.arange(walker.start_seconds, walker.end_seconds + 1e-6, TIME_STEP)
    path = walker.places(instants)[:, :2] - 0.5
    extent = path.max(0) - path.min(0)
    slower = min(1.0, float((0.84 * reach / np.maximum(extent, 1e-6)).min()))
    if slower < 1:
        segments = tuple(
            replace(s, velocity=(s.velocity[0] * slower, s.velocity[1] * slower))
            for s in walker.segments
        )
        walker, path, extent = replace(walker, segments=segments), path * slower, extent * slower
    low = np.maximum([0.03, 0.1], corner) - path.min(0)
    high = np.minimum([0.97, 0.95], corner + reach) - path.max(0)
    places = rng.uniform(low, np.maximum(high, low + 1e-6), (_PLACES, 2))
    if walker.leaves and walker.start_seconds > 0 and abs(path[-1, 0]) > 0.05:
        places[:, 0] = low[0] if path[-1, 0] > 0 else high[0]  # comes in over the border
    theirs = [other.places(instants)[:, :2] for other in others]
    distances = [
        min((float(np.abs(path + place - other).sum(1).mean()) for other in theirs), default=0.0)
        for place in places
    ]
    # Not the emptiest place each time: real paths cross.
    best = places[int(np.argmax(distances[: int(rng.integers(1, 9))]))]
    return replace(walker, x=float(best[0]), y=float(best[1]))


def _question(
    rng: np.random.Generator, walkers: tuple[Walker, ...]
) -> tuple[str, str, Walker | None, Segment | None] | None:
    """Noun, motion, and the one object and segment that they mean; or nothing, on purpose."""
    nouns = sorted({walker.noun for walker in walkers if walker.number})
    found, missing = [], []
    for noun in nouns:
        of_noun = sum(walker.noun == noun for walker in walkers)
        for motion in (*MOTIONS, RESTS, WALKS):
            meant = [(w, s) for w in walkers for s in asked_segments(w, noun, motion)]
            if len(meant) == 1 and meant[0][0].number:
                often = 0.5 if motion == WALKS else 1.0
                found.append(((noun, motion, *meant[0]), often * (3.0 if of_noun > 1 else 1.0)))
            elif not meant:
                missing.append((noun, motion, None, None))
    if missing and rng.random() < _UNANSWERABLE:
        return missing[int(rng.integers(len(missing)))]
    if not found:
        return None
    weights = np.array([weight for _, weight in found])
    return found[int(rng.choice(len(found), p=weights / weights.sum()))][0]
