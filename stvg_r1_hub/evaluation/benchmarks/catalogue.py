"""The benchmarks by name: what they ask, how they are read, where they come from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import AnnotationError, ConfigError
from stvg_r1_hub.evaluation.benchmarks import (
    anyground,
    hcstvg,
    mevis,
    stalign,
    temporal,
    vidstg,
    vstar,
)
from stvg_r1_hub.evaluation.samples import Annotations


@dataclass(frozen=True)
class Benchmark:
    """One annotated benchmark."""

    name: str
    title: str
    task: str
    """`"tube"` (when and where), `"time"` (when) or `"mask"` (which pixels)."""
    read: Callable[..., Annotations]
    """Annotation file or folder, and videos -> samples; takes `strict`."""
    source: str
    """Where to get it, and under which terms."""


_READERS: tuple[tuple[str, str, str, Callable[..., Annotations], str, dict[str, Any]], ...] = (
    ("hcstvg-v1", "HC-STVG v1", "tube", hcstvg.read_hcstvg, hcstvg.SOURCE, {"version": 1}),
    ("hcstvg-v2", "HC-STVG v2", "tube", hcstvg.read_hcstvg, hcstvg.SOURCE, {"version": 2}),
    ("vidstg", "VidSTG", "tube", vidstg.read_vidstg, vidstg.SOURCE, {}),
    *(
        (f"vidstg-{q}", f"VidSTG, {q}", "tube", vidstg.read_vidstg, vidstg.SOURCE, {"qtype": q})
        for q in vidstg.QTYPES
    ),
    ("st-align", "ST-Align STVG", "tube", stalign.read_stalign, stalign.SOURCE, {}),
    ("v-star", "V-STaR", "tube", vstar.read_vstar, vstar.SOURCE, {}),
    ("anygroundbench", "AnyGroundBench", "tube", anyground.read_anyground, anyground.SOURCE, {}),
    ("mevis", "MeViS", "mask", mevis.read_mevis, mevis.SOURCE, {"version": 1}),
    ("mevis-v2", "MeViS v2", "mask", mevis.read_mevis, mevis.SOURCE_V2, {"version": 2}),
    ("charades-sta", "Charades-STA", "time", temporal.read_charades, temporal.CHARADES_SOURCE, {}),
    *(
        (f"{name.lower()}-timelens", f"{name}-TimeLens", "time", temporal.read_timelens,
         temporal.TIMELENS_SOURCE, {})
        for name in ("Charades", "ActivityNet", "QVHighlights")
    ),
    ("qvhighlights", "QVHighlights", "time", temporal.read_qvhighlights,
     temporal.QVHIGHLIGHTS_SOURCE, {}),
    ("tvgbench", "TVGBench", "time", temporal.read_tvgbench, temporal.TVGBENCH_SOURCE, {}),
)  # fmt: skip
BENCHMARKS = {
    name: Benchmark(name, title, task, functools.partial(read, **own), source)
    for name, title, task, read, source, own in _READERS
}
"""Benchmarks that are read from files, by name; sprite world is apart, see `sprites`."""


def read_benchmark(
    name: str,
    annotations: Path | None,
    videos: Path | None,
    *,
    first_frame_number: int = 1,
    scored: bool = True,
    strict: bool = False,
) -> tuple[Benchmark, Annotations]:
    """A benchmark, its samples, and what of its files is set aside.

    Args:
        name: one of `BENCHMARKS`.
        annotations: its annotation file, or the split's folder for MeViS.
        videos: folder of its videos.
        first_frame_number: see `hcstvg.read_hcstvg`; for HC-STVG only.
        scored: False for MeViS splits whose masks are not public; they can only be submitted.
        strict: refuse a file for its first wrong record or box.

    Raises:
        ConfigError: an unknown benchmark, or paths that are not given.
        AnnotationError: files that are missing or of another layout, or, if strict, wrong; what
            and where is said.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"Got benchmark {name!r}; known are {', '.join(BENCHMARKS)} and sprites.")
    benchmark = BENCHMARKS[name]
    if annotations is None or videos is None:
        raise ConfigError(
            f"{benchmark.title} needs --annotations FILE and --videos FOLDER. {benchmark.source}"
        )
    if not videos.is_dir():
        raise AnnotationError(f"There is no folder of videos {videos}. {benchmark.source}")
    options: dict[str, object] = {"strict": strict}
    if name.startswith("hcstvg"):
        options["first_frame_number"] = first_frame_number
    if name.startswith("mevis"):
        options["with_masks"] = scored
    return benchmark, benchmark.read(annotations, videos, **options)
