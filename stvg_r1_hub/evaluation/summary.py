"""All figures of a run as plain values: those of every protocol, and of the oracles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stvg_r1_hub.evaluation.lines import Line, scores_of
from stvg_r1_hub.evaluation.protocols import protocols_for, summarize
from stvg_r1_hub.evaluation.results import RunSettings
from stvg_r1_hub.evaluation.samples import SetAside

SCORE_NAMES = {
    "tube": {"tIoU": "tiou", "vIoU": "viou"},
    "time": {"tIoU": "tiou"},
    "mask": {"J&F": "j&f"},
}
"""The scores that breakdowns, plots and progress show, by task: printed name to key."""
MAIN_SCORE = {"tube": "viou", "time": "tiou", "mask": "j&f"}
"""The score that a sample's worth is told by, by task."""
SHOWN = {
    "tube": ("m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5", "tIoU@0.5", "gt_vIoU"),
    "time": ("m_tIoU", "tIoU@0.3", "tIoU@0.5", "tIoU@0.7"),
    "mask": ("J", "F", "J&F"),
}
"""The figures that tables show, by task."""
MORE_SHOWN = (
    "m_tIoU, chain 2", "m_vIoU, chain 2", "AP@0.5", "N-acc", "T-acc", "none accuracy",
)  # fmt: skip
"""Figures that only some benchmarks have."""


def summary_of(
    settings: RunSettings, lines: Sequence[Line], set_aside: Sequence[SetAside] = ()
) -> dict[str, Any]:
    """All figures of a run as plain values, fractions in 0..1.

    Args:
        settings: of the run.
        lines: of all its samples.
        set_aside: what of the annotations is no sample, or no box.
    """
    figures = {
        protocol.name: {
            "n": sum(scores is not None for scores in scores_of(lines, protocol.name)),
            **{
                name: round(value, 6)
                for name, value in summarize(protocol, scores_of(lines, protocol.name)).items()
            },
        }
        for protocol in protocols_for(settings.task, settings.benchmark)
    }
    return {
        "benchmark": settings.benchmark,
        "model": settings.model,
        "model_fingerprint": settings.model_fingerprint,
        "tracker": settings.tracker,
        "tracks": settings.tracks,
        "classes": settings.classes,
        "answers": settings.answers,
        "hub_dataset": settings.hub_dataset,
        "hub_task": settings.hub_task,
        "n": len(lines),
        "n_failed": sum(line["error"] is not None for line in lines),
        "n_set_aside": sum(not fault.n_boxes for fault in set_aside),
        "n_boxes_set_aside": sum(fault.n_boxes for fault in set_aside),
        "protocols": figures,
        "oracles": {name: round(value, 6) for name, value in oracle_means(lines).items()},
    }


def shown_names(summary: dict[str, Any], task: str) -> tuple[str, ...]:
    """The figures that tables show: the usual ones, and those that this benchmark has besides."""
    found = {name for figures in summary["protocols"].values() for name in figures}
    more = tuple(name for name in MORE_SHOWN if name in found)
    return (*SHOWN[task], *more)


def oracle_means(lines: Sequence[Line]) -> dict[str, float]:
    """Means over the samples with a tube; samples that failed count as 0.

    `right answer` is also over the samples that nothing matches: the right track is named, or
    rightly none.
    """
    asked = [line for line in lines if line["truth"]["boxes"]]
    names = dict.fromkeys(name for line in asked for name in line["oracles"])
    means = {
        name: float(np.mean([line["oracles"].get(name, 0.0) for line in asked])) for name in names
    }
    if means:
        right = [
            line["scores"]["strict"].get("none", line["oracles"].get("id correct", 0.0))
            for line in lines
            if line["truth"]["boxes"] or "none" in line["scores"]["strict"]
        ]
        means["right answer"] = float(np.mean(right))
    return means
