"""Records for tests, with what a test is not about filled in."""

from collections.abc import Iterable, Sequence

import numpy as np

from stvg_r1_hub.structures import RLE, Frames, MarkedFrames, Pixels, Track


def make_track(
    object_id: int,
    frames: Iterable[int],
    boxes: object,
    *,
    name: str = "dog",
    score: float = 0.9,
    interpolated: Sequence[int] = (),
    masks: tuple[RLE | None, ...] | None = None,
) -> Track:
    """One object; `boxes` is one xyxy for all frames or one a frame, `interpolated` are frames."""
    numbers = np.array(list(frames), np.int64)
    each = np.broadcast_to(np.asarray(boxes, np.float32), (len(numbers), 4)).copy()
    flags = np.isin(numbers, interpolated)
    return Track(object_id, name, score, numbers, each, flags, masks)


def make_frames(
    pixels: Pixels,
    *,
    sample_fps: float = 2.0,
    indices: Sequence[int] | None = None,
    times: Sequence[float] | None = None,
    model_size: tuple[int, int] | None = None,
) -> Frames:
    """A sample of `(T, H, W, 3)` pixels: the first frames, evenly spaced, at their own size."""
    n, *size = pixels.shape[:3]
    numbers = np.arange(n) if indices is None else np.array(indices)
    seconds = np.arange(n) / sample_fps if times is None else np.array(times)
    return Frames(pixels, numbers, seconds, sample_fps, *(model_size or size))


def marked(frames: Frames, *object_ids: int) -> MarkedFrames:
    """The sample with these objects' numbers in every frame."""
    return MarkedFrames(frames, (frozenset(object_ids),) * len(frames.pixels))
