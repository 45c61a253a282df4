"""What a sample's answer is worth by the scripts of the papers and benchmarks.

Each function scores one sample; its docstring says what the protocol does at boundaries, thresholds
and unions. `None` means that the protocol's own script drops such a sample from its averages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

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
from stvg_r1_hub.evaluation.metrics import frame_ious, temporal_iou
from stvg_r1_hub.evaluation.official import PixelBox, hull_tiou, spatial_iou
from stvg_r1_hub.evaluation.prediction import Prediction
from stvg_r1_hub.evaluation.samples import AnnotatedSample
from stvg_r1_hub.geometry import mask_area, paired_iou
from stvg_r1_hub.structures import RLE

Scores = dict[str, float]


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


def mevis_v2(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """MeViS v2: J and F, and whether there is a target at all.

    What counts is what a submission would hold: an unusable answer is empty masks there. J and F
    are those of `mevis` over all expressions, where empty masks are right for one without a
    target. N-acc is the share of the expressions without a target for which no pixel is answered,
    T-acc that of the others for which some pixel is. The challenges average J&F, N-acc and T-acc;
    their script is not public, and whether their J&F leaves out expressions without a target is
    not known. A missing video scores 0.
    """
    truth = sample.masks or ()
    name = "t_acc" if any(mask and mask_area(mask) for mask in truth) else "n_acc"
    if not len(prediction.frame_times):
        return {"j": 0.0, "f": 0.0, "j&f": 0.0, name: 0.0}
    scores = score_masks(truth, _frame_masks(prediction, len(truth)))
    answered = any(mask_area(mask) for mask in (prediction.masks or {}).values())
    right = answered if name == "t_acc" else not answered
    return {"j": scores.region, "f": scores.boundary, "j&f": scores.mean, name: float(right)}


def qvhighlights(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """R1 of moment_detr's standalone_eval: the first answered window against the best true one.

    Counts values at the threshold. Its mAP needs ranked windows and is left out.
    """
    first = prediction.all_ranges[:1] or ((0.0, 0.0),)
    return {"tiou": max((temporal_iou(first[0], span) for span in sample.all_ranges), default=0.0)}


def v_star(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """eval.py of V-STaR, without its judged part: when and where, in both orders of asking.

    Chain 1 asks when, then where in the time that is given; chain 2 asks where, then when with
    the boxes given. m_tIoU and R1 (at the threshold) of the questions when; m_vIoU is the mean IoU
    over the annotated frames of the questions where, AP the share of them at the threshold. In
    chain 2 boxes count in the answered time alone. What an object is called is judged by a large
    language model there, so accuracy, mAM and mLGM are not computed.
    """
    chain = "" if sample.qtype in ("when", "where") else " 2"
    if not sample.has_boxes:
        return {f"tiou{chain}": temporal_iou(prediction.range_seconds, sample.all_ranges[0])}
    iou = frame_ious(prediction.frame_indices, prediction.boxes, sample.frame_indices, sample.boxes)
    first, stop = prediction.frame_range
    if chain:
        iou[(sample.frame_indices < first) | (sample.frame_indices >= stop)] = 0.0
    aps = {f"ap{chain}@{t}": float((iou >= t).mean()) for t in (0.1, 0.3, 0.5, 0.7, 0.9)}
    return {f"viou{chain}": float(iou.mean()), **aps}


def anygroundbench(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """The Vidi evaluator that AnyGroundBench uses, on its boxes of one a second.

    Time is counted in whole seconds. The script expects answers of one box a second, so ours are
    taken where they are nearest to each whole second of the answered range. tIoU and vIoU divide
    by the seconds with a box on either side; recall counts values at the threshold. A missing
    answer scores 0.
    """
    if not len(prediction.frame_times) or not prediction.answered:
        return {"tiou": 0.0, "viou": 0.0}
    first, stop = prediction.frame_range
    inside = {f: box for f, box in prediction.tube.items() if first <= f < stop}
    ours, theirs = _each_second(inside, prediction), _each_second(sample.tube, prediction)
    both = sorted(ours.keys() & theirs.keys())
    n_bins = len(ours.keys() | theirs.keys())
    if not both:
        return {"tiou": 0.0, "viou": 0.0}
    iou = paired_iou([ours[i] for i in both], [theirs[i] for i in both])
    return {"tiou": len(both) / n_bins, "viou": float(iou.sum()) / n_bins}


def _each_second(
    tube: Mapping[int, NDArray[np.float64]], prediction: Prediction
) -> dict[int, NDArray[np.float64]]:
    """Whole second to the box nearest to it, of those less than half a second away."""
    nearest: dict[int, tuple[float, NDArray[np.float64]]] = {}
    for frame, box in tube.items():
        index = frame - prediction.first_frame
        if 0 <= index < len(prediction.frame_times):
            seconds = float(prediction.frame_times[index])
            second = math.floor(seconds + 0.5)
            distance = abs(seconds - second)
            if distance < nearest.get(second, (math.inf, box))[0]:
                nearest[second] = distance, box
    return {second: box for second, (_, box) in nearest.items()}


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
