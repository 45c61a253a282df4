"""Objects -> `Tracks`: drop what is no object, steady the boxes, fill the frames between.

A detector's boxes tremble. How much a track may be smoothed is read from the track itself:
`smooth` takes, of a few widths, the one with the smallest expected error (Mallows' Cp: squared
residual plus twice the noise variance times the share of itself each box keeps). The noise is
estimated from third differences, so a precisely detected jumping ball stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import box_area, paired_iou
from stvg_r1_hub.structures import Track, Tracks, VideoInfo
from stvg_r1_hub.tracking.stitching import Tracklet

MIN_DETECTIONS = 3
MIN_SECONDS = 0.4
"""An object seen more rarely or for less time is taken for a false detection."""
FILL_SECONDS = 4.0
"""Longest time between two detections that is filled with boxes."""
_SMOOTHING_SECONDS = (0.1, 0.15, 0.2, 0.3)
_NOISE_FACTOR = 6.0
"""Box errors of neighbouring frames are alike, so third differences show a part of their
variance only; against ground truth (NanoDet on 10 fps footage) it was 2 to 12 times as large."""
_DOUBLE_SHARE = 0.5
_DOUBLE_IOU = 0.5
_DOUBLE_COVER = 0.7


def drop_false(
    objects: Sequence[Tracklet], *, min_score: float, n_detected_frames: int
) -> list[Tracklet]:
    """Objects that are seen often enough, with a mean score of `min_score`, and once only.

    In a video of one or two detected frames one sighting is enough.
    """
    few = n_detected_frames < 2 * MIN_DETECTIONS
    certain = [
        t
        for t in objects
        if t.scores.mean() >= min_score
        and (few or len(t) >= MIN_DETECTIONS)
        and (few or t.times[-1] - t.times[0] >= MIN_SECONDS - 1e-6)
    ]
    kept: list[Tracklet] = []
    for candidate in sorted(certain, key=lambda t: -float(t.scores.sum())):
        if all(_double_share(candidate, other) < _DOUBLE_SHARE for other in kept):
            kept.append(candidate)
    return kept


def _double_share(weak: Tracklet, strong: Tracklet) -> float:
    """Share of the weak object's detections that show the strong one, in 0..1."""
    both = (weak.frames >= strong.frames[0]) & (weak.frames <= strong.frames[-1])
    if not both.any():
        return 0.0
    boxes, other = weak.boxes[both], _boxes_at(strong, weak.times[both])
    same = paired_iou(boxes, other) > _DOUBLE_IOU
    if majority(weak.class_ids) == majority(strong.class_ids):
        corner = np.minimum(boxes[:, 2:], other[:, 2:]) - np.maximum(boxes[:, :2], other[:, :2])
        shared = np.prod(np.clip(corner, 0, None), axis=1)
        smaller = np.minimum(box_area(boxes), box_area(other))
        same |= shared > _DOUBLE_COVER * smaller
    return float(same.sum()) / len(weak)


def _boxes_at(tracklet: Tracklet, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes `(n, 4)` at the given times, linear between detections."""
    columns = [np.interp(times, tracklet.times, tracklet.boxes[:, k]) for k in range(4)]
    return np.stack(columns, axis=1)


def majority(class_ids: NDArray[np.int64]) -> int:
    """The most frequent class; the smaller number wins a tie."""
    return int(np.bincount(class_ids).argmax())


def smooth(tracklet: Tracklet) -> Tracklet:
    """Steady the boxes by a local straight line, as wide as the boxes' noise asks for."""
    if len(tracklet) < 5:
        return tracklet
    third = np.diff(tracklet.boxes, n=3, axis=0)
    # The third difference of independent noise has 20 times its variance; 1.4826 makes the
    # median absolute deviation a standard deviation.
    noise = _NOISE_FACTOR * (1.4826 * float(np.median(np.abs(third)))) ** 2 / 20
    best, best_risk = tracklet.boxes, noise
    for width in _SMOOTHING_SECONDS:
        boxes, own_share = _local_line(tracklet, width)
        residual = float(np.mean((boxes - tracklet.boxes) ** 2))
        risk = residual + noise * (2 * own_share - 1)
        if risk < best_risk:
            best, best_risk = boxes, risk
    return dataclasses.replace(tracklet, boxes=best)


def _local_line(tracklet: Tracklet, width: float) -> tuple[NDArray[np.float64], float]:
    """Smoothed boxes, and the mean weight of a box in its own smoothed value."""
    times, boxes = tracklet.times, tracklet.boxes
    # Row i: the detections that are near enough to box i to count, padded to the longest row.
    low = np.searchsorted(times, times - 4 * width)
    high = np.searchsorted(times, times + 4 * width)
    near = low[:, None] + np.arange((high - low).max())
    is_near = near < high[:, None]
    near = np.minimum(near, len(times) - 1)
    t = np.where(is_near, times[near] - times[:, None], 0.0)
    weights = np.where(is_near, np.exp(-((t / width) ** 2) / 2) * tracklet.scores[near], 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    mean = (weights * t).sum(axis=1, keepdims=True)
    scatter = (weights * (t - mean) ** 2).sum(axis=1, keepdims=True)
    slope = np.where(scatter > 1e-12, (t - mean) / np.maximum(scatter, 1e-12), 0.0)
    kernel = weights * (1 - mean * slope)
    smoothed = np.einsum("ik,ikc->ic", kernel, boxes[near])
    own = kernel[np.arange(len(boxes)), np.arange(len(boxes)) - low]
    return smoothed, float(own.mean())


def finish(
    objects: Sequence[Tracklet],
    info: VideoInfo,
    class_names: Sequence[str],
    n_detected_frames: int,
) -> Tracks:
    """Numbered tracks with a box for every native frame between detections.

    IDs are 1, 2, ... by first frame, then by score. Boxes in frames without a detection of the
    object are flagged as interpolated.

    Args:
        objects: whole objects.
        info: of the video.
        class_names: of the detector.
        n_detected_frames: how many frames the detector saw.

    Returns:
        The tracks, with a warning when none was seen.
    """
    ordered = sorted(objects, key=lambda t: (int(t.frames[0]), -float(t.scores.mean())))
    tracks = [
        _finish_one(number, t, info, class_names) for number, t in enumerate(ordered, start=1)
    ]
    nothing = f"No object was found in {n_detected_frames} detected frames."
    warnings = () if tracks else (nothing,)
    return Tracks(info.width, info.height, info.frame_times, tuple(tracks), warnings)


def _finish_one(
    object_id: int, tracklet: Tracklet, info: VideoInfo, class_names: Sequence[str]
) -> Track:
    frames = np.arange(tracklet.frames[0], tracklet.frames[-1] + 1)
    gaps = np.diff(tracklet.times)
    after = np.searchsorted(tracklet.frames, frames, side="right") - 1
    is_detected = tracklet.frames[after] == frames
    shown = is_detected | (np.append(gaps, 0.0)[after] <= FILL_SECONDS + 1e-6)
    frames, is_detected = frames[shown], is_detected[shown]
    boxes = _boxes_at(tracklet, info.frame_times[frames])
    limits = np.array([info.width, info.height], dtype=np.float64)
    low = np.clip(boxes[:, :2], 0, limits - 1)
    high = np.clip(np.maximum(boxes[:, 2:], low + 1), 1, limits)
    return Track(
        object_id=object_id,
        class_name=class_names[majority(tracklet.class_ids)],
        score=round(float(tracklet.scores.mean()), 4),
        frame_indices=frames.astype(np.int64),
        boxes=np.concatenate([low, high], axis=1).astype(np.float32),
        interpolated=~is_detected,
    )
