"""A finished run as a page: figures beside published ones, where the loss is, the worst answers.

Written into the results folder: `report.md`, `report.html`, `plots/`, `gallery/`, `summary.json`
(all figures; a model card takes its numbers from here) and `timings.md`. All but the last, and the
section on cost, depend on the answers alone, so a run that was killed and resumed gives the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.evaluation.benchmarks.mevis import NOMINAL_FPS
from stvg_r1_hub.evaluation.benchmarks.sprites import TRUE_TRACKS
from stvg_r1_hub.evaluation.gallery import draw_case
from stvg_r1_hub.evaluation.lines import Line, scores_of, strict_values
from stvg_r1_hub.evaluation.page_text import TEXT_COLUMNS, Markdown, render
from stvg_r1_hub.evaluation.plots import SPANS, binned, draw_calibration, draw_plots
from stvg_r1_hub.evaluation.protocols import LABELS, protocols_for
from stvg_r1_hub.evaluation.published import PUBLISHED
from stvg_r1_hub.evaluation.reliability import (
    abstention_of,
    calibration_of,
    table_of_costs,
)
from stvg_r1_hub.evaluation.results import RunSettings, read_lines, read_outlines, read_set_aside
from stvg_r1_hub.evaluation.summary import (
    MAIN_SCORE,
    SCORE_NAMES,
    oracle_means,
    shown_names,
    summary_of,
)
from stvg_r1_hub.outputs import make_folder, replacing

GALLERY_CASES = 12
MOST_ROWS = 40


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
    lines = read_outlines(folder)
    if len(lines) < settings.n_samples:
        raise ConfigError(
            f"{folder} has {len(lines)} of {settings.n_samples} samples; finish it first by "
            "running its command again."
        )
    set_aside = read_set_aside(folder)
    summary = summary_of(settings, lines, set_aside)
    context = {
        **_head(settings, lines, summary),
        "figures": _figures(settings, summary),
        "oracles": _oracle_table(settings, lines),
        "breakdowns": _breakdowns(settings, lines),
        "calibration": _calibration(settings, lines, folder),
        "abstention": _abstention(lines),
        "cost": table_of_costs(_groups(lines)),
        "plots": draw_plots(lines, SCORE_NAMES[settings.task], folder),
        "cases": _cases(settings, lines, folder),
        "set_aside": [[fault.record, fault.reason] for fault in set_aside[:MOST_ROWS]],
        "failures": [[line["sample_id"], line["error"]] for line in lines if line["error"]],
        "notes": [note for line in lines for note in line["notes"]],
        "protocols": [
            {
                "name": protocol.name,
                "description": Markdown(protocol.description),
                "dropped": sum(s is None for s in scores_of(lines, protocol.name)),
            }
            for protocol in protocols_for(settings.task, settings.benchmark)
        ],
        "text_columns": TEXT_COLUMNS,
    }
    _write(folder / "report.md", render("report.md.jinja", context, html=False))
    _write(folder / "report.html", render("report.html.jinja", context, html=True))
    _write(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    _write(folder / "timings.md", _timings(lines))
    return folder / "report.html"


def _head(settings: RunSettings, lines: Sequence[Line], summary: dict[str, Any]) -> dict[str, Any]:
    unanswerable = [line for line in lines if line["truth"]["start_seconds"] is None]
    answered = sum(line["answer"]["start_seconds"] is not None for line in lines)
    failed = sum(line["error"] is not None for line in lines)
    declined = sum(line["answer"]["declined"] for line in lines)
    ways = {"ids": "object numbers", "boxes": "boxes written as text"}
    return {
        "title": settings.title,
        "model": settings.model,
        "tracker": settings.tracks or settings.tracker,
        "classes": settings.classes,
        "answers": "time alone" if settings.task == "time" else ways[settings.answers],
        "seed": settings.seed,
        "fingerprint": settings.model_fingerprint[:16],
        "annotations": settings.annotations_sha256[:16],
        "counts": {
            "n": len(lines),
            "answered": answered,
            "failed": failed,
            "set_aside": summary["n_set_aside"],
            "boxes_set_aside": summary["n_boxes_set_aside"],
            "unusable": len(lines) - answered - failed - declined,
            "unanswerable": len(unanswerable),
            "declined_right": sum(line["answer"]["declined"] for line in unanswerable),
        },
    }


def _figures(settings: RunSettings, summary: dict[str, Any]) -> dict[str, Any]:
    names = shown_names(summary, settings.task)
    rows = [
        [
            settings.model,
            "ours",
            protocol,
            str(figures["n"]),
            *(_percent(figures.get(name)) for name in names),
        ]
        for protocol, figures in summary["protocols"].items()
    ]
    published = PUBLISHED.get(settings.benchmark, ())
    for row in published:
        figures = [f"{row.figures[name]:.1f}" if name in row.figures else "" for name in names]
        rows.append([row.model, row.source, row.protocol, "", *figures])
    columns = ["model", "source", "protocol", "n", *names]
    return {"columns": columns, "rows": rows, "any_published": bool(published)}


def _oracle_table(settings: RunSettings, lines: Sequence[Line]) -> dict[str, Any] | None:
    means = oracle_means(lines)
    if not means:
        return None
    given = settings.tracker == TRUE_TRACKS and not settings.tracks
    allows = "the true tracks were given" if given else "what the tracker alone allows"
    explained = {
        "as answered": "m_vIoU as answered",
        "true time": "m_vIoU with the true time",
        "true object": "m_vIoU with the true object, that is the best track",
        "best track": f"m_vIoU with both: {allows}",
        "random track": "m_vIoU of a random track through the whole clip",
        "random tIoU": "m_tIoU of the whole clip",
        "id correct": "samples in which the right track is named",
        "random id correct": "samples in which a random track is the right one",
        "right answer": "the right track is named, or rightly none",
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
    if strict_values(lines, "none"):
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


def _calibration(
    settings: RunSettings, lines: Sequence[Line], folder: Path
) -> dict[str, Any] | None:
    found = calibration_of(lines, settings.task)
    if found is None:
        return None
    rows = [
        [f"{low:.1f} to {high:.1f}", str(n), _percent(stated), _percent(right)]
        for low, high, n, stated, right in found.bins
    ]
    return {
        "error": _percent(found.error),
        "auroc": "none of both" if found.auroc is None else f"{found.auroc:.2f}",
        "columns": ["confidence", "n", "mean confidence", "right"],
        "rows": rows,
        "plot": draw_calibration(found.bins, folder),
    }


def _abstention(lines: Sequence[Line]) -> dict[str, Any] | None:
    """A table of the answers "nothing matches"; None where there is none and none is right."""
    counts = abstention_of(lines)
    if not counts["nothing matches"] and not counts["wrong none"]:
        return None
    nothing, something = counts["nothing matches"], counts["something matches"]
    rows = [
        ["nothing matches", str(nothing), f"{counts['right none']} right",
         f"{counts['missed none']} missed"],
        ["something matches", str(something), f"{something - counts['wrong none']} not declined",
         f"{counts['wrong none']} wrongly declined"],
    ]  # fmt: skip
    return {"columns": ["truth", "n", "right", "wrong"], "rows": rows}


def _groups(lines: Sequence[Line]) -> list[tuple[str, Sequence[Line]]]:
    """All samples, then those of every bin of clip length, objects and size."""
    groups: list[tuple[str, Sequence[Line]]] = [("all", lines)]
    for span in SPANS:
        groups += [(f"{span.title}: {name}", inside) for name, inside in binned(lines, span)]
    return groups


def _cases(settings: RunSettings, lines: Sequence[Line], folder: Path) -> list[dict[str, Any]]:
    """The lowest scores, failures apart; ties in the benchmark's order."""
    target = make_folder(folder / "gallery")
    for old in target.glob("*.png"):
        old.unlink()
    key = MAIN_SCORE[settings.task]
    asked = [line for line in lines if line["error"] is None]
    worst = sorted(asked, key=lambda line: _score(line, key))[:GALLERY_CASES]
    whole = read_lines(folder, {line["sample_id"] for line in worst})
    fps = NOMINAL_FPS if settings.task == "mask" else None
    cases = []
    for number, line in enumerate((whole[line["sample_id"]] for line in worst), start=1):
        name = f"{number:02d}.png"
        reason = draw_case(line, target / name, image_folder_fps=fps)
        scores = line["scores"]["strict"]
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
                "message": _answer_and_truth(line),
                "path": None if reason else f"gallery/{name}",
                "reason": reason,
            }
        )
    return cases


def _score(line: Line, key: str) -> float:
    """What a sample is worth: its main score, or whether it was rightly declined."""
    scores = line["scores"]["strict"]
    return float(scores.get(key, scores.get("none", 0.0)))


def _answer_and_truth(line: Line) -> str:
    answer, truth = line["answer"], line["truth"]
    true = "nothing" if truth["start_seconds"] is None else _range(truth)
    if answer["start_seconds"] is None:
        why = "declined" if answer["declined"] else " ".join(line["notes"]) or "nothing usable"
        return f"Answer: {why}; true {true}."
    ids = ", ".join(map(str, answer["object_ids"]))
    return f"Answer: {f'object {ids}, ' if ids else ''}{_range(answer)}; true {true}."


def _range(values: dict[str, Any]) -> str:
    return f"{values['start_seconds']:.2f} to {values['end_seconds']:.2f} s"


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
    values = strict_values(lines, key)
    return float(np.mean(values)) if values else None


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _natural(text: str) -> tuple[float, str]:
    try:
        return float(text), ""
    except ValueError:
        return float("inf"), text


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
