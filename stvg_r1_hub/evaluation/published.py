"""Published figures to stand beside ours; only rows whose source was looked at.

`python -m stvg_r1_hub.evaluation.published > docs/published.md` writes them as the page of the
documentation. Percent. Sources: a copy of the paper named, or the repository of that work. Where
a repository and its paper disagree, or where a figure seems to belong to another table, it is left
out: the STVG-R1 paper gives other HC-STVG v2 figures (61.3 / 40.8 / 67.9 / 38.8, second-hand) than
its repository, and the repository's ST-Align vIoU@0.3 of 60.3 appears to be of spatial grounding
alone.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedRow:
    """One model's figures on one benchmark."""

    model: str
    figures: dict[str, float]
    """Printed name to percent."""
    source: str
    protocol: str
    """How it was computed, as far as is known."""


_PAPER = "its paper"
_O1 = "tables of the STVG-o1 paper, arXiv 2511.21375"
_STVG_R1 = "README of github.com/XiaowZhang00/stvg-r1"
_TIME_R1 = "figures beside STVG-R1's in github.com/XiaowZhang00/stvg-r1"
_TIMELENS = "README of github.com/TencentARC/TimeLens @ 5d2110f"
_UNKNOWN = "not stated"


def _tube(figures: str) -> dict[str, float]:
    """`m_tIoU/m_vIoU/vIoU@0.3/vIoU@0.5`; a dash leaves one out."""
    names = ("m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5")
    pairs = zip(names, figures.split("/"), strict=True)
    return {name: float(text) for name, text in pairs if text != "-"}


def _rows(table: tuple[tuple[str, str, str, str], ...]) -> tuple[PublishedRow, ...]:
    return tuple(PublishedRow(model, _tube(f), source, how) for model, f, source, how in table)


def _timelens(*table: tuple[str, str]) -> tuple[PublishedRow, ...]:
    """`R1@0.3/R1@0.5/R1@0.7/mIoU` of each model, all measured by TimeLens' authors."""
    names = ("tIoU@0.3", "tIoU@0.5", "tIoU@0.7", "m_tIoU")
    return tuple(
        PublishedRow(
            model, dict(zip(names, map(float, figures.split("/")), strict=True)), _TIMELENS,
            "TimeLens' own script",
        )
        for model, figures in table
    )  # fmt: skip


PUBLISHED: dict[str, tuple[PublishedRow, ...]] = {
    "hcstvg-v1": _rows(
        (
            ("TubeDETR", "43.7/32.4/49.8/23.5", _PAPER, "tubedetr"),
            ("STCAT", "49.4/35.1/57.7/30.1", _PAPER, "stcat"),
            ("VG-DINO", "-/38.3/62.5/36.1", _PAPER, _UNKNOWN),
            ("CG-STVG", "52.8/38.4/61.5/36.3", _PAPER, "cgstvg"),
            ("TA-STVG", "53.0/39.1/63.1/36.8", _PAPER, _UNKNOWN),
            ("SpaceVLLM", "56.9/39.3/66.6/36.9", _PAPER, _UNKNOWN),
            ("Gemini-2.5-Pro", "55.1/25.9/39.1/9.9", _O1, _UNKNOWN),
            ("STVG-o1", "60.3/44.1/73.3/43.5", _O1, _UNKNOWN),
            ("ScanFocus", "55.5/41.8/67.5/42.2", _PAPER, _UNKNOWN),
            ("STVG-R1", "56.9/39.1/66.7/38.6", _STVG_R1, "no script released for v1"),
        )
    ),
    "hcstvg-v2": _rows(
        (
            ("TubeDETR", "53.9/36.4/58.8/30.6", _PAPER, "tubedetr"),
            ("VG-DINO", "-/39.9/67.1/34.5", _PAPER, _UNKNOWN),
            ("CG-STVG", "60.0/39.5/64.5/36.3", _PAPER, "cgstvg"),
            ("TA-STVG", "60.4/40.2/65.8/36.7", _PAPER, _UNKNOWN),
            ("SpaceVLLM", "58.0/34.0/56.9/24.7", _PAPER, _UNKNOWN),
            ("Gemini-2.5-Pro", "60.4/24.5/34.6/9.6", _O1, _UNKNOWN),
            ("STVG-o1", "63.8/41.2/68.5/39.6", _O1, _UNKNOWN),
            ("ScanFocus", "62.4/41.7/68.4/39.3", _PAPER, _UNKNOWN),
            ("STVG-R1", "62.0/40.2/67.8/38.8", _STVG_R1, "stvg-r1"),
        )
    ),
    "vidstg-declarative": _rows(
        (
            ("TubeDETR", "48.1/30.4/42.5/28.2", _PAPER, "tubedetr"),
            ("STCAT", "50.8/33.1/46.2/32.6", _PAPER, "stcat"),
            ("VG-DINO", "52.0/34.7/48.1/34.0", _PAPER, _UNKNOWN),
            ("CG-STVG", "51.4/34.0/47.7/33.1", _PAPER, "cgstvg"),
            ("TA-STVG", "51.7/34.4/48.2/33.5", _PAPER, _UNKNOWN),
            ("LLaVA-ST", "45.5/24.8/36.0/22.9", _PAPER, _UNKNOWN),
            ("SpaceVLLM", "47.7/27.4/39.1/26.2", _PAPER, _UNKNOWN),
            ("Gemini-2.5-Pro", "49.9/22.5/33.6/12.0", _O1, _UNKNOWN),
            ("STVG-o1", "52.1/33.5/48.4/32.0", _O1, _UNKNOWN),
            ("ScanFocus", "53.3/36.5/50.6/36.0", _PAPER, _UNKNOWN),
        )
    ),
    "vidstg-interrogative": _rows(
        (
            ("TubeDETR", "46.9/25.7/35.7/23.2", _PAPER, "tubedetr"),
            ("STCAT", "49.7/28.2/39.2/26.6", _PAPER, "stcat"),
            ("VG-DINO", "50.8/29.9/41.0/27.6", _PAPER, _UNKNOWN),
            ("CG-STVG", "49.9/29.0/40.5/27.5", _PAPER, "cgstvg"),
            ("TA-STVG", "50.2/29.5/41.5/28.0", _PAPER, _UNKNOWN),
            ("LLaVA-ST", "43.2/20.0/28.1/17.5", _PAPER, _UNKNOWN),
            ("SpaceVLLM", "48.5/25.4/35.9/22.2", _PAPER, _UNKNOWN),
            ("Gemini-2.5-Pro", "45.4/13.7/17.3/8.1", _O1, _UNKNOWN),
            ("STVG-o1", "50.5/27.9/39.8/26.0", _O1, _UNKNOWN),
            ("ScanFocus", "51.4/30.7/42.5/29.4", _PAPER, _UNKNOWN),
        )
    ),
    "st-align": (
        PublishedRow(
            "LLaVA-ST",
            {"tIoU@0.5": 44.6, "m_tIoU": 43.8, "vIoU@0.5": 21.1, "m_vIoU": 22.8},
            _STVG_R1,
            _UNKNOWN,
        ),
        PublishedRow(
            "STVG-R1",
            {"tIoU@0.5": 43.6, "m_tIoU": 45.1, "vIoU@0.5": 25.9, "m_vIoU": 23.4},
            _STVG_R1,
            _UNKNOWN,
        ),
    ),
    "mevis": (
        PublishedRow("VISA", {"J&F": 43.5}, _STVG_R1, "mevis, valid"),
        PublishedRow("VideoGLaMM", {"J&F": 45.2}, _STVG_R1, "mevis, valid"),
        PublishedRow("STVG-R1", {"J": 44.7, "F": 50.0, "J&F": 47.3}, _STVG_R1, "mevis, valid"),
    ),
    "charades-sta": (
        PublishedRow("LLaVA-ST", {"tIoU@0.3": 63.1, "tIoU@0.5": 44.8}, _TIME_R1, _UNKNOWN),
        PublishedRow("Time-R1", {"tIoU@0.3": 78.1, "tIoU@0.5": 60.8}, _TIME_R1, "time-r1"),
        PublishedRow("STVG-R1", {"tIoU@0.3": 73.2, "tIoU@0.5": 52.5}, _STVG_R1, "time-r1"),
    ),
    "charades-timelens": _timelens(
        ("Qwen2.5-VL-7B", "59.7/37.8/16.6/39.3"),
        ("TimeLens-7B", "70.5/55.6/28.4/48.8"),
        ("Qwen3-VL-8B", "69.2/53.4/27.5/48.3"),
        ("TimeLens-8B", "76.6/63.0/35.2/55.2"),
    ),
    "activitynet-timelens": _timelens(
        ("Qwen2.5-VL-7B", "44.1/31.0/16.1/31.4"),
        ("TimeLens-7B", "62.8/51.0/32.6/46.2"),
        ("Qwen3-VL-8B", "62.1/51.2/34.4/46.8"),
        ("TimeLens-8B", "68.9/58.4/40.6/53.2"),
    ),
    "qvhighlights-timelens": _timelens(
        ("Qwen2.5-VL-7B", "41.5/27.8/15.2/31.6"),
        ("TimeLens-7B", "74.1/62.7/43.1/56.0"),
        ("Qwen3-VL-8B", "74.2/64.6/49.3/59.4"),
        ("TimeLens-8B", "80.2/71.6/55.5/65.5"),
    ),
    "tvgbench": (
        PublishedRow("Time-R1", {"tIoU@0.3": 41.8, "tIoU@0.5": 29.4}, _TIME_R1, "tvgbench"),
        PublishedRow("STVG-R1", {"tIoU@0.3": 42.5, "tIoU@0.5": 27.4}, _STVG_R1, _UNKNOWN),
    ),
}
"""Rows by benchmark name; benchmarks without a checked row are not in it."""


def published_page() -> str:
    """All rows as a page of the documentation."""
    from stvg_r1_hub.evaluation.benchmarks.catalogue import BENCHMARKS

    parts = [
        "# Published figures",
        "Percent. Only rows whose source was looked at; `stvg eval` puts them beside its own. This "
        "page is written by `python -m stvg_r1_hub.evaluation.published`.",
    ]
    for name, rows in PUBLISHED.items():
        metrics = list(dict.fromkeys(metric for row in rows for metric in row.figures))
        head = ["model", *metrics, "source", "protocol"]
        rule = ["---", *["---:"] * len(metrics), "---", "---"]
        table = [
            [row.model, *(f"{row.figures[m]:.1f}" if m in row.figures else "" for m in metrics),
             row.source, row.protocol]
            for row in rows
        ]  # fmt: skip
        lines = ["| " + " | ".join(cells) + " |" for cells in (head, rule, *table)]
        parts.append(f"## {BENCHMARKS[name].title}\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(published_page())
