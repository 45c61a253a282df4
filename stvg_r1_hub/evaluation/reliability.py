"""Whether a model knows what it does not know, and what an answer costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stvg_r1_hub.evaluation.lines import Line
from stvg_r1_hub.evaluation.summary import MAIN_SCORE

RIGHT = 0.5
"""Main score above which an answer counts as right where only right and wrong are told apart."""
BINS = 10


@dataclass(frozen=True)
class Calibration:
    """How often answers of a stated confidence are right."""

    error: float
    """Expected calibration error: mean distance of confidence and share right, by samples."""
    bins: tuple[tuple[float, float, int, float, float], ...]
    """Lower and upper bound, samples, mean confidence and share right of each bin with samples."""
    auroc: float | None
    """How often a right answer is surer than a wrong one, 0.5 by chance; None without both."""


def is_right(line: Line, task: str) -> bool:
    """Whether an answer is right: its main score is above `RIGHT`, or it is rightly none."""
    scores = line["scores"]["strict"]
    return bool(scores.get("none", scores.get(MAIN_SCORE[task], 0.0)) > RIGHT)


def calibration_of(lines: Sequence[Line], task: str) -> Calibration | None:
    """Calibration over the samples with a confidence, in bins of equal width; None without any.

    Source: "On Calibration of Modern Neural Networks" (arXiv 1706.04599).
    """
    rated = [line for line in lines if line["answer"].get("confidence") is not None]
    if not rated:
        return None
    confidence = np.array([line["answer"]["confidence"] for line in rated])
    right = np.array([is_right(line, task) for line in rated])
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [
        (i / BINS, (i + 1) / BINS, int(inside.sum()), float(confidence[inside].mean()),
         float(right[inside].mean()))
        for i in range(BINS)
        if (inside := places == i).any()
    ]  # fmt: skip
    error = sum(n * abs(stated - share) for _, _, n, stated, share in bins) / len(rated)
    gap = confidence[right][:, None] - confidence[~right]
    auroc = float(((gap > 0) + (gap == 0) / 2).mean()) if gap.size else None
    return Calibration(error, tuple(bins), auroc)


def abstention_of(lines: Sequence[Line]) -> dict[str, int]:
    """Counts of answers that nothing matches, right and wrong, and of those that should be.

    Returns:
        `nothing matches` and `something matches` (samples), `right none`, `missed none` (something
        was answered, or nothing usable, where nothing matches), `wrong none`.
    """
    nothing = [line for line in lines if line["truth"]["start_seconds"] is None]
    right = sum(line["answer"]["declined"] for line in nothing)
    declined = sum(line["answer"]["declined"] for line in lines)
    return {
        "nothing matches": len(nothing),
        "right none": right,
        "missed none": len(nothing) - right,
        "something matches": len(lines) - len(nothing),
        "wrong none": declined - right,
    }


def cost_of(lines: Sequence[Line]) -> dict[str, float]:
    """Mean seconds, and tokens where they are known, of a sample.

    What several questions about one clip share is counted once, with the first of them.
    """
    values: dict[str, list[float]] = {
        "seconds": [line["timings"].get("total", 0.0) for line in lines]
    }
    for line in lines:
        for name, count in line.get("tokens", {}).items():
            values.setdefault(f"tokens {name}", []).append(count)
    return {name: float(np.mean(found)) for name, found in values.items() if found}


def table_of_costs(groups: Sequence[tuple[str, Sequence[Line]]]) -> dict[str, Any]:
    """A table of `cost_of`, a row a group."""
    costs = [(name, len(lines), cost_of(lines)) for name, lines in groups]
    columns = list(dict.fromkeys(column for _, _, cost in costs for column in cost))
    rows = [
        [name, str(n), *(f"{cost[c]:.2f}" if c == "seconds" else f"{cost.get(c, 0):.0f}"
                         for c in columns)]
        for name, n, cost in costs
    ]  # fmt: skip
    return {"columns": ["samples", "n", *columns], "rows": rows}
