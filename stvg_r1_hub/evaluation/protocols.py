"""What a sample's answer is worth: every protocol by its name, ours and those of the papers.

A protocol scores one sample at a time and averages afterwards, so that a run can be resumed and
sharded. `None` instead of scores means that the protocol's own script drops such a sample from its
averages. `strict` never drops one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.answer import parse_answer, parse_time_answer
from stvg_r1_hub.evaluation.community import (
    HCSTVG_CLIP_SECONDS,
    FrameScores,
    frame_scores,
    tubedetr_frames,
)
from stvg_r1_hub.evaluation.mask_metrics import (
    boundary_accuracy,
    empty_mask,
    frame_statistics,
    region_similarity,
    score_masks,
)
from stvg_r1_hub.evaluation.metrics import frame_ious, range_tube_iou, recall, temporal_iou
from stvg_r1_hub.evaluation.official import PixelBox, hull_tiou, spatial_iou
from stvg_r1_hub.evaluation.prediction import Prediction
from stvg_r1_hub.evaluation.samples import AnnotatedSample
from stvg_r1_hub.structures import RLE

Scores = dict[str, float]


def strict(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """Ours, and the default.

    Every sample counts: a crash, a missing video or an unusable answer scores 0. Ranges are
    half-open; tIoU is in seconds on the container's own frame times; vIoU divides by the frames in
    either range, also those where the object is hidden. No box but the answered object's is ever
    scored. A query that nothing matches is scored apart, as `none accuracy`: 1 when the model says
    so outright, else 0. Recall counts strictly above the threshold.
    """
    if sample.masks is not None:
        return mevis(sample, prediction)
    if not sample.answerable:
        return {"none": float(prediction.declined)}
    truth = sample.start_seconds or 0.0, sample.end_seconds or 0.0
    scores = {"tiou": temporal_iou(prediction.range_seconds, truth)}
    if sample.has_boxes:
        iou = frame_ious(
            prediction.frame_indices, prediction.boxes, sample.frame_indices, sample.boxes
        )
        scores["viou"] = range_tube_iou(
            iou, sample.frame_indices, prediction.frame_range, sample.frame_range
        )
        scores["gt_viou"] = float(iou.mean())
    return scores


def stvg_r1(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """evaluate.py of the official STVG-R1 repository, with all its quirks (see `official`).

    Only strictly formed answers count, others score 0. frame = int(seconds * fps), ends included,
    union plus one frame; fallback boxes where the answered object is hidden or unknown; `st_frame`
    is taken as counted from 0; recall counts values at the threshold. A sample that crashes there
    (or whose video is missing) is dropped.
    """
    answer = parse_answer(prediction.text, strict=True)
    if not len(prediction.frame_times) or not sample.answerable:
        return None
    start, end = answer.start_seconds, answer.end_seconds
    if not answer.object_ids or start is None or end is None:
        return {"tiou": 0.0, "viou": 0.0}
    shown = sample.clip_seconds[0] if sample.clip_seconds else 0.0
    ours = start + shown, end + shown
    truth = sample.start_seconds or 0.0, sample.end_seconds or 0.0
    first, stop = sample.frame_range
    shown_stop = prediction.first_frame + len(prediction.frame_times)
    tube = sample.tube
    try:
        tiou = hull_tiou(ours, truth)
    except ZeroDivisionError:
        return None
    viou = spatial_iou(
        ours,
        truth,
        answer.object_ids[0],
        fps=_average_fps(prediction.frame_times),
        first_frame=first + sample.frame_base,
        true_boxes=[_as_tuple(tube.get(f)) for f in range(first, min(stop, shown_stop))],
        objects=_pixel_boxes(prediction),
    )
    return {"tiou": tiou, "viou": viou}


def tubedetr(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """The evaluator of TubeDETR, for HC-STVG and VidSTG.

    On frames sampled at 5 a second, at most 200; HC-STVG clips are taken to last 20 s and their
    `st_frame` is used as it is. Half-open frame ranges; the union of vIoU is the hull of both, also
    for ranges apart; recall counts strictly above the threshold. A box that is missing counts as
    IoU 0 (the original refuses to run). Queries that nothing matches are unknown to it: dropped.
    """
    if not sample.answerable:
        return None
    frames = _shown_frames(sample, prediction)
    if frames is None:
        return _zero_frames()
    shift = sample.frame_base
    if sample.fps is None:
        looked_at = tubedetr_frames(0, frames[1] - 1, frames[1] / HCSTVG_CLIP_SECONDS)
    else:
        looked_at = tubedetr_frames(*frames, max(sample.fps, 5.0))
    first, stop = sample.frame_range
    truth = {frame + shift: box for frame, box in sample.tube.items()}
    return _named(
        frame_scores(
            prediction.frame_range, (first + shift, stop + shift), prediction.tube, truth, looked_at
        )
    )


def stcat(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """The evaluator of STCAT, on all frames.

    As `tubedetr`, but every frame counts and `st_frame` is corrected. The true end is the last
    frame with a box and is used as exclusive, so that this frame never earns vIoU. A box that is
    missing counts as IoU 0 (the original refuses to run).
    """
    if not sample.answerable:
        return None
    if not prediction.answered:
        return _zero_frames()
    first, stop = sample.frame_range
    return _named(
        frame_scores(prediction.frame_range, (first, stop - 1), prediction.tube, sample.tube)
    )


def cgstvg(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """The evaluator of CG-STVG: that of STCAT, where a missing box counts as IoU 0.

    On VidSTG the original refuses to run with a missing box; here it counts as IoU 0 there too.
    """
    return stcat(sample, prediction)


def time_r1(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """evaluate.py of Time-R1 for time alone (Charades-STA).

    The last `number to number` anywhere in the text counts, also outside the answer block, and is
    not cut to the video. R1 counts values at the threshold. Unreadable answers score 0; samples
    whose video is missing are dropped.
    """
    if not len(prediction.frame_times) or not sample.answerable:
        return None
    answer = parse_time_answer(prediction.text, strict=True)
    if answer.start_seconds is None or answer.end_seconds is None:
        return {"tiou": 0.0}
    shown = sample.clip_seconds[0] if sample.clip_seconds else 0.0
    ours = answer.start_seconds + shown, answer.end_seconds + shown
    return {"tiou": temporal_iou(ours, (sample.start_seconds or 0.0, sample.end_seconds or 0.0))}


def tvgbench(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """The TVGBench scorer of xiaomi-research/time-r1: as `time_r1`, R1 strictly above."""
    return time_r1(sample, prediction)


def mevis(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """J and F of MeViS: mean over frames of the union mask, then over expressions.

    The answered objects count in the whole clip, whatever time was answered. Frames where both
    masks are empty score 1, where one is empty 0. An expression without a
    prediction (also one whose video is missing) scores 0.
    """
    truth = sample.masks or ()
    if not prediction.answered and not prediction.declined:
        return {"j": 0.0, "f": 0.0, "j&f": 0.0}
    scores = score_masks(truth, _frame_masks(prediction, len(truth)))
    return {"j": scores.region, "f": scores.boundary, "j&f": scores.mean}


def davis(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """J and F statistics of DAVIS 2017 for the union mask: mean, recall above 0.5, and decay."""
    truth = sample.masks or ()
    sized = next((mask for mask in truth if mask is not None), None)
    blank = sized and empty_mask(*sized["size"])
    scores: Scores = {}
    for name, measure in (("j", region_similarity), ("f", boundary_accuracy)):
        values = [
            measure(true or blank, ours or blank) if blank else 1.0
            for true, ours in zip(truth, _frame_masks(prediction, len(truth)), strict=True)
        ]
        mean, above, decay = frame_statistics(values)
        scores |= {name: mean, f"{name}_recall": above, f"{name}_decay": decay}
    return scores | {"j&f": (scores["j"] + scores["f"]) / 2}


@dataclass(frozen=True)
class Protocol:
    """How one protocol scores and averages."""

    name: str
    score: Callable[[AnnotatedSample, Prediction], Scores | None]
    tasks: tuple[str, ...]
    """Which of `"tube"`, `"time"`, `"mask"` benchmarks it is for."""
    thresholds: Mapping[str, tuple[float, ...]]
    """Metric to the thresholds its recall is printed at."""
    above: bool = True
    """Whether recall counts strictly above the threshold."""

    @property
    def description(self) -> str:
        """What it does at boundaries, thresholds and unions."""
        return " ".join((self.score.__doc__ or "").split())


_GT_TUBE = {"viou": (0.3, 0.5), "gt_viou": (0.3, 0.5)}
_TIME = {"tiou": (0.3, 0.5, 0.7)}
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("strict", strict, ("tube", "time", "mask"), {**_TIME, "viou": (0.3, 0.5)}),
        Protocol(
            "stvg-r1",
            stvg_r1,
            ("tube",),
            {"tiou": (0.3, 0.5, 0.7), "viou": (0.3, 0.5, 0.7)},
            above=False,
        ),
        Protocol("tubedetr", tubedetr, ("tube",), _GT_TUBE),
        Protocol("stcat", stcat, ("tube",), _GT_TUBE),
        Protocol("cgstvg", cgstvg, ("tube",), _GT_TUBE),
        Protocol("time-r1", time_r1, ("time",), _TIME, above=False),
        Protocol("tvgbench", tvgbench, ("time",), _TIME),
        Protocol("mevis", mevis, ("mask",), {}),
        Protocol("davis", davis, ("mask",), {}),
    )
}
"""All protocols by name; `strict` is the default."""

LABELS = {
    "tiou": "tIoU",
    "viou": "vIoU",
    "gt_viou": "gt_vIoU",
    "j": "J",
    "f": "F",
    "j&f": "J&F",
    "none": "none accuracy",
    "j_recall": "J recall",
    "j_decay": "J decay",
    "f_recall": "F recall",
    "f_decay": "F decay",
}


def protocols_for(task: str) -> list[Protocol]:
    """The protocols that apply to `"tube"`, `"time"` or `"mask"` benchmarks, ours first."""
    return [protocol for protocol in PROTOCOLS.values() if task in protocol.tasks]


def summarize(protocol: Protocol, scores: Sequence[Mapping[str, float] | None]) -> dict[str, float]:
    """Averages of many samples by printed name, such as `m_vIoU` and `vIoU@0.5`, in 0..1.

    Dropped samples (None) are in neither side of the averages.
    """
    counted = [values for values in scores if values is not None]
    summary: dict[str, float] = {}
    for name in dict.fromkeys(name for values in counted for name in values):
        values = np.array([sample[name] for sample in counted if name in sample])
        label = LABELS.get(name, name)
        summary[f"m_{label}" if label in ("tIoU", "vIoU") else label] = float(values.mean())
        for threshold in protocol.thresholds.get(name, ()):
            summary[f"{label}@{threshold:g}"] = recall(values, threshold, strict=protocol.above)
    return summary


def _zero_frames() -> Scores:
    return {"tiou": 0.0, "viou": 0.0, "gt_viou": 0.0}


def _named(scores: FrameScores) -> Scores:
    return {"tiou": scores.tiou, "viou": scores.viou, "gt_viou": scores.gt_viou}


def _shown_frames(sample: AnnotatedSample, prediction: Prediction) -> tuple[int, int] | None:
    """Half-open native frames that were shown; None without an answer."""
    if not prediction.answered:
        return None
    return prediction.first_frame, prediction.first_frame + len(prediction.frame_times)


def _average_fps(times: NDArray[np.float64]) -> float:
    return (len(times) - 1) / float(times[-1] - times[0]) if len(times) > 1 else 25.0


def _as_tuple(box: NDArray[np.float64] | None) -> PixelBox | None:
    if box is None:
        return None
    left, top, right, bottom = box.tolist()
    return left, top, right, bottom


def _pixel_boxes(prediction: Prediction) -> dict[int, dict[int, PixelBox | None]]:
    """Every shown frame's objects, as boxes from first to last pixel."""
    objects: dict[int, dict[int, PixelBox | None]] = {
        prediction.first_frame + i: {} for i in range(len(prediction.frame_times))
    }
    for track in prediction.tracks.tracks if prediction.tracks is not None else ():
        for frame, box in zip(track.frame_indices.tolist(), track.boxes.tolist(), strict=True):
            left, top, right, bottom = box
            objects[prediction.first_frame + frame][track.object_id] = (
                left,
                top,
                right - 1,
                bottom - 1,
            )
    return objects


def _frame_masks(prediction: Prediction, n_frames: int) -> list[RLE | None]:
    masks = prediction.masks or {}
    return [masks.get(i) for i in range(n_frames)]
