"""The report's plots: how scores spread, and what they depend on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.evaluation.results import Line, strict_values
from stvg_r1_hub.outputs import make_folder, replacing

INK, BAR, SECOND = "#1f2937", "#2563eb", "#f59e0b"


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
    spans: list[tuple[str, str, Callable[[Line], float | None], Sequence[float], Any]] = [
        ("objects", "number of tracked objects", lambda x: x["n_tracks"] or None,
         (1, 2, 3, 4, 5, 7, 10, 20), _count_label),
        ("target-size", "mean size of the target, share of the frame",
         lambda x: x["truth"]["target_size"], (0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4), _share_label),
        ("clip-length", "length of the shown clip, seconds",
         lambda x: x["truth"]["shown_seconds"], (0, 3, 5, 10, 20, 30, 60, 180), _span_label),
    ]  # fmt: skip
    for file, title, value, edges, label in spans:
        groups = binned(lines, value, edges, label, metrics)
        if groups:
            by_group(target / f"{file}.png", groups, title)
            made.append({"title": f"By {title}", "path": f"plots/{file}.png"})
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
    """Mean strict scores of samples by a number, in half-open bins; empty bins are left out.

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
                    np.mean([(one["scores"]["strict"] or {}).get(key, 0) for one in inside])
                )
                for name, key in metrics.items()
            }
            groups.append((label(low, high), scores, len(inside)))
    return groups


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
