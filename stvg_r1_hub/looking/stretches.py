"""Which stretches of a video are looked at: numbers in, time ranges out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from stvg_r1_hub.config import SamplingConfig

OVERLAP = 1 / 3
"""Share of a window that it has in common with the next, so that short moments lie in one."""
LONG = 2.0
"""A video is long when its sample is thinner than the model's usual one by this factor."""
CLOSER = (2.0, 4.0)
"""Least and most that a second look samples faster than the first."""
_WHOLE = 0.98


def windows(
    duration_seconds: float, length: float, scene_starts: Sequence[float] = ()
) -> list[tuple[float, float]]:
    """Windows of at most so many seconds: whole scenes, as many as fit; a longer one has several.

    These are of equal length and overlap, the last one up to the end of the scene.

    >>> windows(14.0, 6.0)
    [(0.0, 6.0), (4.0, 10.0), (8.0, 14.0)]
    >>> windows(14.0, 6.0, scene_starts=[2.0, 5.0, 9.0])
    [(0.0, 5.0), (5.0, 9.0), (9.0, 14.0)]

    Args:
        duration_seconds: of the video.
        length: of a window, at most.
        scene_starts: seconds, ascending, when another scene begins.
    """
    found: list[tuple[float, float]] = []
    for start, end in pairwise([0.0, *scene_starts, duration_seconds]):
        if found and end - found[-1][0] <= length:
            found[-1] = (found[-1][0], end)
            continue
        more = max(0, math.ceil((end - start - length) / (length * (1 - OVERLAP)) - 1e-9))
        step = (end - start - length) / max(more, 1)
        found += [(start + i * step, min(start + i * step + length, end)) for i in range(more + 1)]
    return found


def is_long(sample_fps: float, sampling: SamplingConfig) -> bool:
    """Whether the one look at a whole video sees much less of it than the model is used to."""
    return sample_fps * LONG <= sampling.fps


def closer(
    start_seconds: float, end_seconds: float, duration_seconds: float, *, step_seconds: float
) -> tuple[float, float] | None:
    """A time range made wider by half its length on both sides.

    Args:
        start_seconds: of the answered range.
        end_seconds: its end; when it is the start too, one step is added on both sides.
        duration_seconds: of the video.
        step_seconds: the shortest time that the first look told apart.

    Returns:
        The stretch to look at again; None when that would be the whole video.
    """
    margin = max((end_seconds - start_seconds) / 2, step_seconds)
    start, end = max(0.0, start_seconds - margin), min(duration_seconds, end_seconds + margin)
    return None if end - start >= _WHOLE * duration_seconds else (start, end)


def closer_sampling(
    sampling: SamplingConfig, *, n_frames: int, sample_fps: float, seconds: float
) -> SamplingConfig:
    """How a stretch is sampled again: faster than before, with no more frames than before.

    Where that would not even be twice as fast, the stretch gets more frames; all of them share the
    model's budget of pixels, so a look never costs more than a whole clip may.

    Args:
        sampling: of the first look.
        n_frames: frames of the first look.
        sample_fps: its rate.
        seconds: length of the stretch.
    """
    least, most = (factor * sample_fps for factor in CLOSER)
    rate = min(max(n_frames / seconds, least), most, 120.0)
    count = max(n_frames, math.ceil(rate * seconds))
    return replace(sampling, fps=rate, max_frames=max(count, sampling.min_frames))
