"""A finished run as a page: figures beside published ones, where the loss is, the worst answers.

Written into the results folder: `report.md`, `report.html`, `plots/`, `gallery/`, `summary.json`
(all figures; a model card takes its numbers from here) and `timings.md`. All but the last depend
on the answers alone, so a run that was killed and resumed gives the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.evaluation import plots
from stvg_r1_hub.evaluation.benchmarks.mevis import NOMINAL_FPS
from stvg_r1_hub.evaluation.gallery import draw_case
from stvg_r1_hub.evaluation.protocols import LABELS, protocols_for, summarize
from stvg_r1_hub.evaluation.published import PUBLISHED
from stvg_r1_hub.evaluation.results import (
    Line,
    RunSettings,
    honest_values,
    merge_lines,
    read_lines,
    scores_of,
)
from stvg_r1_hub.outputs import make_folder, replacing

GALLERY_CASES = 12
MOST_ROWS = 40
TEXT_COLUMNS = ("model", "source", "protocol", "sample", "why", "what")
SHOWN = {
    "tube": ("m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5", "tIoU@0.5", "gt_vIoU"),
    "time": ("m_tIoU", "tIoU@0.3", "tIoU@0.5", "tIoU@0.7"),
    "mask": ("J", "F", "J&F"),
}
MAIN_SCORE = {"tube": "viou", "time": "tiou", "mask": "j&f"}
SCORE_NAMES = {
    "tube": {"tIoU": "tiou", "vIoU": "viou"},
    "time": {"tIoU": "tiou"},
    "mask": {"J&F": "j&f"},
}


def write_report(folder: Path) -> Path:
    """Write the report of a finished run.

    Args:
        folder: results folder.

    Returns:
        Path of `report.html`.

    Raises:
        AnnotationError: the folder holds no results.
        ConfigError: the run is not finished.
        OutputError: a file cannot be written.
    """
    settings = RunSettings.load(folder)
    found = read_lines(folder)
    if len(found) < settings.n_samples:
        raise ConfigError(
            f"{folder} has {len(found)} of {settings.n_samples} samples; finish it first by "
            "running its command again."
        )
    lines = merge_lines(folder, list(found))
    summary = summary_of(settings, lines)
    context = {
        **_head(settings, lines),
        "figures": _figures(settings, summary),
        "oracles": _oracle_table(lines),
        "breakdowns": _breakdowns(settings, lines),
        "plots": _plots(settings, lines, folder),
        "cases": _cases(settings, lines, folder),
        "failures": [[line["sample_id"], line["error"]] for line in lines if line["error"]],
        "notes": _notes(lines),
        "protocols": [
            {
                "name": protocol.name,
                "description": _Markdown(protocol.description),
                "dropped": sum(s is None for s in scores_of(lines, protocol.name)),
            }
            for protocol in protocols_for(settings.task)
        ],
        "text_columns": TEXT_COLUMNS,
    }
    _write(folder / "report.md", _render("report.md.jinja", context, html=False))
    _write(folder / "report.html", _render("report.html.jinja", context, html=True))
    _write(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    _write(folder / "timings.md", _timings(lines))
    return folder / "report.html"


def summary_of(settings: RunSettings, lines: Sequence[Line]) -> dict[str, Any]:
    """All figures of a run as plain values, fractions in 0..1."""
    figures = {
        protocol.name: {
            "n": sum(scores is not None for scores in scores_of(lines, protocol.name)),
            **{
                name: round(value, 6)
                for name, value in summarize(protocol, scores_of(lines, protocol.name)).items()
            },
        }
        for protocol in protocols_for(settings.task)
    }
    return {
        "benchmark": settings.benchmark,
        "model": settings.model,
        "model_fingerprint": settings.model_fingerprint,
        "tracker": settings.tracker,
        "tracks": settings.tracks,
        "answers": settings.answers,
        "hub_dataset": settings.hub_dataset,
        "hub_task": settings.hub_task,
        "n": len(lines),
        "n_failed": sum(line["error"] is not None for line in lines),
        "protocols": figures,
        "oracles": {name: round(value, 6) for name, value in _oracle_means(lines).items()},
    }


def _head(settings: RunSettings, lines: Sequence[Line]) -> dict[str, Any]:
    unanswerable = [line for line in lines if line["truth"]["start_seconds"] is None]
    answered = sum(line["answer"]["start_seconds"] is not None for line in lines)
    failed = sum(line["error"] is not None for line in lines)
    declined = sum(line["answer"]["declined"] for line in lines)
    ways = {"ids": "object numbers", "boxes": "boxes written as text"}
    return {
        "title": settings.title,
        "model": settings.model,
        "tracker": settings.tracks or settings.tracker,
        "answers": "time alone" if settings.task == "time" else ways[settings.answers],
        "seed": settings.seed,
        "fingerprint": settings.model_fingerprint[:16],
        "annotations": settings.annotations_sha256[:16],
        "counts": {
            "n": len(lines),
            "answered": answered,
            "failed": failed,
            "unusable": len(lines) - answered - failed - declined,
            "unanswerable": len(unanswerable),
            "declined_right": sum(line["answer"]["declined"] for line in unanswerable),
        },
    }


def _figures(settings: RunSettings, summary: dict[str, Any]) -> dict[str, Any]:
    names = shown_names(summary, settings.task)
    rows = [
        [settings.model, "ours", protocol, *(_percent(figures.get(name)) for name in names)]
        for protocol, figures in summary["protocols"].items()
    ]
    published = PUBLISHED.get(settings.benchmark, ())
    for row in published:
        figures = [f"{row.figures[name]:.1f}" if name in row.figures else "" for name in names]
        rows.append([row.model, row.source, row.protocol, *figures])
    columns = ["model", "source", "protocol", *names]
    return {"columns": columns, "rows": rows, "any_published": bool(published)}


def shown_names(summary: dict[str, Any], task: str) -> tuple[str, ...]:
    """The figures that tables show: the usual ones, and `none accuracy` where it is measured."""
    more = ("none accuracy",) if "none accuracy" in summary["protocols"]["honest"] else ()
    return (*SHOWN[task], *more)


def _oracle_means(lines: Iterable[Line]) -> dict[str, float]:
    """Means over the samples with a tube; samples that failed count as 0."""
    asked = [line for line in lines if line["truth"]["boxes"]]
    names = dict.fromkeys(name for line in asked for name in line["oracles"])
    return {
        name: float(np.mean([line["oracles"].get(name, 0.0) for line in asked])) for name in names
    }


def _oracle_table(lines: Sequence[Line]) -> dict[str, Any] | None:
    means = _oracle_means(lines)
    if not means:
        return None
    explained = {
        "as answered": "m_vIoU as answered",
        "true time": "m_vIoU with the true time",
        "true object": "m_vIoU with the true object, that is the best track",
        "best track": "m_vIoU with both: what the tracker alone allows",
        "random track": "m_vIoU of a random track through the whole clip",
        "random tIoU": "m_tIoU of the whole clip",
        "id correct": "samples in which the right track is named",
    }
    rows = [[text, _percent(means[name])] for name, text in explained.items()]
    return {"columns": ["what", "percent"], "rows": rows}


def _breakdowns(settings: RunSettings, lines: Sequence[Line]) -> list[dict[str, Any]]:
    """One table a trait that takes more than one value."""
    named = [
        {**line["groups"], **({"question": line["qtype"]} if line["qtype"] else {})}
        for line in lines
    ]
    metrics = dict(SCORE_NAMES[settings.task])
    if honest_values(lines, "none"):
        metrics["none accuracy"] = "none"
    tables = []
    for trait in dict.fromkeys(name for groups in named for name in groups):
        values = sorted({groups[trait] for groups in named if trait in groups}, key=_natural)
        if not 1 < len(values) <= MOST_ROWS:
            continue
        rows = []
        for value in values:
            inside = [line for line, groups in zip(lines, named, strict=True)
                      if groups.get(trait) == value]  # fmt: skip
            means = [_percent(_mean(inside, key)) for key in metrics.values()]
            rows.append([value, str(len(inside)), *means])
        tables.append({"name": trait, "columns": [trait, "n", *metrics], "rows": rows})
    return tables


def _plots(settings: RunSettings, lines: Sequence[Line], folder: Path) -> list[dict[str, str]]:
    target = make_folder(folder / "plots")
    metrics = SCORE_NAMES[settings.task]
    made = []
    for name, key in metrics.items():
        path = target / f"{key.replace('&', '')}.png"
        plots.histogram(path, honest_values(lines, key), name)
        made.append({"title": f"{name} of all samples", "path": f"plots/{path.name}"})
    spans: list[tuple[str, str, Callable[[Line], float | None], Sequence[float], Any]] = [
        ("objects", "number of tracked objects", lambda x: x["n_tracks"] or None,
         (1, 2, 3, 4, 5, 7, 10, 20), _count_label),
        ("target-size", "mean size of the target, share of the frame",
         lambda x: x["truth"]["target_size"], (0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4), _share_label),
        ("clip-length", "length of the shown clip, seconds",
         lambda x: x["truth"]["shown_seconds"], (0, 3, 5, 10, 20, 30, 60, 180), _span_label),
    ]  # fmt: skip
    for file, title, value, edges, label in spans:
        groups = plots.binned(lines, value, edges, label, metrics)
        if groups:
            plots.by_group(target / f"{file}.png", groups, title)
            made.append({"title": f"By {title}", "path": f"plots/{file}.png"})
    return made


def _cases(settings: RunSettings, lines: Sequence[Line], folder: Path) -> list[dict[str, Any]]:
    """The lowest scores, failures apart; ties in the benchmark's order."""
    target = make_folder(folder / "gallery")
    for old in target.glob("*.png"):
        old.unlink()
    key = MAIN_SCORE[settings.task]
    asked = [line for line in lines if line["error"] is None]
    worst = sorted(asked, key=lambda line: _score(line, key))[:GALLERY_CASES]
    fps = NOMINAL_FPS if settings.benchmark == "mevis" else None
    cases = []
    for number, line in enumerate(worst, start=1):
        name = f"{number:02d}.png"
        reason = draw_case(line, target / name, image_folder_fps=fps)
        scores = line["scores"]["honest"]
        cases.append(
            {
                "number": number,
                "query": line["query"],
                "sample_id": line["sample_id"],
                "scores": ", ".join(
                    f"{label} {scores[metric]:.2f}"
                    for metric, label in LABELS.items()
                    if metric in scores and metric != "gt_viou"
                ),
                "said": _said(line),
                "path": None if reason else f"gallery/{name}",
                "reason": reason,
            }
        )
    return cases


def _score(line: Line, key: str) -> float:
    """What a sample is worth: its main score, or whether it was rightly declined."""
    scores = line["scores"]["honest"]
    return float(scores.get(key, scores.get("none", 0.0)))


def _said(line: Line) -> str:
    answer, truth = line["answer"], line["truth"]
    true = "nothing" if truth["start_seconds"] is None else _range(truth)
    if answer["start_seconds"] is None:
        why = "declined" if answer["declined"] else " ".join(line["notes"]) or "nothing usable"
        return f"Answer: {why}; true {true}."
    ids = ", ".join(map(str, answer["object_ids"]))
    return f"Answer: {f'object {ids}, ' if ids else ''}{_range(answer)}; true {true}."


def _range(values: dict[str, Any]) -> str:
    return f"{values['start_seconds']:.2f} to {values['end_seconds']:.2f} s"


def _notes(lines: Sequence[Line]) -> list[str]:
    """What contradicted an annotation; the model's own warnings stay in the results file."""
    return [note for line in lines for note in line["notes"] if note.startswith("Sample ")]


def _timings(lines: Sequence[Line]) -> str:
    """Mean and total seconds of each stage, as a markdown table."""
    stages = dict.fromkeys(name for line in lines for name in line["timings"])
    rows = []
    for stage in stages:
        spent = [line["timings"][stage] for line in lines if stage in line["timings"]]
        rows.append(f"| {stage} | {sum(spent) / max(len(lines), 1):.3f} | {sum(spent):.1f} |")
    head = "| stage | seconds a sample | seconds in all |\n|---|---:|---:|\n"
    note = "What several questions about one clip share is counted once.\n\n"
    return note + head + "\n".join(rows) + "\n"


def _mean(lines: Sequence[Line], key: str) -> float | None:
    values = honest_values(lines, key)
    return float(np.mean(values)) if values else None


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _natural(text: str) -> tuple[float, str]:
    try:
        return float(text), ""
    except ValueError:
        return float("inf"), text


def _count_label(low: float, high: float) -> str:
    if high == float("inf"):
        return f"{low:g} or more"
    return f"{low:g}" if high == low + 1 else f"{low:g} to {high - 1:g}"


def _share_label(low: float, high: float) -> str:
    if high == float("inf"):
        return f"over {100 * low:g} %"
    return f"{100 * low:g} to {100 * high:g} %"


def _span_label(low: float, high: float) -> str:
    return f"over {low:g}" if high == float("inf") else f"{low:g} to {high:g}"


def _render(template: str, context: dict[str, Any], *, html: bool) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=html,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    if not html:
        environment.globals["table"] = _markdown_table
        environment.finalize = _markdown_text
    return environment.get_template(template).render(context)


class _Markdown(str):
    """Text that is markdown already."""


def _markdown_text(value: Any) -> Any:
    """Queries and model texts are data: nothing in them may become a heading, link or HTML."""
    if isinstance(value, _Markdown) or not isinstance(value, str):
        return value
    return _escaped(value)


def _escaped(text: str) -> str:
    for mark in "\\`*_[]|#":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> _Markdown:
    """A table; numbers to the right."""
    rule = ["---" if i == 0 or name in TEXT_COLUMNS else "---:" for i, name in enumerate(columns)]
    cells = [[_escaped(str(cell)) for cell in row] for row in (columns, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    lines.insert(1, "|" + "|".join(rule) + "|")
    return _Markdown("\n".join(lines))


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
