"""Which frames the language model sees and at what size: numbers in, `SamplingPlan` out.

The rule is that of qwen-vl-utils 0.0.14, which the published checkpoints were trained with: an
even number of frames spread over the clip, and a pixel budget that the frames share.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.config import SamplingConfig
from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.geometry import frames_in_range
from stvg_r1_hub.structures import Frames, SamplingPlan, VideoInfo

FRAMES_PER_STEP = 2
"""Frames that one temporal patch joins; samples are even for it."""
MAX_FACTORS_PER_FRAME = 768
"""A frame never gets more than this many squares of `size_factor` pixels."""
MAX_ASPECT_RATIO = 200
"""Longest side by shortest side that the resize rule accepts."""


def thin_sample(sample: SamplingPlan | Frames, info: VideoInfo) -> tuple[str, ...]:
    """A sentence where the model sees less than a frame a second, though the video has more."""
    if sample.sample_fps >= 1 or len(set(map(int, sample.frame_indices))) >= info.n_frames:
        return ()
    return (
        f"This video is long: the model looks at one frame every {1 / sample.sample_fps:.1f} s of "
        "it and can miss what is quicker; cut out the part that matters and ask about that.",
    )


def plan_sampling(
    n_frames: int,
    native_fps: float,
    width: int,
    height: int,
    sampling: SamplingConfig,
    *,
    n_sampled: int | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> SamplingPlan:
    """Choose frames and their size for a video of constant frame rate.

    Args:
        n_frames: native frames F.
        native_fps: native frames per second.
        width: pixels of a native frame, as shown.
        height: pixels of a native frame, as shown.
        sampling: rate, limits and pixel budget.
        n_sampled: take this many frames (made even) in place of `sampling.fps`.
        start_seconds: only look at frames from here on.
        end_seconds: only look at frames up to here.

    Raises:
        VideoError: fewer than two frames, an empty time range, more frames asked for than there
            are, or a picture more than 200 times as long as wide.
    """
    first, last = _frame_range(n_frames, native_fps, start_seconds, end_seconds)
    available = last - first + 1
    count = sampled_count(available, native_fps, sampling, n_sampled)
    model_height, model_width = model_size(height, width, count, sampling)
    return SamplingPlan(
        frame_indices=tuple(spread(first, last, count)),
        sample_fps=count / max(available, 1e-6) * native_fps,
        model_height=model_height,
        model_width=model_width,
    )


def plan_for(info: VideoInfo, sampling: SamplingConfig) -> SamplingPlan:
    """Choose frames and their size for a video: `plan_sampling`, on the video's own clock.

    At a constant frame rate both are the same. At a variable one the same number of sampling
    times is spread over the clip, and each gets the frame that a viewer sees at that time, so
    that the model's clock stays right; a frame that is shown for long can occur repeatedly.

    Raises:
        VideoError: as `plan_sampling`.
    """
    rate = constant_rate(info.frame_times)
    plan = plan_sampling(info.n_frames, rate or info.fps, info.width, info.height, sampling)
    if rate is not None:
        return plan
    count = len(plan.frame_indices)
    targets = np.linspace(0.0, info.frame_times[-1], count)
    shown = np.searchsorted(info.frame_times, targets + 1e-6, side="right") - 1
    return SamplingPlan(
        frame_indices=tuple(shown.tolist()),
        sample_fps=plan.sample_fps,
        model_height=plan.model_height,
        model_width=plan.model_width,
    )


def part_of(
    info: VideoInfo, start_seconds: float, end_seconds: float
) -> tuple[VideoInfo, int] | None:
    """A half-open time range of a video as if it were the whole, with times that start at 0.

    Returns:
        What is known of the part, and its first native frame; None where fewer than two frames
        lie in it.
    """
    frames = frames_in_range(info.frame_times, start_seconds, end_seconds)
    if len(frames) < 2:
        return None
    times = info.frame_times[frames.start : frames.stop]
    follows = frames.stop < info.n_frames
    end = float(info.frame_times[frames.stop]) if follows else info.duration_seconds
    part = VideoInfo(info.name, info.width, info.height, times - times[0], end - float(times[0]))
    return part, frames.start


def constant_rate(frame_times: NDArray[np.float64]) -> float | None:
    """Frames per second of evenly spaced `(F,)` times, or None when they are not even.

    Container clocks round (Matroska to a millisecond), and 39.999 sampled frames must count as
    40: a rate that explains the times within that rounding and is a whole, half or NTSC number
    (30000/1001) is taken as that number.
    """
    steps = len(frame_times) - 1
    if steps < 1:
        return None
    span = float(frame_times[-1] - frame_times[0])
    rate = steps / span
    even = frame_times[0] + np.arange(steps + 1) / rate
    if float(np.abs(frame_times - even).max()) > 0.5 / rate:
        return None
    candidates = [round(rate * 2) / 2, round(rate * 1.001) / 1.001]
    fitting = [c for c in candidates if c > 0 and abs(steps / c - span) < 1.5e-3]
    return min(fitting, key=lambda c: abs(c - rate), default=round(rate, 6))


def spread(first: int, last: int, count: int) -> list[int]:
    """`count` whole numbers from `first` to `last`, evenly, as `torch.linspace(...).round()`.

    Torch steps from both ends towards the middle with one float32 rounding per value (a fused
    multiply-add, here a float64 sum rounded once) and rounds halves to even; the sampled frames
    must be the very same ones.
    """
    step = np.float64((np.float32(last) - np.float32(first)) / np.float32(max(count - 1, 1)))
    i = np.arange(count)
    values = np.where(i < count // 2, first + step * i, last - step * (count - 1 - i))
    return [int(value) for value in np.round(values.astype(np.float32))]


def sampled_count(
    n_frames: int, native_fps: float, sampling: SamplingConfig, n_sampled: int | None = None
) -> int:
    """Even number of frames to sample out of `n_frames`.

    Raises:
        VideoError: fewer than two frames, or `n_sampled` is more than there are.
    """
    if not (math.isfinite(native_fps) and native_fps > 0):
        raise VideoError(
            f"The video has a frame rate of {native_fps}; a positive number is needed."
        )
    if n_sampled is not None:
        count = round(n_sampled / FRAMES_PER_STEP) * FRAMES_PER_STEP
    else:
        fewest = math.ceil(sampling.min_frames / FRAMES_PER_STEP) * FRAMES_PER_STEP
        most = _even_below(min(sampling.max_frames, n_frames))
        wanted = n_frames / native_fps * sampling.fps
        count = _even_below(min(max(wanted, fewest), most, n_frames))
    if not FRAMES_PER_STEP <= count <= n_frames:
        raise VideoError(
            f"Got a video with {n_frames} frames to take {max(count, FRAMES_PER_STEP)} from; "
            "at least two frames, and as many as are sampled, are needed."
        )
    return count


def pixel_limits(count: int, sampling: SamplingConfig) -> tuple[int, float]:
    """Least and most pixels of one frame when `count` frames share the budget."""
    cap = MAX_FACTORS_PER_FRAME * sampling.size_factor**2
    most = max(
        min(cap, sampling.total_pixels / count * FRAMES_PER_STEP), int(sampling.min_pixels * 1.05)
    )
    if sampling.max_pixels is not None:
        most = min(sampling.max_pixels, most)
    return sampling.min_pixels, most


def model_size(height: int, width: int, count: int, sampling: SamplingConfig) -> tuple[int, int]:
    """Height and width for the model: multiples of `size_factor` within `pixel_limits`.

    Raises:
        VideoError: a side is more than 200 times the other.
    """
    if max(height, width) / min(height, width) > MAX_ASPECT_RATIO:
        raise VideoError(
            f"Got a picture of {width}x{height} pixels; one side may be at most "
            f"{MAX_ASPECT_RATIO} times the other, so crop the video."
        )
    factor = sampling.size_factor
    least, most = pixel_limits(count, sampling)
    new_height = max(factor, round(height / factor) * factor)
    new_width = max(factor, round(width / factor) * factor)
    if new_height * new_width > most:
        shrink = math.sqrt(height * width / most)
        new_height = max(factor, math.floor(height / shrink / factor) * factor)
        new_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif new_height * new_width < least:
        grow = math.sqrt(least / (height * width))
        new_height = math.ceil(height * grow / factor) * factor
        new_width = math.ceil(width * grow / factor) * factor
    return new_height, new_width


def _even_below(value: float) -> int:
    return math.floor(value / FRAMES_PER_STEP) * FRAMES_PER_STEP


def _frame_range(
    n_frames: int, native_fps: float, start_seconds: float | None, end_seconds: float | None
) -> tuple[int, int]:
    """First and last native frame of a time range, both included."""
    first, last = 0, n_frames - 1
    duration = n_frames / native_fps if native_fps > 0 else 0.0
    if start_seconds is not None:
        first = math.ceil(min(max(start_seconds, 0.0), duration) * native_fps)
    if end_seconds is not None:
        end = min(max(end_seconds, 0.0), duration)
        last = min(math.floor(end * native_fps), n_frames - 1)
    if (start_seconds is not None or end_seconds is not None) and first >= last:
        raise VideoError(
            f"Got the time range {start_seconds} to {end_seconds} of a {duration:.2f} s video; "
            "it must hold at least two frames."
        )
    return first, last
