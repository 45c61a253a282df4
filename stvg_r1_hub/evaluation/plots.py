"""The report's plots: how scores spread, and what they depend on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.evaluation.lines import Line, strict_values
from stvg_r1_hub.outputs import make_folder, replacing


def _count_label(low: float, high: float) -> str:
    if high == float("inf"):
        return f"{low:g} or more"
    return f"{low:g}" if high == low + 1 else f"{low:g} to {high - 1:g}"


def _share_label(low: float, high: float) -> str:
    if high == float("inf"):
        return f"over {100 * low:g} %"
    return f"{100 * low:g} to {100 * high:g} %"


def _span_label(low: float, high: float) -> str:
    return f"over {low:g}" if high == float("inf") else f"{low:g} to {high:g}"


@dataclass(frozen=True)
class Span:
    """A number by which samples are grouped."""

    file: str
    title: str
    value: Callable[[Line], float | None]
    """None leaves a sample out."""
    edges: tuple[float, ...]
    """Ascending; the last is open to the top."""
    label: Callable[[float, float], str]


SPANS = (
    Span("objects", "number of tracked objects", lambda line: line["n_tracks"] or None,
         (1, 2, 3, 4, 5, 7, 10, 20), _count_label),
    Span("target-size", "mean size of the target, share of the frame",
         lambda line: line["truth"]["target_size"], (0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4),
         _share_label),
    Span("clip-length", "length of the shown clip, seconds",
         lambda line: line["truth"]["shown_seconds"], (0, 3, 5, 10, 20, 30, 60, 180), _span_label),
)  # fmt: skip
"""What plots and costs are by."""
BAR, SECOND = "#2563eb", "#f59e0b"
COLORS = (BAR, SECOND, "#10b981", "#8b5cf6", "#ef4444", "#6b7280")


def mean_of(lines: Sequence[Line], key: str) -> float:
    """Mean of one score by our protocol over the samples that have it; 0 of none."""
    return float(np.mean(strict_values(lines, key) or [0.0]))


def binned(lines: Sequence[Line], span: Span) -> list[tuple[str, list[Line]]]:
    """Samples by a number, in half-open bins by name; empty bins are left out."""
    groups = []
    for low, high in itertools.pairwise([*span.edges, float("inf")]):
        inside = [line for line in lines if (v := span.value(line)) is not None and low <= v < high]
        if inside:
            groups.append((span.label(low, high), inside))
    return groups


def draw_plots(
    lines: Sequence[Line], metrics: dict[str, str], folder: Path
) -> list[dict[str, str]]:
    """Save all plots of a run into `plots/` of a folder.

    Args:
        lines: results.
        metrics: printed name to score name.
        folder: results folder.

    Returns:
        Title and path, seen from the folder, of each.

    Raises:
        OutputError: a file cannot be written.
    """
    target = make_folder(folder / "plots")
    made = []
    for name, key in metrics.items():
        path = target / f"{key.replace('&', '')}.png"
        histogram(path, strict_values(lines, key), name)
        made.append({"title": f"{name} of all samples", "path": f"plots/{path.name}"})
    for span in SPANS:
        groups = [
            (name, {label: mean_of(inside, key) for label, key in metrics.items()}, len(inside))
            for name, inside in binned(lines, span)
        ]
        if groups:
            by_group(target / f"{span.file}.png", groups, span.title)
            made.append({"title": f"By {span.title}", "path": f"plots/{span.file}.png"})
    return made


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
        bars = axes.bar(places, heights, width * 0.92, color=COLORS[i % len(COLORS)], label=metric)
        axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=1)
    names = [f"{name}\nn = {n}" for name, _, n in groups]
    axes.set_xticks(range(len(groups)), names, fontsize=8)
    axes.set_ylim(0, 1.08)
    axes.set_xlabel(xlabel)
    axes.legend(frameon=False, ncols=6, loc="lower right", bbox_to_anchor=(1, 0.98))
    _save(figure, path)


def draw_calibration(bins: Sequence[tuple[float, float, int, float, float]], folder: Path) -> str:
    """Save the share of right answers by stated confidence; its path, seen from the folder.

    Raises:
        OutputError: the file cannot be written.
    """
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], color=SECOND, lw=1, label="as stated")
    for low, high, _, _, right in bins:
        axes.bar(low, right, 0.94 * (high - low), align="edge", color=BAR)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("stated confidence")
    axes.set_ylabel("right answers")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 0.98))
    path = make_folder(folder / "plots") / "calibration.png"
    _save(figure, path)
    return f"plots/{path.name}"


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
