"""What a run shows: progress bar, metrics, trackers, completions, tables of them, curves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from stvg_r1_hub.errors import require_package
from stvg_r1_hub.outputs import replacing
from train.run.training_config import TrainingConfig

METRICS, COMPLETIONS = "metrics.jsonl", "completions.jsonl"
COMBINED: dict[str, Callable[[Sequence[float]], float]] = {
    "length_min": min, "length_max": max, "memory_gb": max, "unreadable": sum,
}  # fmt: skip
"""How a figure is taken together over rows and processes; the others are averaged."""
SHOWN = ("reward", "loss", "kl", "length")
"""Figures beside the progress bar; the parts of the reward come with them."""
TABLE_SAMPLES = 4
"""Samples whose best and worst completion stand in a table."""


def combined(rows: Sequence[dict[str, float]], accelerator: Accelerator) -> dict[str, float]:
    """Every figure over the rows that have it and over all processes, as `COMBINED` says.

    Args:
        rows: of this process; all processes have the same figures.
        accelerator: knows the others.
    """
    names = sorted({name for row in rows for name in row})
    ways = [COMBINED.get(name, _mean) for name in names]
    own = [
        way([row[name] for row in rows if name in row])
        for name, way in zip(names, ways, strict=True)
    ]
    tensor = torch.tensor([own], dtype=torch.float64, device=accelerator.device)
    everywhere = accelerator.gather(tensor).T.tolist()
    return {
        name: float(way(values)) for name, way, values in zip(names, ways, everywhere, strict=True)
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def memory_gb() -> float:
    """Most memory of this process's GPU so far, or its memory now where there is none."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return float(psutil.Process().memory_info().rss) / 1e9


def require_trackers(config: TrainingConfig) -> None:
    """Find out before a model is loaded whether the trackers are there.

    Raises:
        MissingPackageError: one is not; says how to add it.
    """
    for tracker in config.trackers:
        require_package(tracker, "train" if tracker == "tensorboard" else tracker)


class RunLog:
    """Writes from the main process only; use as a context manager."""

    def __init__(
        self, out: Path, config: TrainingConfig, accelerator: Accelerator, *, first_step: int
    ) -> None:
        self.out = out
        self.config = config
        self.accelerator = accelerator
        self.main = accelerator.is_main_process
        self.bar: Any = None
        if self.main:
            out.mkdir(parents=True, exist_ok=True)
            for name in (METRICS, COMPLETIONS):
                _forget_after(out / name, first_step)
            with replacing(out / "config.yaml") as temporary:
                temporary.write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
        if config.trackers:
            flat = {k: v if isinstance(v, int | float | str) else str(v)
                    for k, v in config.to_dict().items()}  # fmt: skip
            accelerator.init_trackers("stvg-r1", config=flat)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()
        if self.config.trackers and kind is None:
            self.accelerator.end_training()

    def steps(self, first: int, total: int) -> Iterator[int]:
        """The steps still to do, with a progress bar in the main process."""
        self.bar = tqdm(
            range(first, total), initial=first, total=total, desc="train", disable=not self.main
        )
        yield from self.bar

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Figures of one step."""
        if self.config.trackers:
            self.accelerator.log(figures, step=step)
        if not self.main:
            return
        with (self.out / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        shown = {name: figures[name] for name in SHOWN if name in figures}
        shown |= {
            n.removeprefix("reward/"): v for n, v in figures.items() if n.startswith("reward/")
        }
        self.bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items()})

    def completions(self, step: int, own: Sequence[dict[str, Any]], *, table: bool) -> None:
        """Everything that was said in a step, of all processes, and now and then some as a table.

        Args:
            step: counted from 0.
            own: rows of this process; those of a sample stand together, best first.
            table: also write the table, into a file and into trackers that take text.
        """
        rows = gather_object(list(own))
        if not self.main or not rows:
            return
        with (self.out / COMPLETIONS).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"step": step, **row}) + "\n" for row in rows)
        if table:
            self._table(step, _best_and_worst(rows))

    def _table(self, step: int, rows: Sequence[dict[str, str]]) -> None:
        text = _markdown(rows)
        folder = self.out / "tables"
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"step-{step + 1:06d}.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
        columns, values = list(rows[0]), [list(row.values()) for row in rows]
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.writer.add_text("completions", text, step)
            elif tracker.name == "wandb":
                tracker.log_table("completions", columns=columns, data=values, step=step)
            elif tracker.name == "trackio":
                import trackio

                shown = trackio.Table(columns=columns, data=values)
                tracker.log({"completions": shown}, step=step)

    def curves(self) -> None:
        """Redraw `curves.png`."""
        if self.main:
            from train.run.curves import draw_metrics

            draw_metrics(self.out / METRICS, self.out / "curves.png")


def _forget_after(path: Path, step: int) -> None:
    """Drop lines of steps that a resumed run does again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] < step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue  # the line that was being written when the run was killed
    with replacing(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


def _best_and_worst(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """First and last row of the first samples, as text."""
    samples: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        samples.setdefault(row["sample"], []).append(row)
    chosen = []
    for group in list(samples.values())[:TABLE_SAMPLES]:
        chosen += [group[0], group[-1]] if len(group) > 1 else group
    return [{name: _text(value) for name, value in row.items()} for row in chosen]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:.2f}" for name, number in value.items())
    return f"{value:+.2f}" if isinstance(value, float) else str(value)


def _markdown(rows: Sequence[dict[str, str]]) -> str:
    def cell(text: str) -> str:
        shown = text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
        return shown.replace("\n", " ")

    header = list(rows[0])
    lines = [header, ["---"] * len(header), *([cell(row[k]) for k in header] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
