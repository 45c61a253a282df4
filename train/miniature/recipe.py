"""STVG-R1 in miniature: from a base that is often wrong to a better model, by rewards alone.

    python -m train.miniature.worn_base --out runs/worn
    python -m train.miniature.recipe --base runs/worn --level medium --out runs/stvg_tiny

Trained from the base are: boxes written as text, without numbers on the video; supervised training
on the level; GRPO with the official rewards; with other rewards, or a third of the questions
answered by nothing; GRPO without each of the official rewards. All of them and the base answer the
same unseen questions. `table.md` has the figures, `rewards.png` the curves, both of all rows that
stand in the folder.

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
from train.miniature.answers import answer_questions
from train.miniature.written_boxes import answer_with_boxes
from train.rewards import REWARD_SETS
from train.run.curves import read_metrics

CONFIG = Path(__file__).parents[1] / "configs" / "tiny.yaml"
OFFICIAL = REWARD_SETS["official"]
BOX_IOU = {"box_iou" if name == "tiou" else name: weight for name, weight in OFFICIAL.items()}
THIRD = ":10000:33"
"""Ends a request for questions a third of which are answered by nothing."""
EXPERIMENTS = {
    "third": ("GRPO, a third answered by nothing", OFFICIAL, THIRD),
    "object": ("GRPO, rewards: object", REWARD_SETS["object"], ""),
    "object_third": ("GRPO, rewards: object, and that third", REWARD_SETS["object"], THIRD),
    "box_iou": ("GRPO, box_iou for tiou", BOX_IOU, ""),
    **{
        f"no_{left_out}": (
            f"GRPO without {left_out}", {k: v for k, v in OFFICIAL.items() if k != left_out}, ""
        )
        for left_out in OFFICIAL
    },
}  # fmt: skip
"""Title, rewards and end of the data's request, by the row's name."""
ROWS = ("boxes", "base", "sft", "grpo", *EXPERIMENTS)
EVALUATION_SEED = 2
"""Of the unseen clips; training and model selection use other ones."""
COLUMNS = {
    "m_viou_all": "m_vIoU, all questions",
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
    world: str = "sprites"
    evaluate: Callable[..., dict[str, Any]] = answer_questions
    request: str = ""
    """Ends what is asked of the world."""


def parts(options: argparse.Namespace) -> list[Part]:
    """All rows, in the table's order."""
    supervised = {"max_steps": options.sft_steps, "learning_rate": 2e-4, "schedule": "cosine"}
    # Another form of answer, learned from nothing: 150 steps left answers that cannot be read.
    boxes = supervised | {
        "max_steps": 4 * options.sft_steps, "warmup_steps": 30, "learning_rate": 1e-3,
        "freeze_vision": False,
    }  # fmt: skip
    found = [
        Part(
            "boxes", "base, boxes written as text, no numbers", "train.train_sft",
            boxes, "boxes", answer_with_boxes,
        ),
        Part("base", "base, numbers drawn"),
        Part("sft", "supervised", "train.train_sft", supervised),
    ]  # fmt: skip
    by_rewards = {
        "max_steps": options.grpo_steps, "num_generations": options.generations,
        "learning_rate": options.grpo_rate,
    }  # fmt: skip
    for name, (title, rewards, request) in {"grpo": ("GRPO", OFFICIAL, ""), **EXPERIMENTS}.items():
        changes = {**by_rewards, "rewards": rewards}
        found.append(Part(name, title, "train.train_grpo", changes, request=request))
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
    values["warmup_steps"] = min(values["warmup_steps"], values["max_steps"] // 10)
    config = options.out / f"{part.name}.yaml"
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    data = f"{part.world}:{options.level}:{options.seed}{part.request}"
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
    nothing = next((figures["nothing"] for _, figures in rows if "nothing" in figures), 0)
    lines = [
        f"{options.clips} unseen questions of level {options.level}, nothing fits in {nothing}; "
        f"{options.grpo_steps} steps of {options.accumulation} x {options.generations} completions",
        "",
        f"| model | {' | '.join(COLUMNS.values())} |",
        f"| --- |{' --- |' * len(COLUMNS)}",
    ]
    for title, figures in rows:
        shown = (f"{figures[k]:.3f}" if figures.get(k) is not None else "-" for k in COLUMNS)
        lines.append(f"| {title} | {' | '.join(shown)} |")
    text = "\n".join(lines) + "\n"
    (options.out / "table.md").write_text(text, encoding="utf-8")
    return text


def draw_rewards(runs: dict[str, Path], out: Path) -> None:
    """Mean rewards of all GRPO runs over their steps, smoothed over fifteen steps."""
    from matplotlib.figure import Figure

    lines = {title: read_metrics(path) for title, path in runs.items()}
    names = sorted({n for found in lines.values() for n in found[-1] if n.startswith("reward/")})
    figure = Figure(figsize=(3.3 * len(names), 3.5), layout="constrained")
    shown = {}
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for i, (title, found) in enumerate(lines.items()):
            known = np.array([line[name] for line in found if line.get(name) is not None])
            if len(known):
                width = min(15, len(known))
                smooth = np.convolve(known, np.ones(width) / width, "valid")
                shown[title] = axis.plot(smooth, color=f"C{i}")[0]
        axis.set_title(name.removeprefix("reward/"))
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=2)
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
    if runs:
        draw_rewards(runs, options.out / "rewards.png")
    return write_table([(part.title, figures) for part, figures in measured], options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--base", required=True, help="folder of the model to start from")
    parser.add_argument("--out", type=Path, default=Path("runs/stvg_tiny"))
    parser.add_argument("--level", default="hard")
    parser.add_argument("--clips", type=int, default=500, help="unseen questions to measure on")
    parser.add_argument("--grpo-steps", type=int, default=150)
    parser.add_argument("--grpo-rate", type=float, default=1e-4, help="peak of GRPO's rate")
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
