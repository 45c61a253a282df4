"""Logs to pictures: `python -m train.run.curves runs/x/metrics.jsonl` draws those of GRPO.

`train.bundled.pretrain` draws its own at the end of each stage.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stvg_r1_hub.errors import OutputError
from stvg_r1_hub.outputs import replacing

METRIC_PANELS = ("reward", "kl", "length", "entropy", "loss")
"""One panel each, where a run has it; the reward's panel also shows its parts."""
STAGE_PANELS = {
    "loss": ("loss",),
    "visual tokens": ("kind", "id", "action"),
    "answers under the right prefix": ("text", "answer_id", "read_answer_id"),
}
"""Title to the figures of `train.bundled.pretrain` that share a panel."""
_SMOOTHED_OVER = 25


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics file, by step; a half-written last line is left out."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return sorted(lines, key=lambda values: values["step"])


def draw_metrics(metrics: Path, out: Path) -> None:
    """Draw reward with its parts, KL, length and loss over the steps.

    Raises:
        OutputError: there is nothing to draw, or the picture cannot be written.
    """
    from matplotlib.figure import Figure

    lines = read_metrics(metrics)
    if not lines:
        raise OutputError(f"{metrics} holds no steps yet; nothing to draw.")
    panels = [name for name in METRIC_PANELS if any(name in line for line in lines)]
    figure = Figure(figsize=(4 * len(panels), 3), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        names = [name]
        if name == "reward":
            names += sorted({n for line in lines for n in line if n.startswith("reward/")})
        for part in names:
            points = [(line["step"] + 1, line[part]) for line in lines if part in line]
            axis.plot(*zip(*points, strict=True), label=part, linewidth=2 if part == name else 1)
        axis.set_xlabel("step")
        axis.set_title(name)
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend(fontsize=7)
    with replacing(out) as temporary:
        figure.savefig(temporary, dpi=120)


def draw_stages(folder: Path, stages: Sequence[str]) -> None:
    """Draw `curves.png` from the logs `<stage>.jsonl` of `train.bundled.pretrain`.

    Args:
        folder: of the run.
        stages: their names in their order; one without a log is left out.

    Raises:
        OutputError: the picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8))
    axes = figure.subplots(len(STAGE_PANELS), 1, sharex=True)
    begun = 0
    for stage in stages:
        log = folder / f"{stage}.jsonl"
        if not log.exists():
            continue
        lines = read_metrics(log)
        for axis, names in zip(axes, STAGE_PANELS.values(), strict=True):
            axis.axvline(begun, color="0.8")
            for i, name in enumerate(names):
                points = [(begun + line["step"], line[name]) for line in lines if name in line]
                if points:
                    axis.plot(*_smoothed(points), color=f"C{i}")
        axes[0].annotate(stage, (begun, 1.02), xycoords=("data", "axes fraction"))
        begun += len(lines)
    for axis, (title, names) in zip(axes, STAGE_PANELS.items(), strict=True):
        axis.set_ylabel(title)
        for i, name in enumerate(names):
            axis.plot([], [], color=f"C{i}", label=name)
        axis.legend(loc="center right")
    axes[-1].set_xlabel("steps")
    with replacing(folder / "curves.png") as temporary:
        figure.savefig(temporary, dpi=80, bbox_inches="tight")


def _smoothed(points: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Steps and running means of a curve."""
    x, y = np.array(points).T
    width = min(_SMOOTHED_OVER, len(y))
    return x[width - 1 :], np.convolve(y, np.ones(width) / width, "valid")


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="The curves of a run of GRPO as a picture.")
    parser.add_argument("metrics", type=Path)
    parser.add_argument("--out", type=Path, default=Path("curves.png"))
    args = parser.parse_args()
    draw_metrics(args.metrics, args.out)


if __name__ == "__main__":
    main()
