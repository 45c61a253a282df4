"""The benchmarks by name: what they ask, how they are read, where they come from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stvg_r1_hub.errors import AnnotationError, ConfigError
from stvg_r1_hub.evaluation.benchmarks import hcstvg, mevis, stalign, temporal, vidstg
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


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("hcstvg-v1", "HC-STVG v1", "tube", hcstvg.read_hcstvg, hcstvg.SOURCE),
        Benchmark("hcstvg-v2", "HC-STVG v2", "tube", hcstvg.read_hcstvg, hcstvg.SOURCE),
        Benchmark("vidstg", "VidSTG", "tube", vidstg.read_vidstg, vidstg.SOURCE),
        Benchmark(
            "vidstg-declarative",
            "VidSTG, declarative",
            "tube",
            functools.partial(vidstg.read_vidstg, qtype="declarative"),
            vidstg.SOURCE,
        ),
        Benchmark(
            "vidstg-interrogative",
            "VidSTG, interrogative",
            "tube",
            functools.partial(vidstg.read_vidstg, qtype="interrogative"),
            vidstg.SOURCE,
        ),
        Benchmark("st-align", "ST-Align STVG", "tube", stalign.read_stalign, stalign.SOURCE),
        Benchmark("mevis", "MeViS", "mask", mevis.read_mevis, mevis.SOURCE),
        Benchmark(
            "charades-sta",
            "Charades-STA",
            "time",
            temporal.read_charades,
            temporal.CHARADES_SOURCE,
        ),
        Benchmark("tvgbench", "TVGBench", "time", temporal.read_tvgbench, temporal.TVGBENCH_SOURCE),
    )
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
    if benchmark.read is hcstvg.read_hcstvg:
        options["first_frame_number"] = first_frame_number
    if name == "mevis":
        options["with_masks"] = scored
    return benchmark, benchmark.read(annotations, videos, **options)
