"""Runs a benchmark: asks about every sample, writes a line each, in one process or many.

Started with `accelerate launch`, every process takes its share of the videos; the first one waits
for the others and writes the report. A sample that crashes scores 0 and is listed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stvg_r1_hub.errors import Cancelled, OutputError, STVGError
from stvg_r1_hub.evaluation.benchmarks.mevis import save_submission
from stvg_r1_hub.evaluation.benchmarks.sprites import render_missing
from stvg_r1_hub.evaluation.evaluator import Evaluator, OpenClip
from stvg_r1_hub.evaluation.lines import Line, line_of
from stvg_r1_hub.evaluation.results import (
    RunSettings,
    iterate_lines,
    merge_lines,
    own_file,
    start_or_resume,
)
from stvg_r1_hub.evaluation.samples import AnnotatedSample, group_by_video
from stvg_r1_hub.evaluation.summary import SCORE_NAMES
from stvg_r1_hub.outputs import LineWriter


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
    evaluator: Evaluator,
    samples: Sequence[AnnotatedSample],
    settings: RunSettings,
    out: Path,
    *,
    process: Process | None = None,
) -> None:
    """Ask about all samples that are not answered yet; the answers are on the disk then, in order.

    What is held in memory does not grow with the answers.

    Args:
        evaluator: the model.
        samples: all samples of the benchmark.
        settings: what decides the results; must equal those of the folder when it has some.
        out: results folder.
        process: this one among several; the first puts the answers of all together.

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
    groups = group_by_video(samples)[process.rank :: process.count]
    own = {sample.sample_id for group in groups for sample in group}
    with _Bar(len(own), settings.task, process) as bar:
        done = set()
        for line in iterate_lines(out):
            done.add(line["sample_id"])
            if line["sample_id"] in own:
                bar.add(line)
        process.wait_for_all()
        with LineWriter(own_file(out, process.rank, process.count)) as writer:
            for group in groups:
                pending = [sample for sample in group if sample.sample_id not in done]
                for line in lines_of_clip(evaluator, pending, [sample.query for sample in group]):
                    writer.write(line)
                    bar.add(line)
    process.wait_for_all()
    if process.rank == 0:
        merge_lines(out, [sample.sample_id for sample in samples])


def lines_of_clip(
    evaluator: Evaluator, samples: Sequence[AnnotatedSample], queries: Sequence[str]
) -> Iterator[Line]:
    """What comes out for samples of one clip, which is opened once; a failure is a line too.

    Args:
        evaluator: the model.
        samples: the samples to ask about, all of one clip; for none, nothing is opened.
        queries: of all samples of that clip, see `Evaluator.open`.
    """
    if not samples:
        return
    left = list(samples)
    try:
        if evaluator.renders:
            render_missing(samples)
        with evaluator.open(samples[0], queries) as clip:
            for sample in samples:
                line = _ask(evaluator, clip, sample)
                left.remove(sample)
                yield line
    except (Cancelled, OutputError):
        raise
    except Exception as error:  # a bad clip must not end the run; it is listed
        for sample in left:
            yield _failed(evaluator, sample, error)


def _ask(evaluator: Evaluator, clip: OpenClip, sample: AnnotatedSample) -> Line:
    try:
        reply = clip.ask(sample)
    except Cancelled:
        raise
    except Exception as error:  # as above
        return _failed(evaluator, sample, error)
    if evaluator.submission is not None:
        save_submission(sample, reply.prediction.masks or {}, evaluator.submission)
    return line_of(
        sample, evaluator.task, reply, seed=evaluator.seed, benchmark=evaluator.benchmark
    )


def _failed(evaluator: Evaluator, sample: AnnotatedSample, error: Exception) -> Line:
    """The line of a sample that could not be asked; a submission needs its empty masks."""
    if evaluator.submission is not None and sample.video.is_dir():
        save_submission(sample, {}, evaluator.submission)
    message = " ".join(str(error).split()) or "no message"
    if not isinstance(error, STVGError):
        message = f"{type(error).__name__}: {message}"
    return line_of(
        sample,
        evaluator.task,
        None,
        seed=evaluator.seed,
        benchmark=evaluator.benchmark,
        error=message,
    )


class _Bar:
    """Progress with running means of our protocol; silent when stderr is no terminal."""

    def __init__(self, total: int, task: str, process: Process) -> None:
        self._sums = dict.fromkeys(SCORE_NAMES[task].values(), (0.0, 0))
        self._failed = 0
        several = process.count > 1
        self._bar = tqdm(
            total=total,
            desc=f"eval {process.rank}" if several else "eval",
            unit="sample",
            position=process.rank,
            disable=None,
            file=sys.stderr,
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def add(self, line: Line) -> None:
        """Count one more sample."""
        scores = line["scores"]["strict"]
        for name, (total, count) in self._sums.items():
            if name in scores:
                self._sums[name] = total + scores[name], count + 1
        self._failed += line["error"] is not None
        means = {
            name: f"{total / count:.3f}" for name, (total, count) in self._sums.items() if count
        }
        failed = {"failed": self._failed} if self._failed else {}
        self._bar.set_postfix(means | failed, refresh=False)
        self._bar.update(1)
