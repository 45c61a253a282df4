"""Which stretches of a video are looked at: numbers in, time ranges out."""

from __future__ import annotations

import math
from dataclasses import replace

from stvg_r1_hub.config import SamplingConfig

OVERLAP = 1 / 3
"""Share of a window that it has in common with the next, so that short moments lie in one."""
LONG = 2.0
"""A video is long when its sample is thinner than the model's usual one by this factor."""
CLOSER = (2.0, 4.0)
"""Least and most that a second look samples faster than the first."""
_WHOLE = 0.98


def windows(duration_seconds: float, length: float) -> list[tuple[float, float]]:
    """Windows of equal length in seconds with overlap, the last one up to the end.

    >>> windows(14.0, 6.0)
    [(0.0, 6.0), (4.0, 10.0), (8.0, 14.0)]
    """
    if duration_seconds <= length:
        return [(0.0, duration_seconds)]
    step = length * (1 - OVERLAP)
    count = math.ceil((duration_seconds - length) / step - 1e-9) + 1
    step = (duration_seconds - length) / (count - 1)
    return [(i * step, i * step + length) for i in range(count)]


def around(
    start_seconds: float, end_seconds: float, duration_seconds: float, length: float
) -> tuple[float, float]:
    """A window with a time range in its middle, moved to lie within the video."""
    length = min(max(length, 2 * (end_seconds - start_seconds)), duration_seconds)
    start = (start_seconds + end_seconds - length) / 2
    start = min(max(start, 0.0), duration_seconds - length)
    return start, start + length


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
