"""Runs of one benchmark, sample by sample: is a difference more than chance?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.evaluation.lines import Line, scores_of
from stvg_r1_hub.evaluation.page_text import TEXT_COLUMNS, render
from stvg_r1_hub.evaluation.plots import SPANS, Span, binned, by_group, mean_of
from stvg_r1_hub.evaluation.protocols import LABELS, protocols_for
from stvg_r1_hub.evaluation.reliability import abstention_of, cost_of
from stvg_r1_hub.evaluation.results import RunSettings, read_outlines
from stvg_r1_hub.evaluation.summary import MAIN_SCORE
from stvg_r1_hub.outputs import make_folder, replacing

RESAMPLES = 10_000


@dataclass(frozen=True)
class Comparison:
    """One score of all runs, paired by sample."""

    protocol: str
    metric: str
    n: int
    """Samples that no run's protocol drops."""
    means: tuple[float, ...]
    """Of each run."""
    intervals: tuple[tuple[float, float], ...]
    """95 % confidence interval of each further run's mean minus the first run's (percentile
    bootstrap)."""

    @property
    def differences(self) -> tuple[float, ...]:
        """Each further run minus the first."""
        return tuple(mean - self.means[0] for mean in self.means[1:])

    @property
    def beyond_chance(self) -> tuple[bool, ...]:
        """Whether each interval leaves out 0."""
        return tuple(low > 0 or high < 0 for low, high in self.intervals)


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of mean(b - a), resampling pairs with replacement.

    Args:
        a: `(N,)` scores of one run.
        b: `(N,)` scores of the other, of the same samples.
        seed: the same seed gives the same interval.
        resamples: how often.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    differences = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, 4_000_000 // max(len(differences), 1))
    for first in range(0, resamples, block):
        size = min(block, resamples - first)
        picks = rng.integers(0, len(differences), (size, len(differences)))
        means[first : first + size] = differences[picks].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    settings: RunSettings
    lines: list[Line]
    """In the order of their ids, without what only pictures need."""


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Finished runs of one benchmark.

    Raises:
        AnnotationError: a folder holds no results.
        ConfigError: fewer than two, not of the same samples, or one is not finished.
    """
    if len(folders) < 2:
        raise ConfigError(f"Got {len(folders)} results folder to compare; name at least two.")
    runs: list[Run] = []
    for folder in folders:
        settings = RunSettings.load(folder)
        first = runs[0].settings if runs else settings
        if (settings.benchmark, settings.annotations_sha256) != (
            first.benchmark,
            first.annotations_sha256,
        ):
            raise ConfigError(
                f"{folders[0]} is of {first.title} ({first.n_samples} samples) and {folder} of "
                f"{settings.title} ({settings.n_samples} samples) with other annotations; compare "
                "runs of the same benchmark and split."
            )
        lines = sorted(read_outlines(folder), key=lambda line: str(line["sample_id"]))
        if len(lines) < settings.n_samples:
            raise ConfigError(
                f"{folder} has {len(lines)} of {settings.n_samples} samples; finish it first by "
                "running its command again."
            )
        runs.append(Run(folder, settings, lines))
    return runs


def compare_runs(runs: Sequence[Run], *, seed: int = 0) -> list[Comparison]:
    """Every protocol's scores of all runs; each further run against the first.

    Samples that a protocol drops in any run are left out of its rows; `n` says how many are left.
    """
    first = runs[0].settings
    return [
        row
        for protocol in protocols_for(first.task, first.benchmark)
        for row in _rows(protocol.name, [scores_of(run.lines, protocol.name) for run in runs], seed)
    ]


def _rows(
    protocol: str, scores: Sequence[Sequence[Mapping[str, float] | None]], seed: int
) -> list[Comparison]:
    kept = [sample for sample in zip(*scores, strict=True) if all(sample)]
    rows = []
    for metric in dict.fromkeys(name for sample in kept for name in sample[0] or ()):
        values = np.array(
            [[one[metric] for one in sample if one] for sample in kept
             if all(one and metric in one for one in sample)]
        )  # fmt: skip
        own, *others = values.T
        intervals = tuple(paired_bootstrap(own, other, seed=seed) for other in others)
        means = tuple(float(mean) for mean in values.mean(axis=0))
        rows.append(Comparison(protocol, LABELS.get(metric, metric), len(values), means, intervals))
    return rows


def names_of(runs: Sequence[Run]) -> list[str]:
    """A letter for each run."""
    return [chr(ord("A") + i) if i < 26 else f"run {i + 1}" for i in range(len(runs))]


def comparison_table(rows: Sequence[Comparison], names: Sequence[str]) -> list[str]:
    """Lines of a text table; a star marks differences whose interval leaves out 0."""
    head = f"{'protocol':<15}{'score':<16}{'n':>7}{names[0]:>9}"
    lines = [head + "".join(f"{name:>9}{f'{name} - {names[0]}':>10}  95 % interval     "
                            for name in names[1:])]  # fmt: skip
    for row in rows:
        cells = "".join(
            f"{mean:>9.4f}{difference:>+10.4f}  {low:+.4f} to {high:+.4f}{' *' if star else '  '}"
            for mean, difference, (low, high), star in zip(
                row.means[1:], row.differences, row.intervals, row.beyond_chance, strict=True
            )
        )
        lines.append(f"{row.protocol:<15}{row.metric:<16}{row.n:>7}{row.means[0]:>9.4f}{cells}")
    return [line.rstrip() for line in lines]


def write_comparison(runs: Sequence[Run], rows: Sequence[Comparison], out: Path) -> Path:
    """Write the comparison as a page with plots into a folder; the page's path.

    Raises:
        OutputError: a file cannot be written.
    """
    names, task = names_of(runs), runs[0].settings.task
    plots = []
    make_folder(out)
    for span in SPANS:
        path = out / f"{span.file}.png"
        groups = _groups_by(span, runs, names, MAIN_SCORE[task])
        if groups:
            by_group(path, groups, span.title)
            plots.append({"title": f"By {span.title}", "path": path.name})
    context = {
        "title": runs[0].settings.title,
        "n": len(runs[0].lines),
        "runs": {
            "columns": _RUN_COLUMNS,
            "rows": [_facts(name, run) for name, run in zip(names, runs, strict=True)],
        },
        "figures": _figures(rows, names),
        "score": LABELS[MAIN_SCORE[task]],
        "plots": plots,
        "text_columns": (*TEXT_COLUMNS, "run", "folder", "tracker", "score"),
    }
    page = out / "compare.html"
    with replacing(page) as temporary:
        temporary.write_text(render("compare.html.jinja", context, html=True), encoding="utf-8")
    return page


_RUN_COLUMNS = ("run", "folder", "model", "tracker", "failed", "rightly none", "wrongly none",
                "seconds a sample", "tokens seen", "tokens written")  # fmt: skip


def _facts(name: str, run: Run) -> list[str]:
    """What distinguishes a run, and what its answers cost."""
    abstained, cost = abstention_of(run.lines), cost_of(run.lines)
    failed = sum(line["error"] is not None for line in run.lines)
    nothing = abstained["nothing matches"]
    return [
        name,
        run.folder.name,
        run.settings.model,
        run.settings.tracks or run.settings.tracker,
        str(failed),
        f"{abstained['right none']} of {nothing}" if nothing else "",
        str(abstained["wrong none"]),
        f"{cost['seconds']:.2f}",
        *(f"{cost[key]:.0f}" if key in cost else "" for key in ("tokens seen", "tokens written")),
    ]


def _figures(rows: Sequence[Comparison], names: Sequence[str]) -> dict[str, Any]:
    """Percent, and the difference of each further run with a star where it is beyond chance."""
    columns = ["protocol", "score", "n", names[0]]
    columns += [column for name in names[1:] for column in (name, f"{name} - {names[0]}")]
    table = []
    for row in rows:
        cells = [row.protocol, row.metric, str(row.n), f"{100 * row.means[0]:.1f}"]
        for mean, (low, high), star in zip(
            row.means[1:], row.intervals, row.beyond_chance, strict=True
        ):
            difference = f"{100 * (mean - row.means[0]):+.1f}"
            interval = f"({100 * low:+.1f} to {100 * high:+.1f}){' *' if star else ''}"
            cells += [f"{100 * mean:.1f}", f"{difference} {interval}"]
        table.append(cells)
    return {"columns": columns, "rows": table}


def _groups_by(
    span: Span, runs: Sequence[Run], names: Sequence[str], key: str
) -> list[tuple[str, dict[str, float], int]]:
    """Mean scores of all runs in the bins of the first, in which the samples stay together."""
    places = {line["sample_id"]: i for i, line in enumerate(runs[0].lines)}
    groups = []
    for title, inside in binned(runs[0].lines, span):
        chosen = [places[line["sample_id"]] for line in inside]
        means = {
            name: mean_of([run.lines[i] for i in chosen], key)
            for name, run in zip(names, runs, strict=True)
        }
        groups.append((title, means, len(inside)))
    return groups
