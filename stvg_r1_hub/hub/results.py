"""What an evaluation measured, as a saved model shows it: in its card and to the Hub.

Figures come from a file that `stvg eval` wrote, and only for the weights that it measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import ModelError

SUMMARY_NAME = "summary.json"
"""All figures of a run, in the results folder of `stvg eval`."""
EVAL_RESULTS = ".eval_results"
"""Folder of a Hub repository that the Hub shows beside the model and on leaderboards."""
EVAL_RESULTS_PATTERN = f"{EVAL_RESULTS}/stvg-*.yaml"
_HEADLINES = ("J&F", "m_vIoU", "m_tIoU")
"""The one figure of a benchmark: the first of these that its task has."""


def read_figures(results: str | Path, fingerprint: str) -> dict[str, Any]:
    """What an evaluation measured.

    Args:
        results: the `--out` folder of `stvg eval`, its `summary.json`, or what `--json` wrote.
        fingerprint: of the weights and settings that the figures shall belong to.

    Raises:
        ModelError: it cannot be read, no figure is in it, or it is of other weights.
    """
    path = Path(results)
    if path.is_dir():
        path = path / SUMMARY_NAME
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Cannot read the results {path} ({error}); name the --out folder or the --json file "
            "of a finished `stvg eval`."
        ) from error
    if not isinstance(figures, dict):
        raise ModelError(f"The results {path} must hold one JSON object.")
    try:
        shown = _columns(figures)
        measured(figures)
        eval_results(figures)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"The results {path} are not what `stvg eval` writes ({error!r}); "
            "write them again with `stvg eval --report DIR`."
        ) from error
    if not shown:
        raise ModelError(f"The results {path} hold no figures; a card can show none.")
    if figures.get("model_fingerprint") != fingerprint:
        theirs = str(figures.get("model_fingerprint", "none"))[:16]
        raise ModelError(
            f"The results {path} were measured with other weights or settings (fingerprint "
            f"{theirs}, this model has {fingerprint[:16]}); measure this one with `stvg eval`, or "
            "save it without results."
        )
    return figures


def measured(figures: Mapping[str, Any]) -> str:
    """The section of the card: figures, and what was measured."""
    columns = _columns(figures)
    head = f"| protocol | n | {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) + 1)}\n"
    rows = "\n".join(
        f"| {name} | {row['n']} | {' | '.join(_percent(row.get(c)) for c in columns)} |"
        for name, row in figures["protocols"].items()
    )
    return f"## Measured\n\n{_what_was_measured(figures)}\n\n{head}{rows}\n\n"


def eval_results(figures: Mapping[str, Any]) -> dict[str, str]:
    """The same for the Hub: files of its `.eval_results` format, by their path.

    None where the evaluation was not told which dataset of the Hub it measured on. The one value
    of a file is J&F, m_vIoU or m_tIoU, in percent, every sample counted.

    Format: https://huggingface.co/docs/hub/eval-results
    """
    dataset = figures.get("hub_dataset")
    if not dataset:
        return {}
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    name = figures["benchmark"]
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise ValueError(f"benchmark {name!r}")
    row = figures["protocols"]["strict"]
    metric = next(metric for metric in (*_HEADLINES, "") if metric in row or not metric)
    entry = EvalResultEntry(
        dataset_id=dataset,
        task_id=figures["hub_task"],
        value=round(100 * row[metric], 2),
        notes=f"{metric} in percent, {row['n']} samples, failed ones as 0; {_tracker(figures)}",
    )
    text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)
    return {f"{EVAL_RESULTS}/stvg-{name}.yaml": text}


def _what_was_measured(figures: Mapping[str, Any]) -> str:
    """Benchmark, model and tracker; of files on this disk only the names."""
    model = _without_folders(figures["model"])
    written = ", boxes written as text by the model" if figures["answers"] == "boxes" else ""
    return (
        f"`stvg eval {_cell(figures['benchmark'])}` with {model} (fingerprint "
        f"{figures['model_fingerprint'][:16]}), {_tracker(figures)}{written}: {figures['n']} "
        f"samples, {figures['n_failed']} of them failed{_set_aside(figures)}. Figures in percent. "
        "`strict` counts every sample, a failed one as 0; the other protocols follow the scripts "
        "of the papers they are named after, which may drop samples (n)."
    )


def _tracker(figures: Mapping[str, Any]) -> str:
    prepared = figures.get("tracks")
    if prepared:
        return f"prepared tracks {_without_folders(prepared)}"
    classes = figures.get("classes", "all")
    of = "" if classes == "all" else f" ({_cell(classes)})"
    return f"tracker {_without_folders(figures['tracker'])}{of}"


def _set_aside(figures: Mapping[str, Any]) -> str:
    count = figures.get("n_set_aside", 0)
    return f"; {count} more records are set aside as wrong annotations" if count else ""


def _without_folders(name: str) -> str:
    """A model's or tracker's name; of an own folder the last part, nobody's disk is published."""
    own = Path(name).is_absolute() or name.startswith((".", "~")) or Path(name).exists()
    return _cell(Path(name).name if own else name)


def _columns(figures: Mapping[str, Any]) -> list[str]:
    """Names of all metrics that any protocol has."""
    rows = figures["protocols"].values()
    return [name for name in dict.fromkeys(n for row in rows for n in row) if name != "n"]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
