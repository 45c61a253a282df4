"""STVG-R1 in miniature: from a base that knows the easy world to the harder one, by rewards alone.

    python -m train.miniature.recipe --base BASE --level hard --out runs/stvg_tiny

`BASE` is a model trained on the easy level only (`train.bundled.pretrain`). Trained from it are:
boxes written as text, without numbers on the video; supervised training on the level; GRPO with
the official rewards; GRPO without each of them. All of them and the base answer the same unseen
clips, with the true tracks given. `table.md` has the figures, `rewards.png` the curves, both of
all rows that stand in the folder.

Every part goes on where it was when the command is given again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.outputs import make_folder, replacing
from stvg_r1_hub.sprites.clips import clip_scene
from train.bundled.answers import answer_sprites
from train.miniature.written_boxes import answer_with_boxes
from train.run.curves import read_metrics

CONFIG = Path(__file__).parents[1] / "configs" / "tiny.yaml"
OFFICIAL = {"tiou": 1.0, "id": 1.0, "format": 1.0}
ROWS = ("boxes", "base", "sft", "grpo", *(f"no_{name}" for name in OFFICIAL))
EVALUATION_SEED = 2
"""Of the unseen clips; training and model selection use other ones."""
COLUMNS = {
    "right_object": "right object",
    "none_accuracy": '"none" right',
    "id_accuracy": "ID accuracy, all",
    "m_tiou": "m_tIoU",
    "m_viou": "m_vIoU",
}


class RecipeError(STVGError):
    """A part of the recipe did not end well."""


@dataclass(frozen=True)
class Part:
    """One row of the table."""

    name: str
    title: str
    module: str | None = None
    """What trains it; None is the base as it is."""
    changes: dict[str, Any] | None = None
    """To `configs/tiny.yaml`."""
    data: str = "sprites"
    evaluate: Callable[..., dict[str, Any]] = answer_sprites


def parts(options: argparse.Namespace) -> list[Part]:
    """All rows, in the table's order."""
    supervised = {"max_steps": options.sft_steps, "learning_rate": 2e-4, "schedule": "cosine"}
    # Another form of answer, learned from nothing: 150 steps left answers that cannot be read.
    boxes = supervised | {
        "max_steps": 4 * options.sft_steps, "warmup_steps": 30, "learning_rate": 1e-3,
        "freeze_vision": False,
    }  # fmt: skip
    by_rewards = {"max_steps": options.grpo_steps, "num_generations": options.generations}
    found = [
        Part(
            "boxes", "base, boxes written as text, no numbers", "train.train_sft",
            boxes, "boxes", answer_with_boxes,
        ),
        Part("base", "base, numbers drawn"),
        Part("sft", "supervised", "train.train_sft", supervised),
        Part("grpo", "GRPO", "train.train_grpo", {**by_rewards, "rewards": OFFICIAL}),
    ]  # fmt: skip
    for left_out in OFFICIAL:
        rewards = {name: weight for name, weight in OFFICIAL.items() if name != left_out}
        changes = {**by_rewards, "rewards": rewards}
        found.append(
            Part(f"no_{left_out}", f"GRPO without {left_out}", "train.train_grpo", changes)
        )
    return found


def train_part(part: Part, options: argparse.Namespace) -> Path:
    """The trained model's folder; trains it when it is not there yet.

    Raises:
        RecipeError: training failed; its own message was printed.
    """
    if part.module is None:
        return Path(options.base)
    run: Path = options.out / part.name
    if (run / "model").is_dir():
        return run / "model"
    values = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    values |= {"model": str(options.base), **(part.changes or {})}
    values |= {"trackers": [], "accumulation": options.accumulation}
    values["warmup_steps"] = min(values["warmup_steps"], values["max_steps"] - 1)
    config = options.out / f"{part.name}.yaml"
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    data = f"{part.data}:{options.level}:{options.seed}"
    command = [sys.executable, "-m", part.module, "--config", str(config), "--resume",
               "--data", data, "--out", str(run)]  # fmt: skip
    if subprocess.run(command, check=False).returncode:
        raise RecipeError(f"Training {part.name!r} failed: {' '.join(command)}")
    return run / "model"


def evaluate_part(part: Part, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of a part on the unseen clips, kept beside its run."""
    known = known_figures(part, options)
    if known is not None:
        return known
    figures = part.evaluate(model, options.level, seed=EVALUATION_SEED, n=options.clips)
    with replacing(options.out / f"{part.name}.json") as temporary:
        temporary.write_text(json.dumps(figures) + "\n", encoding="utf-8")
    return figures


def known_figures(part: Part, options: argparse.Namespace) -> dict[str, Any] | None:
    """What was measured before on these very clips."""
    path = options.out / f"{part.name}.json"
    if not path.is_file():
        return None
    request = {"level": options.level, "seed": EVALUATION_SEED, "n": options.clips}
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return known if request.items() <= known.items() else None


def write_table(rows: Sequence[tuple[str, dict[str, Any]]], options: argparse.Namespace) -> str:
    """The table, as text and in `table.md`."""
    scenes = (clip_scene(options.level, EVALUATION_SEED, i) for i in range(options.clips))
    nothing = sum(scene.answer_range is None for scene in scenes)
    lines = [
        f"{options.clips} unseen clips of level {options.level}, true tracks given, nothing fits "
        f"in {nothing}; {options.grpo_steps} steps of "
        f"{options.accumulation} x {options.generations} completions",
        "",
        f"| model | {' | '.join(COLUMNS.values())} |",
        f"| --- |{' --- |' * len(COLUMNS)}",
    ]
    for title, figures in rows:
        values = figures | {"right_object": _right_object(figures, options.clips, nothing)}
        shown = (f"{values[k]:.3f}" if values.get(k) is not None else "-" for k in COLUMNS)
        lines.append(f"| {title} | {' | '.join(shown)} |")
    text = "\n".join(lines) + "\n"
    (options.out / "table.md").write_text(text, encoding="utf-8")
    return text


def _right_object(figures: dict[str, Any], clips: int, nothing: int) -> float | None:
    """Share of the answerable questions whose object is named."""
    if figures["id_accuracy"] is None or clips == nothing:
        return None
    right = figures["id_accuracy"] * clips - figures.get("none_accuracy", 0.0) * nothing
    return float(right / (clips - nothing))


def draw_rewards(runs: dict[str, Path], out: Path) -> None:
    """Mean rewards of all GRPO runs over their steps, smoothed over fifteen steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained")
    for axis, name in zip(figure.subplots(1, 3), OFFICIAL, strict=True):
        for i, (title, path) in enumerate(runs.items()):
            values = [line.get(f"reward/{name}") for line in read_metrics(path)]
            known = np.array([value for value in values if value is not None])
            if len(known):
                width = min(15, len(known))
                smooth = np.convolve(known, np.ones(width) / width, "valid")
                axis.plot(smooth, label=title, color=f"C{i}")
        axis.set_title(name)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=7)
    with replacing(out) as temporary:
        figure.savefig(temporary, dpi=120)


def report(options: argparse.Namespace) -> str:
    """Table and curves of everything measured so far; returns the table."""
    rows = [(part, known_figures(part, options)) for part in parts(options)]
    measured = [(part, figures) for part, figures in rows if figures is not None]
    runs = {
        part.title: options.out / part.name / "metrics.jsonl"
        for part, _ in measured
        if part.module == "train.train_grpo"
    }
    draw_rewards(runs, options.out / "rewards.png")
    return write_table([(part.title, figures) for part, figures in measured], options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--base", required=True, help="model trained on the easy level only")
    parser.add_argument("--out", type=Path, default=Path("runs/stvg_tiny"))
    parser.add_argument("--level", default="hard")
    parser.add_argument("--clips", type=int, default=500, help="unseen clips to measure on")
    parser.add_argument("--grpo-steps", type=int, default=150)
    parser.add_argument("--sft-steps", type=int, default=150)
    parser.add_argument("--accumulation", type=int, default=8, help="prompts a step")
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="only these")
    options = parser.parse_args(arguments)
    try:
        make_folder(options.out)
        for part in parts(options):
            if part.name in options.rows:
                evaluate_part(part, train_part(part, options), options)
                sys.stdout.write(report(options))
    except STVGError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
