"""Figures of training as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

PANELS = {
    "loss": ("loss",),
    "visual tokens": ("kind", "id", "action"),
    "answers under the right prefix": ("text", "answer_id", "read_answer_id"),
}
"""Title to the figures that share a panel."""
_SMOOTHED_OVER = 25


def draw_curves(out: Path, stages: list[str]) -> Path:
    """Draw `curves.png` from the logs that stand in a run's folder.

    Args:
        out: folder of the run.
        stages: names of the stages in their order; one without a log is left out.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(PANELS), 1, figsize=(9, 8), sharex=True)
    begun = 0
    for stage in stages:
        log = out / f"{stage}.jsonl"
        if not log.exists():
            continue
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        for axis, names in zip(axes, PANELS.values(), strict=True):
            axis.axvline(begun, color="0.8")
            for i, name in enumerate(names):
                points = [(begun + line["step"], line[name]) for line in lines if name in line]
                if points:
                    x, y = np.array(points).T
                    width = min(_SMOOTHED_OVER, len(y))
                    smooth = np.convolve(y, np.ones(width) / width, "valid")
                    axis.plot(
                        x[width - 1 :], smooth, color=f"C{i}", label=name if not begun else ""
                    )
        axes[0].annotate(stage, (begun, 1.02), xycoords=("data", "axes fraction"))
        begun += len(lines)
    for axis, (title, names) in zip(axes, PANELS.items(), strict=True):
        axis.set_ylabel(title)
        handles = [plt.Line2D([], [], color=f"C{i}") for i in range(len(names))]
        axis.legend(handles, names, loc="center right")
    axes[-1].set_xlabel("steps")
    path = out / "curves.png"
    figure.savefig(path, dpi=80, bbox_inches="tight")
    plt.close(figure)
    return path
