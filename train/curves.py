"""`metrics.jsonl` to a picture of the curves: `python -m train.curves runs/x/metrics.jsonl`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from stvg_r1_hub.errors import OutputError
from stvg_r1_hub.outputs import replacing

PANELS = ("reward", "kl", "length", "loss")
"""One panel each, where a run has it; the reward's panel also shows its parts."""


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics file, by step; a half-written last line is left out."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return sorted(lines, key=lambda values: values["step"])


def draw_curves(metrics: Path, out: Path) -> None:
    """Draw reward with its parts, KL, length and loss over the steps.

    Raises:
        OutputError: there is nothing to draw, or the picture cannot be written.
    """
    from matplotlib.figure import Figure

    lines = read_metrics(metrics)
    if not lines:
        raise OutputError(f"{metrics} holds no steps yet; nothing to draw.")
    panels = [name for name in PANELS if any(name in line for line in lines)]
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


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("metrics", type=Path)
    parser.add_argument("--out", type=Path, default=Path("curves.png"))
    args = parser.parse_args()
    draw_curves(args.metrics, args.out)


if __name__ == "__main__":
    main()
