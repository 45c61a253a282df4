"""What an answer would be worth if one part of it were right: where the loss comes from."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.evaluation.metrics import (
    best_track,
    frame_ious,
    range_tube_iou,
    temporal_iou,
    track_ious,
)
from stvg_r1_hub.evaluation.prediction import Prediction
from stvg_r1_hub.evaluation.samples import AnnotatedSample

MATCH_IOU = 0.5
"""Mean IoU over the true tube from which a track counts as following the target."""


def oracle_scores(
    sample: AnnotatedSample, prediction: Prediction, seed: int = 0
) -> dict[str, float]:
    """VIoU (by our protocol) under what-ifs; frames where a track has no box count as IoU 0.

    Returns:
        `as answered`; `true time` (answered object during the true range); `true object`
        (best track during the answered range); `best track` (best track during the true range:
        what the tracker alone allows); `random track` (a random one through the whole clip) with
        its `random tIoU`; `id correct` (1 when the answered track is the best one and follows the
        target) and `random id correct`. Empty when nothing was tracked or the sample has no tube.
    """
    if not sample.has_boxes or prediction.tracks is None or not len(prediction.frame_times):
        return {}
    true_range = sample.frame_range
    own = frame_ious(prediction.frame_indices, prediction.boxes, sample.frame_indices, sample.boxes)
    shown_frames = sample.frame_indices - prediction.first_frame
    by_id = track_ious(prediction.tracks, shown_frames, sample.boxes)
    best_id = best_track(prediction.tracks, shown_frames, sample.boxes, minimum_iou=0.0)
    best = np.zeros(len(sample.frame_indices)) if best_id is None else by_id[best_id]
    follows = float(best.mean()) >= MATCH_IOU
    whole = prediction.first_frame, prediction.first_frame + len(prediction.frame_times)

    def viou(iou: NDArray[np.float64], frames: tuple[int, int]) -> float:
        return range_tube_iou(iou, sample.frame_indices, frames, true_range, step=sample.box_step)

    random = _random_track(sorted(by_id), f"{seed} {sample.sample_id}")
    return {
        "as answered": viou(own, prediction.frame_range),
        "true time": viou(own, true_range) if prediction.answered else 0.0,
        "true object": viou(best, prediction.frame_range),
        "best track": viou(best, true_range),
        "random track": viou(by_id[random], whole) if random is not None else 0.0,
        "random tIoU": temporal_iou(
            _whole_seconds(prediction), (sample.start_seconds or 0.0, sample.end_seconds or 0.0)
        ),
        "id correct": float(follows and prediction.object_ids[:1] == (best_id,)),
        "random id correct": float(follows and random == best_id),
    }


def _random_track(ids: list[int], key: str) -> int | None:
    if not ids:
        return None
    return int(np.random.default_rng(zlib.crc32(key.encode())).choice(ids))


def _whole_seconds(prediction: Prediction) -> tuple[float, float]:
    times = prediction.frame_times
    step = float(times[-1] - times[-2]) if len(times) > 1 else 0.0
    return float(times[0]), float(times[-1]) + step
