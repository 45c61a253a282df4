"""Sprite-world clips with their true and answered tubes on one picture, to look at.

    python -m benchmarks.sprite_sheet --level medium --seed 1 --n 20 --out sheet.png

A row a clip: four moments between the earliest and the latest time that truth or answer name.
Green is true, magenta is answered; the frame of a picture is green inside the true range.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.evaluation.benchmarks.sprites import read_sprites
from stvg_r1_hub.evaluation.oracles import oracle_scores
from stvg_r1_hub.evaluation.prediction import prediction_of
from stvg_r1_hub.evaluation.protocols import strict
from stvg_r1_hub.sprites.clips import SIDE, clip_scene, frame_times, write_clip
from stvg_r1_hub.sprites.render import render, true_boxes

COLUMNS = 4


def draw_row(axes, scene, result, right) -> None:
    from matplotlib.patches import Rectangle

    spans = [s for s in (scene.answer_range, answered_range(result)) if s]
    low = min((s[0] for s in spans), default=0.0)
    high = max((s[1] for s in spans), default=scene.duration_seconds)
    wanted = np.linspace(max(0.0, low - 0.2), high + 0.2, COLUMNS)
    times = frame_times(scene)
    indices = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    boxes = {box.frame_index: box.xyxy for box in result.boxes}
    for axis, index, frame in zip(axes, indices, render(scene, SIDE, times[indices]), strict=True):
        axis.imshow(frame)
        seconds = times[index]
        is_true = bool(scene.answer_range) and in_range(seconds, scene.answer_range)
        if is_true:
            pose = scene.poses(scene.target, np.array([seconds]))
            box, in_view = true_boxes(scene.target, pose, SIDE)
            if in_view[0]:
                axis.add_patch(outline(Rectangle, box[0], "lime"))
        if int(index) in boxes:
            axis.add_patch(outline(Rectangle, boxes[int(index)], "magenta"))
        for side in axis.spines.values():
            side.set_color("lime" if is_true else "0.8")
            side.set_linewidth(3)
        axis.set(xticks=[], yticks=[], xlabel=f"{seconds:.2f} s")
    mark = "right" if right else "WRONG"
    axes[0].set_title(
        f"{scene.query}\ntrue {scene.answer_range}, answered {answered_range(result)}: {mark}",
        loc="left", fontsize=9,
    )  # fmt: skip


def answered_range(result) -> tuple[float, float] | None:
    return (result.start_seconds, result.end_seconds) if result.found else None


def in_range(seconds: float, span: tuple[float, float]) -> bool:
    return span[0] <= seconds < span[1]


def outline(rectangle, xyxy, color):
    x0, y0, x1, y1 = (float(v) for v in xyxy)
    return rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=2)


def main() -> None:
    from matplotlib.figure import Figure

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--level", default="medium")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))
    args = parser.parse_args()
    pipeline = STVGPipeline.from_pretrained(args.model)
    per_row = 2 if args.n > 1 else 1
    rows = -(-args.n // per_row)
    figure = Figure(figsize=(2 * COLUMNS * per_row, 2.7 * rows), layout="constrained")
    grid = figure.subplots(rows, COLUMNS * per_row, squeeze=False)
    for axis in grid.flat:
        axis.axis("on")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        samples = read_sprites(args.level, args.seed, args.n, folder)
        for number, sample in enumerate(samples):
            scene = clip_scene(args.level, args.seed, number)
            write_clip(scene, path)
            result = pipeline(scene.query, path)
            row, column = divmod(number, per_row)
            axes = grid[row, column * COLUMNS : (column + 1) * COLUMNS]
            prediction = prediction_of(result)
            right = {**strict(sample, prediction), **oracle_scores(sample, prediction)}
            draw_row(axes, scene, result, right.get("none", right.get("id correct")))
    figure.savefig(args.out, dpi=70)
    print(args.out)


if __name__ == "__main__":
    main()
