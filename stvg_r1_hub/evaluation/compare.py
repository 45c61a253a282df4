"""Two runs of one benchmark, sample by sample: is the difference more than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.evaluation.protocols import LABELS, PROTOCOLS
from stvg_r1_hub.evaluation.results import Line, RunSettings, read_lines

RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """Mean of B minus mean of A for one score, paired by sample."""

    protocol: str
    metric: str
    n: int
    mean_a: float
    mean_b: float
    low: float
    high: float
    """Bounds of the 95 % confidence interval of the difference (percentile bootstrap)."""

    @property
    def difference(self) -> float:
        """B minus A."""
        return self.mean_b - self.mean_a

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


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


def compare_runs(folder_a: Path, folder_b: Path, *, seed: int = 0) -> list[Difference]:
    """Paired differences of two results folders, for every protocol and score.

    Samples that a protocol drops in either run are left out of its row; its `n` says how many
    pairs are left.

    Raises:
        AnnotationError: a folder holds no results.
        ConfigError: they are not of the same samples, or one is not finished.
    """
    runs = [RunSettings.load(folder) for folder in (folder_a, folder_b)]
    if (runs[0].benchmark, runs[0].annotations_sha256) != (
        runs[1].benchmark,
        runs[1].annotations_sha256,
    ):
        raise ConfigError(
            f"{folder_a} is of {runs[0].title} ({runs[0].n_samples} samples) and {folder_b} of "
            f"{runs[1].title} ({runs[1].n_samples} samples) with other annotations; compare runs "
            "of the same benchmark and split."
        )
    lines = [read_lines(folder) for folder in (folder_a, folder_b)]
    for folder, run, found in zip((folder_a, folder_b), runs, lines, strict=True):
        if len(found) < run.n_samples:
            raise ConfigError(
                f"{folder} has {len(found)} of {run.n_samples} samples; finish it first by "
                "running its command again."
            )
    ids = sorted(lines[0])
    return [
        row
        for protocol in PROTOCOLS
        for row in _rows(protocol, [lines[0][i] for i in ids], [lines[1][i] for i in ids], seed)
    ]


def _rows(protocol: str, a: list[Line], b: list[Line], seed: int) -> list[Difference]:
    pairs = [(one["scores"].get(protocol), other["scores"].get(protocol))
             for one, other in zip(a, b, strict=True)]  # fmt: skip
    kept = [(one, other) for one, other in pairs if one and other]
    rows = []
    for metric in dict.fromkeys(name for one, _ in kept for name in one):
        both = [(x[metric], y[metric]) for x, y in kept if metric in x and metric in y]
        first, second = (np.array(values) for values in zip(*both, strict=True))
        low, high = paired_bootstrap(first, second, seed=seed)
        means = float(first.mean()), float(second.mean())
        label = LABELS.get(metric, metric)
        rows.append(Difference(protocol, label, len(both), *means, low, high))
    return rows


def comparison_table(rows: Sequence[Difference], names: tuple[str, str]) -> list[str]:
    """Lines of a text table; a star marks differences whose interval leaves out 0."""
    width = max(max(map(len, names)) + 2, 10)
    lines = [
        f"{'protocol':<10}{'score':<10}{'n':>7}{names[0]:>{width}}{names[1]:>{width}}"
        f"{'B - A':>9}   95 % interval"
    ]
    for row in rows:
        star = " *" if row.beyond_chance else ""
        lines.append(
            f"{row.protocol:<10}{row.metric:<10}{row.n:>7}{row.mean_a:>{width}.4f}"
            f"{row.mean_b:>{width}.4f}{row.difference:>+9.4f}   "
            f"{row.low:+.4f} to {row.high:+.4f}{star}"
        )
    return lines
