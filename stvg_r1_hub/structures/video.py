"""A video, the frames of it that are read, and how they are told apart in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Progress = Callable[[str, int, int | None], None]
"""`progress(stage, done, total)`, called often; raise `errors.Cancelled` in it to stop."""


def check(condition: bool, message: str) -> None:
    """Refuse a record that contradicts itself.

    Raises:
        ValueError: the condition is false; says `message`.
    """
    if not condition:
        raise ValueError(message)


class ByValue:
    """A dataclass that equals another of its kind with the same values, those of arrays included.

    Fields with `compare=False` do not count.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(map(_is_same, self._compared(), other._compared()))

    def __hash__(self) -> int:
        return hash(tuple(v for v in self._compared() if isinstance(v, int | float | str)))

    def _compared(self) -> list[Any]:
        known: Any = self
        return [getattr(self, field.name) for field in fields(known) if field.compare]


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)


@dataclass(frozen=True, eq=False)
class VideoInfo(ByValue):
    """What is known of a video after reading its packets, before decoding a pixel.

    `width` and `height` are as shown to a viewer: after rotation and with square pixels.
    """

    name: str
    width: int
    height: int
    frame_times: NDArray[np.float64]
    """`(F,)` ascending seconds, the first is 0."""
    duration_seconds: float
    """End of the last frame."""
    has_audio: bool = False

    def __post_init__(self) -> None:
        times = self.frame_times
        check(times.ndim == 1 and len(times) > 0, f"frame_times must be (F,), got {times.shape}")
        check(bool(np.all(np.diff(times) > 0)), "frame_times must be strictly ascending")
        check(self.width > 0 and self.height > 0, f"got a {self.width}x{self.height} video")

    @property
    def n_frames(self) -> int:
        """F, the number of native frames."""
        return len(self.frame_times)

    @property
    def fps(self) -> float:
        """Average frames per second; for display and sampling, never for frame times."""
        return self.n_frames / self.duration_seconds

    def __repr__(self) -> str:
        return (
            f"VideoInfo({self.name!r}, {self.width}x{self.height}, {self.n_frames} frames, "
            f"{self.duration_seconds:.2f} s)"
        )


@dataclass(frozen=True, eq=False)
class TimedFrame(ByValue):
    """One decoded native frame with its place in the video."""

    frame_index: int
    time_seconds: float
    pixels: Pixels
    """`(H, W, 3)` uint8 RGB."""


@dataclass(frozen=True)
class SamplingPlan:
    """Which native frames the language model sees, and at what size."""

    frame_indices: tuple[int, ...]
    """Ascending, even in number; the last is repeated when the video is too short."""
    sample_fps: float
    """Frames of the sample per second of video; 2 / sample_fps is one grid step in seconds."""
    model_height: int
    model_width: int


@dataclass(frozen=True, eq=False)
class Frames(ByValue):
    """The sampled frames at original size, with the size the language model wants."""

    pixels: Pixels
    """`(T, H, W, 3)` uint8 RGB."""
    frame_indices: NDArray[np.int64]
    """`(T,)` native frame of each sample."""
    times_seconds: NDArray[np.float64]
    """`(T,)`."""
    sample_fps: float
    model_height: int
    model_width: int

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        check(len(shape) == 4 and shape[3] == 3, f"pixels must be (T, H, W, 3), got {shape}")
        check(self.pixels.dtype == np.uint8, f"pixels must be uint8, got {self.pixels.dtype}")
        check(
            len(self.frame_indices) == len(self.times_seconds) == shape[0],
            f"{shape[0]} frames, {len(self.frame_indices)} indices, "
            f"{len(self.times_seconds)} times",
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        return f"Frames(pixels={self.pixels.shape}, sample_fps={self.sample_fps:g})"
