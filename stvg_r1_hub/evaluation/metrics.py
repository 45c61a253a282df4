"""How well a time range and a tube of boxes agree with the truth, as fractions in 0..1."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from stvg_r1_hub.geometry import paired_iou


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
