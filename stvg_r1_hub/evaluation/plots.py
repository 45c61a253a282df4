"""The report's plots: how scores spread, and what they depend on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.evaluation.results import Line
from stvg_r1_hub.outputs import replacing

INK, BAR, SECOND = "#1f2937", "#2563eb", "#f59e0b"


def histogram(path: Path, values: Sequence[float], name: str) -> None:
    """Save how many samples have which score, in 20 bins, with the mean.

    Raises:
        OutputError: the file cannot be written.
    """
    figure, axes = _axes()
    counts, edges = np.histogram(values, bins=20, range=(0, 1))
    axes.bar(edges[:-1], counts, width=0.047, align="edge", color=BAR)
    mean = float(np.mean(values)) if len(values) else 0.0
    axes.axvline(mean, color=SECOND, lw=2, label=f"mean {mean:.3f}")
    axes.set_xlim(0, 1)
    axes.set_xlabel(name)
    axes.set_ylabel("samples")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 0.98))
    _save(figure, path)


def by_group(path: Path, groups: Sequence[tuple[str, dict[str, float], int]], xlabel: str) -> None:
    """Save mean scores of groups of samples as bars, with the number of samples.

    Args:
        path: file to write.
        groups: name, scores by metric and number of samples of each group.
        xlabel: what the groups are.

    Raises:
        OutputError: the file cannot be written.
    """
    figure, axes = _axes()
    metrics = list(groups[0][1])
    width = 0.8 / len(metrics)
    for i, metric in enumerate(metrics):
        heights = [scores[metric] for _, scores, _ in groups]
        places = np.arange(len(groups)) + (i - (len(metrics) - 1) / 2) * width
        bars = axes.bar(places, heights, width * 0.92, color=(BAR, SECOND)[i % 2], label=metric)
        axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)
    names = [f"{name}\nn = {n}" for name, _, n in groups]
    axes.set_xticks(range(len(groups)), names, fontsize=8)
    axes.set_ylim(0, 1.08)
    axes.set_xlabel(xlabel)
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.98))
    _save(figure, path)


def binned(
    lines: Sequence[Line],
    value: Callable[[Line], float | None],
    edges: Sequence[float],
    label: Callable[[float, float], str],
    metrics: dict[str, str],
) -> list[tuple[str, dict[str, float], int]]:
    """Mean honest scores of samples by a number, in half-open bins; empty bins are left out.

    Args:
        lines: results.
        value: the number, or None to leave a sample out.
        edges: ascending; the last is open to the top.
        label: bin bounds to name.
        metrics: printed name to score name.
    """
    groups = []
    bounds = [*edges, float("inf")]
    for low, high in itertools.pairwise(bounds):
        inside = [line for line in lines if (v := value(line)) is not None and low <= v < high]
        if inside:
            scores = {
                name: float(
                    np.mean([(one["scores"]["honest"] or {}).get(key, 0) for one in inside])
                )
                for name, key in metrics.items()
            }
            groups.append((label(low, high), scores, len(inside)))
    return groups


def _axes() -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.1), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
