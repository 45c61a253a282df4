"""How well a time range and a tube of boxes agree with the truth, as fractions in 0..1.

Frame ranges and time ranges are half-open. Everything works on whole arrays: a sample of hundreds
of frames, or thousands of samples, is one call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stvg_r1_hub.geometry import paired_iou
from stvg_r1_hub.structures import Tracks


def temporal_iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Intersection over union of two half-open time ranges (start, end) in seconds: tIoU.

    A reversed, empty or endless range gives 0. This is the temporal part of the
    official reward (`iou_timestamp_reward` of grpo_video.py, XiaowZhang00/stvg-r1 @ 0bea9e5).
    """
    intersection = min(a[1], b[1]) - max(a[0], b[0])
    union = max(a[1], b[1]) - min(a[0], b[0])
    # Ranges that overlap have their hull as union; the others score 0 anyway.
    if not all(map(math.isfinite, (*a, *b))) or intersection <= 0:
        return 0.0
    return float(intersection / union)


def temporal_set_iou(a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]]) -> float:
    """Seconds in both of two sets of half-open ranges, over the seconds in either.

    Args:
        a: ranges (start, end) in seconds; those of one set do not overlap.
        b: the same.
    """
    both = sum(max(0.0, min(x[1], y[1]) - max(x[0], y[0])) for x in a for y in b)
    either = sum(end - start for start, end in (*a, *b)) - both
    return both / either if both > 0 and math.isfinite(either) else 0.0


def temporal_wasserstein(
    a: Sequence[tuple[float, float]], b: Sequence[tuple[float, float]]
) -> float:
    """Seconds that a moment of one set of ranges lies from its counterpart in the other: W1.

    The first Wasserstein distance of two distributions that are even over the ranges of a set:
    the area between their cumulative shares. Unlike an IoU it tells far misses from near ones.

    Args:
        a: half-open ranges (start, end) in seconds, ascending and apart, at least one.
        b: the same.
    """
    shares = []
    times = np.unique([bound for span in (*a, *b) for bound in span])
    for ranges in (a, b):
        bounds = np.ravel(ranges)
        done = np.cumsum([0.0] + [end - start for start, end in ranges])
        # Nothing is added between two ranges: the share at an end is that at the next start.
        share = np.repeat(done, 2)[1:-1] / done[-1]
        shares.append(np.interp(times, bounds, share, left=0.0, right=1.0))
    gap = shares[0] - shares[1]
    size, crosses = np.abs(gap), gap[:-1] * gap[1:] < 0
    total = np.where(size[:-1] + size[1:] > 0, size[:-1] + size[1:], 1.0)
    mean = np.where(crosses, (size[:-1] ** 2 + size[1:] ** 2) / (2 * total), total / 2)
    mean[(size[:-1] + size[1:]) == 0] = 0.0
    return float((mean * np.diff(times)).sum())


def tube_iou(
    predicted: Mapping[int, ArrayLike | None], truth: Mapping[int, ArrayLike | None]
) -> float:
    """Spatio-temporal IoU of two tubes: vIoU.

    The sum of the box IoU over the frames in both tubes, divided by the number of frames in
    either. Source: the vIoU of "Where Does It Exist: Spatio-Temporal Video Grounding for
    Multi-Form Sentences" (VidSTG, arXiv 2001.06891), used alike by HC-STVG (arXiv 2011.05049).

    Args:
        predicted: native frame index to `(4,)` xyxy pixels, right and bottom exclusive, for
            every frame of the tube's time range; None where the object has no box there.
        truth: the same for the ground truth.

    Returns:
        0..1; 0 when both are empty.
    """
    frames = predicted.keys() | truth.keys()
    pairs = [
        (predicted[frame], truth[frame])
        for frame in predicted.keys() & truth.keys()
        if predicted[frame] is not None and truth[frame] is not None
    ]
    if not pairs:
        return 0.0
    ours, theirs = (np.array(boxes, dtype=np.float64) for boxes in zip(*pairs, strict=True))
    return float(paired_iou(ours, theirs).sum() / len(frames))


def frame_ious(
    frames: NDArray[np.int64],
    boxes: ArrayLike,
    true_frames: NDArray[np.int64],
    true_boxes: ArrayLike,
) -> NDArray[np.float64]:
    """Box IoU in every true frame, 0 where nothing is predicted.

    Args:
        frames: `(P,)` native frames of the predicted boxes, strictly ascending.
        boxes: `(P, 4)` xyxy.
        true_frames: `(T,)` native frames of the true boxes, strictly ascending.
        true_boxes: `(T, 4)` xyxy.

    Returns:
        `(T,)` in 0..1.
    """
    iou = np.zeros(len(true_frames))
    if len(frames) and len(true_frames):
        places = np.minimum(np.searchsorted(frames, true_frames), len(frames) - 1)
        known = frames[places] == true_frames
        boxes, true_boxes = np.asarray(boxes), np.asarray(true_boxes)
        iou[known] = paired_iou(boxes[places[known]], true_boxes[known])
    return iou


def track_ious(
    tracks: Tracks, true_frames: NDArray[np.int64], true_boxes: ArrayLike
) -> dict[int, NDArray[np.float64]]:
    """`frame_ious` of every track by its ID, all frames counted as the tracks count them."""
    return {
        track.object_id: frame_ious(track.frame_indices, track.boxes, true_frames, true_boxes)
        for track in tracks.tracks
    }


def best_track(
    tracks: Tracks,
    true_frames: NDArray[np.int64],
    true_boxes: ArrayLike,
    *,
    minimum_iou: float = 0.5,
) -> int | None:
    """ID of the track that matches the truth best: highest mean IoU over the true frames.

    Frames where a track has no box count as IoU 0. The first of equals; None where no track
    reaches the minimum, or none overlaps the truth at all.

    Args:
        tracks: the objects.
        true_frames: `(T,)` frames of the true boxes, strictly ascending.
        true_boxes: `(T, 4)` xyxy in pixels of the same video.
        minimum_iou: 0..1.
    """
    means = {
        object_id: float(iou.mean()) if len(iou) else 0.0
        for object_id, iou in track_ious(tracks, true_frames, true_boxes).items()
    }
    best = max(means, key=means.__getitem__, default=None)
    return best if best is not None and means[best] >= minimum_iou and means[best] > 0 else None


def range_tube_iou(
    iou: NDArray[np.float64],
    true_frames: NDArray[np.int64],
    predicted_range: tuple[int, int],
    true_range: tuple[int, int],
    *,
    step: int = 1,
) -> float:
    """VIoU as `tube_iou` gives it, from the IoU of single frames and two frame ranges.

    Args:
        iou: `(T,)` of `frame_ious`.
        true_frames: `(T,)` the frames they are of.
        predicted_range: half-open answered frame range; every frame of it counts in the union,
            also where the object has no box.
        true_range: half-open true frame range.
        step: the truth has a box in every so-many-th frame, and the union counts such steps.

    Returns:
        0..1.
    """
    first, stop = predicted_range
    inside = (true_frames >= first) & (true_frames < stop)
    lengths = max(0, stop - first) + max(0, true_range[1] - true_range[0])
    common = max(0, min(stop, true_range[1]) - max(first, true_range[0]))
    union = (lengths - common) / step
    return min(1.0, float(iou[inside].sum() / union)) if union > 0 else 0.0


def recall(values: ArrayLike, threshold: float, *, strict: bool = True) -> float:
    """Share of values above a threshold (`strict`), or at and above it; 0 of no values."""
    scores = np.asarray(values, dtype=np.float64)
    hits = scores > threshold if strict else scores >= threshold
    return float(hits.mean()) if scores.size else 0.0
