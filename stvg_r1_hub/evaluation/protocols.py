"""What a sample's answer is worth: every protocol by its name, ours and those of the papers.

A protocol scores one sample at a time and averages afterwards, so that a run can be resumed and
sharded. `None` instead of scores means that the protocol's own script drops such a sample from its
averages. `strict` never drops one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stvg_r1_hub.evaluation.metrics import (
    frame_ious,
    range_tube_iou,
    recall,
    temporal_iou,
    temporal_set_iou,
)
from stvg_r1_hub.evaluation.paper_scores import (
    Scores,
    anygroundbench,
    cgstvg,
    davis,
    mevis,
    mevis_v2,
    qvhighlights,
    stcat,
    stvg_r1,
    time_r1,
    tubedetr,
    tvgbench,
    v_star,
)
from stvg_r1_hub.evaluation.prediction import Prediction
from stvg_r1_hub.evaluation.samples import AnnotatedSample


def strict(sample: AnnotatedSample, prediction: Prediction) -> Scores | None:
    """Ours, and the default.

    Every sample counts: a crash, a missing video or an unusable answer scores 0. Ranges are
    half-open; tIoU is in seconds on the container's own frame times, and of several ranges all
    seconds count that are in one of them; vIoU divides by the frames in either range, also those
    where the object is hidden, and counts in steps where only every so-many-th frame has a true
    box. No box but the answered object's is ever scored. A query that nothing matches is scored
    apart, as `none accuracy`: 1 when the model says so outright, else 0. Recall counts strictly
    above the threshold.
    """
    none = {} if sample.answerable else {"none": float(prediction.declined)}
    if sample.masks is not None:
        return {**(mevis(sample, prediction) or {}), **none}
    if none:
        return none
    if sample.ranges or prediction.ranges:
        scores = {"tiou": temporal_set_iou(prediction.all_ranges, sample.all_ranges)}
    else:
        scores = {"tiou": temporal_iou(prediction.range_seconds, sample.all_ranges[0])}
    if sample.has_boxes:
        iou = frame_ious(
            prediction.frame_indices, prediction.boxes, sample.frame_indices, sample.boxes
        )
        scores["viou"] = range_tube_iou(
            iou,
            sample.frame_indices,
            prediction.frame_range,
            sample.frame_range,
            step=sample.box_step,
        )
        scores["gt_viou"] = float(iou.mean())
    return scores


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
    benchmarks: tuple[str, ...] = ()
    """The benchmarks that it alone, beside ours, is for; empty: all others of its tasks."""

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
        Protocol("mevis-v2", mevis_v2, ("mask",), {}, benchmarks=("mevis-v2",)),
        Protocol(
            "qvhighlights",
            qvhighlights,
            ("time",),
            {"tiou": (0.5, 0.7)},
            above=False,
            benchmarks=("qvhighlights",),
        ),
        Protocol(
            "v-star",
            v_star,
            ("tube",),
            {**_TIME, "tiou 2": (0.3, 0.5, 0.7)},
            above=False,
            benchmarks=("v-star",),
        ),
        Protocol(
            "anygroundbench",
            anygroundbench,
            ("tube",),
            {"tiou": (0.3, 0.5, 0.7), "viou": (0.3, 0.5, 0.7)},
            above=False,
            benchmarks=("anygroundbench",),
        ),
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
    "n_acc": "N-acc",
    "t_acc": "T-acc",
    "tiou 2": "tIoU, chain 2",
    "viou 2": "vIoU, chain 2",
    **{f"ap@{t}": f"AP@{t}" for t in (0.1, 0.3, 0.5, 0.7, 0.9)},
    **{f"ap 2@{t}": f"AP@{t}, chain 2" for t in (0.1, 0.3, 0.5, 0.7, 0.9)},
    "j_recall": "J recall",
    "j_decay": "J decay",
    "f_recall": "F recall",
    "f_decay": "F decay",
}


def protocols_for(task: str, benchmark: str = "") -> list[Protocol]:
    """The protocols that apply to a benchmark of `"tube"`, `"time"` or `"mask"`, ours first."""
    ours, *others = [protocol for protocol in PROTOCOLS.values() if task in protocol.tasks]
    own = [protocol for protocol in others if benchmark in protocol.benchmarks]
    return [ours, *(own or [protocol for protocol in others if not protocol.benchmarks])]


def summarize(protocol: Protocol, scores: Sequence[Mapping[str, float] | None]) -> dict[str, float]:
    """Averages of many samples by printed name, such as `m_vIoU` and `vIoU@0.5`, in 0..1.

    Dropped samples (None) are in neither side of the averages.
    """
    counted = [values for values in scores if values is not None]
    summary: dict[str, float] = {}
    for name in dict.fromkeys(name for values in counted for name in values):
        values = np.array([sample[name] for sample in counted if name in sample])
        label = LABELS.get(name, name)
        summary[f"m_{label}" if label.startswith(("tIoU", "vIoU")) else label] = float(
            values.mean()
        )
        for threshold in protocol.thresholds.get(name, ()):
            summary[f"{label}@{threshold:g}"] = recall(values, threshold, strict=protocol.above)
    return summary
