"""What is kept of one sample: question, answer, scores under every protocol, error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stvg_r1_hub.evaluation.evaluator import Reply
from stvg_r1_hub.evaluation.oracles import oracle_scores
from stvg_r1_hub.evaluation.prediction import Prediction
from stvg_r1_hub.evaluation.protocols import protocols_for
from stvg_r1_hub.evaluation.samples import AnnotatedSample

Line = dict[str, Any]


def line_of(
    sample: AnnotatedSample,
    task: str,
    reply: Reply | None,
    *,
    seed: int,
    benchmark: str = "",
    error: str | None = None,
) -> Line:
    """What is kept of one sample: question, answer, scores under every protocol, error."""
    prediction = reply.prediction if reply is not None else Prediction()
    unscored = task == "mask" and sample.masks is None  # a split whose truth is not public
    scores = {
        protocol.name: {} if unscored else protocol.score(sample, prediction)
        for protocol in protocols_for(task, benchmark)
    }
    return {
        "sample_id": sample.sample_id,
        "video": str(sample.video),
        "query": sample.query,
        "qtype": sample.qtype,
        "groups": dict(sample.groups),
        "truth": _truth(sample, prediction),
        "text": prediction.text,
        "answer": {
            "object_ids": list(prediction.object_ids),
            "start_seconds": _rounded(prediction.start_seconds),
            "end_seconds": _rounded(prediction.end_seconds),
            "declined": prediction.declined,
            **_optional(prediction),
        },
        "tube": _tube(prediction),
        "scores": scores,
        "oracles": oracle_scores(sample, prediction, seed) if reply is not None else {},
        "n_tracks": len(prediction.tracks) if prediction.tracks is not None else None,
        "timings": {k: round(v, 4) for k, v in (reply.timings if reply else {}).items()},
        "tokens": dict(reply.tokens) if reply is not None else {},
        "notes": list(reply.notes) if reply is not None else [],
        "error": error,
    }


def _optional(prediction: Prediction) -> dict[str, Any]:
    """What only some models tell: several ranges, how sure they are."""
    values: dict[str, Any] = {}
    if prediction.ranges:
        values["ranges"] = [[round(bound, 4) for bound in span] for span in prediction.ranges]
    if prediction.confidence is not None:
        values["confidence"] = round(prediction.confidence, 4)
    return values


def _truth(sample: AnnotatedSample, prediction: Prediction) -> dict[str, Any]:
    boxes, size = sample.boxes, None
    if sample.has_boxes and sample.width and sample.height:
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        size = round(float(areas.mean()) / (sample.width * sample.height), 5)
    shown = None
    if len(prediction.frame_times) > 1:
        times = prediction.frame_times
        shown = round(float(2 * times[-1] - times[-2] - times[0]), 3)
    return {
        "start_seconds": _rounded(sample.start_seconds),
        "end_seconds": _rounded(sample.end_seconds),
        **({"ranges": [list(span) for span in sample.ranges]} if sample.ranges else {}),
        "shown_seconds": shown,
        "target_size": size,
        "boxes": _sparse(sample.frame_indices.tolist(), boxes.tolist()),
    }


def _tube(prediction: Prediction) -> list[list[float]]:
    first, stop = prediction.frame_range if prediction.answered else (0, 0)
    inside = (prediction.frame_indices >= first) & (prediction.frame_indices < stop)
    return _sparse(prediction.frame_indices[inside].tolist(), prediction.boxes[inside].tolist())


def _sparse(frames: Sequence[int], boxes: Sequence[Sequence[float]]) -> list[list[float]]:
    """`[frame, x1, y1, x2, y2]` of at most 25 frames, spread evenly: enough to draw."""
    step = max(1, -(-len(frames) // 25))
    picked = range(0, len(frames), step)
    return [[frames[i], *(round(v, 1) for v in boxes[i])] for i in picked]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def scores_of(lines: Iterable[Line], protocol: str) -> list[Mapping[str, float] | None]:
    """One protocol's scores of all lines; None where it drops the sample."""
    return [line["scores"].get(protocol) for line in lines]


def strict_values(lines: Iterable[Line], metric: str) -> list[float]:
    """Our protocol's values of one score, of all samples that have it."""
    scores = (line["scores"]["strict"] for line in lines)
    return [values[metric] for values in scores if metric in values]
