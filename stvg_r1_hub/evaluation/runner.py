"""Runs a benchmark: asks about every sample, writes a line each, in one process or many.

Started with `accelerate launch`, every process takes its share of the videos; the first one waits
for the others and writes the report. A sample that crashes scores 0 and is listed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.errors import Cancelled, OutputError, STVGError
from stvg_r1_hub.evaluation.asking import Asker, OpenClip, group_by_video
from stvg_r1_hub.evaluation.benchmarks.mevis import save_submission
from stvg_r1_hub.evaluation.benchmarks.sprites import render_missing
from stvg_r1_hub.evaluation.results import (
    Line,
    LineWriter,
    RunSettings,
    honest_values,
    line_of,
    merge_lines,
    read_lines,
    start_or_resume,
)
from stvg_r1_hub.evaluation.samples import AnnotatedSample


@dataclass(frozen=True)
class Process:
    """This process among those of `accelerate launch`."""

    rank: int = 0
    count: int = 1
    device: str | None = None
    """Its own device; None when it is alone and may choose."""
    state: Any = None

    def wait_for_all(self) -> None:
        """Return when every process has called this."""
        if self.state is not None:
            self.state.wait_for_everyone()


def this_process() -> Process:
    """What `accelerate launch` says about this process; alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return Process()
    import torch
    from accelerate import PartialState

    # Without cpu=True each process of a machine without a GPU believes that it is alone.
    # A share of a large benchmark may take days longer than another one.
    on_cpu = not torch.accelerator.is_available()
    state = PartialState(cpu=on_cpu, timeout=timedelta(days=14))
    return Process(state.process_index, state.num_processes, str(state.device), state)


def run(
    asker: Asker,
    samples: Sequence[AnnotatedSample],
    settings: RunSettings,
    out: Path,
    *,
    process: Process | None = None,
) -> list[Line]:
    """Ask about all samples that are not answered yet.

    Args:
        asker: the model.
        samples: all samples of the benchmark.
        settings: what decides the results; must equal those of the folder when it has some.
        out: results folder.
        process: this one among several.

    Returns:
        The lines of all samples in the benchmark's order; of several processes only the first
        gets them, the others an empty list.

    Raises:
        ConfigError: the folder holds another run.
        OutputError: it cannot be written.
    """
    process = process or Process()
    if process.rank == 0:
        start_or_resume(settings, out)
    process.wait_for_all()
    if process.rank != 0:
        start_or_resume(settings, out)
    done = read_lines(out)
    process.wait_for_all()
    groups = group_by_video(samples)[process.rank :: process.count]
    writer = LineWriter(out, process.rank, process.count)
    try:
        with _Bar(groups, done, settings.task, process) as bar:
            for group in groups:
                pending = [sample for sample in group if sample.sample_id not in done]
                if pending:
                    _run_group(asker, group, pending, writer, bar)
    finally:
        writer.close()
    process.wait_for_all()
    if process.rank != 0:
        return []
    return merge_lines(out, [sample.sample_id for sample in samples])


def _run_group(
    asker: Asker,
    group: list[AnnotatedSample],
    samples: list[AnnotatedSample],
    writer: LineWriter,
    bar: _Bar,
) -> None:
    """The open samples of one clip: it is opened once; a failure is every sample's that is left."""
    left = list(samples)
    try:
        if asker.renders:
            render_missing(samples)
        with asker.open(samples[0], queries=[sample.query for sample in group]) as clip:
            for sample in samples:
                line = _ask(asker, clip, sample)
                left.remove(sample)
                writer.write(line)
                bar.add(line)
    except (Cancelled, OutputError):
        raise
    except Exception as error:  # a bad clip must not end the run; it is listed
        for sample in left:
            line = _failed(asker, sample, error)
            writer.write(line)
            bar.add(line)


def _ask(asker: Asker, clip: OpenClip, sample: AnnotatedSample) -> Line:
    try:
        reply = clip.ask(sample)
    except Cancelled:
        raise
    except Exception as error:  # as above
        return _failed(asker, sample, error)
    if asker.submission is not None:
        save_submission(sample, reply.prediction.masks or {}, asker.submission)
    return line_of(sample, asker.task, reply, seed=asker.seed)


def _failed(asker: Asker, sample: AnnotatedSample, error: Exception) -> Line:
    """The line of a sample that could not be asked; a submission needs its empty masks."""
    if asker.submission is not None and sample.video.is_dir():
        save_submission(sample, {}, asker.submission)
    return line_of(sample, asker.task, None, seed=asker.seed, error=_said(error))


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, STVGError) else f"{type(error).__name__}: {text}"


class _Bar:
    """Progress with running means of our protocol; silent when stderr is no terminal."""

    def __init__(
        self,
        groups: Sequence[Sequence[AnnotatedSample]],
        done: dict[str, Line],
        task: str,
        process: Process,
    ) -> None:
        own = [sample.sample_id for group in groups for sample in group]
        self._total = len(own)
        self._lines = [done[sample_id] for sample_id in own if sample_id in done]
        self._names = ("tiou", "viou") if task == "tube" else ("j&f",)
        self._names = ("tiou",) if task == "time" else self._names
        self._process = process
        self._bar: Any = None

    def __enter__(self) -> _Bar:
        from tqdm import tqdm

        several = self._process.count > 1
        self._bar = tqdm(
            total=self._total,
            initial=len(self._lines),
            desc=f"eval {self._process.rank}" if several else "eval",
            unit="sample",
            position=self._process.rank,
            disable=None,
            file=sys.stderr,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, line: Line) -> None:
        """Count one more sample."""
        self._lines.append(line)
        means = {}
        for name in self._names:
            values = honest_values(self._lines, name)
            means[name] = f"{np.mean(values or [0.0]):.3f}"
        failed = sum(one["error"] is not None for one in self._lines)
        self._bar.set_postfix(means | ({"failed": failed} if failed else {}), refresh=False)
        self._bar.update(1)
