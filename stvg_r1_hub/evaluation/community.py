"""The evaluators of TubeDETR, STCAT and CG-STVG: scores on frames instead of seconds.

Shared by all three: frame ranges are half-open; tIoU divides by the true union, and is 0 for
ranges that only touch; vIoU divides the box IoU summed over the frames in both ranges by the
number of frames in the *hull* of both, also when a gap lies between them; gt_vIoU averages over
all true frames. Recall counts strictly above the threshold. They differ in the frames they look
at, see `tubedetr_frames`, and in what a missing box does.

Exact agreement with antoyang/TubeDETR @ d70c0ee, jy0205/STCAT @ 400f548 and HengLan/CGSTVG @
f062d84 is tested. Written from their behaviour, not from their code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from stvg_r1_hub.evaluation.metrics import frame_ious

HCSTVG_CLIP_SECONDS = 20.0
TUBEDETR_MAX_FRAMES = 200
TUBEDETR_FPS = 5.0


@dataclass(frozen=True)
class FrameScores:
    """One sample's scores on frames, 0..1."""

    tiou: float
    viou: float
    gt_viou: float


def tubedetr_frames(
    first: int,
    stop: int,
    video_fps: float,
    fps: float = TUBEDETR_FPS,
    most: int = TUBEDETR_MAX_FRAMES,
) -> list[int]:
    """The frames TubeDETR looks at: `fps` a second of `first..stop`, at most `most` of them.

    A frame is taken whenever `frame * fps / video_fps` passes a whole number; more than `most`
    are thinned evenly. For HC-STVG it takes every clip to last 20 s and leaves out its last frame:
    `tubedetr_frames(0, n_frames - 1, n_frames / 20)`.
    """
    rate = fps / video_fps
    frames = [first]
    for frame in range(first, stop):
        if int(frames[-1] * rate) < int(frame * rate):
            frames.append(frame)
    if len(frames) > most:
        frames = [frames[i * len(frames) // most] for i in range(most)]
    return frames


def frame_scores(
    predicted_range: tuple[int, int],
    true_range: tuple[int, int],
    boxes: Mapping[int, ArrayLike],
    true_boxes: Mapping[int, ArrayLike],
    frames: Sequence[int] | None = None,
) -> FrameScores:
    """Scores of one sample.

    Args:
        predicted_range: answered half-open frame range.
        true_range: true half-open frame range.
        boxes: frame to predicted xyxy box; a frame without one has IoU 0.
        true_boxes: frame to true xyxy box.
        frames: only these frames exist; None for all.
    """
    start, end = max(predicted_range[0], true_range[0]), min(predicted_range[1], true_range[1])
    hull = min(predicted_range[0], true_range[0]), max(predicted_range[1], true_range[1])
    common = end - start
    tiou = 0.0
    if common > 0:
        lengths = sum(stop - first for first, stop in (predicted_range, true_range))
        tiou = common / (lengths - common)
    looked_at = sorted(true_boxes) if frames is None else [f for f in frames if f in true_boxes]
    true_frames = np.array(looked_at, dtype=np.int64)
    own = sorted(boxes)
    iou = frame_ious(
        np.array(own, dtype=np.int64),
        np.array([boxes[f] for f in own], dtype=np.float64).reshape(-1, 4),
        true_frames,
        np.array([true_boxes[f] for f in looked_at], dtype=np.float64).reshape(-1, 4),
    )
    inside = (true_frames >= start) & (true_frames < end)
    if frames is None:
        n_hull = hull[1] - hull[0]
    else:
        n_hull = sum(hull[0] <= frame < hull[1] for frame in frames)
    return FrameScores(
        tiou=tiou,
        viou=float(iou[inside].sum() / max(n_hull, 1)),
        gt_viou=float(iou.sum() / max(len(iou), 1)),
    )
