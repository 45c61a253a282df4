"""Published figures to stand beside ours; only rows whose source was looked at.

Percent. Sources: a copy of the paper named, or the repository of that work. Where a repository and
its paper disagree, or where a figure seems to belong to another table, it is left out:
the STVG-R1 paper gives other HC-STVG v2 figures (61.3 / 40.8 / 67.9 / 38.8, second-hand) than its
repository, and the repository's ST-Align vIoU@0.3 of 60.3 appears to be of spatial grounding alone.
"""

from __future__ import annotations

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
_UNKNOWN = "not stated"


def _tube(figures: str) -> dict[str, float]:
    """`m_tIoU/m_vIoU/vIoU@0.3/vIoU@0.5`; a dash leaves one out."""
    names = ("m_tIoU", "m_vIoU", "vIoU@0.3", "vIoU@0.5")
    pairs = zip(names, figures.split("/"), strict=True)
    return {name: float(text) for name, text in pairs if text != "-"}


def _rows(table: tuple[tuple[str, str, str, str], ...]) -> tuple[PublishedRow, ...]:
    return tuple(PublishedRow(model, _tube(f), source, how) for model, f, source, how in table)


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
    "tvgbench": (
        PublishedRow("Time-R1", {"tIoU@0.3": 41.8, "tIoU@0.5": 29.4}, _TIME_R1, "tvgbench"),
        PublishedRow("STVG-R1", {"tIoU@0.3": 42.5, "tIoU@0.5": 27.4}, _STVG_R1, _UNKNOWN),
    ),
}
"""Rows by benchmark name; benchmarks without a checked row are not in it."""
