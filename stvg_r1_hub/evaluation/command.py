"""What `stvg eval` does; heavy modules are loaded when they are needed."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.outputs import check_output

if TYPE_CHECKING:
    from stvg_r1_hub.evaluation.samples import AnnotatedSample, Annotations
    from stvg_r1_hub.pipeline import STVGPipeline

PERSON = "person"
"""The classes of HC-STVG, whose sentences are about one person each."""


def without_benchmark(options: argparse.Namespace) -> int:
    """Compare results folders, or write the report of one again."""
    if options.compare is not None:
        from stvg_r1_hub.evaluation import compare

        runs = compare.load_runs(options.compare)
        rows = compare.compare_runs(runs)
        for line in compare.comparison_table(rows, compare.names_of(runs)):
            print(line)  # noqa: T201
        if options.page is not None:
            _say(f"wrote {compare.write_comparison(runs, rows, options.page)}")
        return 0
    if options.report is not None:
        from stvg_r1_hub.evaluation.report import write_report

        _say(f"wrote {write_report(options.report)}")
        return 0
    from stvg_r1_hub.evaluation.benchmarks.catalogue import BENCHMARKS

    names = ", ".join(BENCHMARKS)
    raise ConfigError(
        f"Name a benchmark ({names}, sprites), or --compare DIR DIR, or --report DIR."
    )


def eval_files(options: argparse.Namespace) -> int:
    """Run a benchmark that is read from its annotation file."""
    from stvg_r1_hub.evaluation.benchmarks.catalogue import read_benchmark

    base = getattr(options, "first_frame_number", 1)
    hub_benchmark = _hub_benchmark(options)
    scored = True
    if getattr(options, "submission", None) is not None and options.annotations is not None:
        folder = options.annotations if options.annotations.is_dir() else options.annotations.parent
        scored = (folder / "mask_dict.json").is_file()
    benchmark, annotations = read_benchmark(
        options.benchmark,
        options.annotations,
        options.videos,
        first_frame_number=base,
        scored=scored,
        strict=options.strict,
    )
    names = (benchmark.name, benchmark.title, benchmark.task)
    return _run(options, *names, annotations, base, hub_benchmark)


def eval_sprites(options: argparse.Namespace) -> int:
    """Run on rendered clips."""
    from stvg_r1_hub.evaluation.benchmarks.sprites import read_sprites
    from stvg_r1_hub.evaluation.samples import Annotations

    if options.true_tracks and (options.tracks is not None or options.tracker != "auto"):
        raise ConfigError(
            "Got --true-tracks with --tracks or --tracker, but a run is about one kind of tracks; "
            "leave one of them out."
        )
    name, title = f"sprites-{options.level}", f"Sprite world, level {options.level}"
    with contextlib.ExitStack() as opened:
        if options.out is None:
            options.out = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            options.figures_only = True
        samples = read_sprites(options.level, options.seed, options.n, options.out / "videos")
        return _run(options, name, title, "tube", Annotations(samples), 1)


def _run(
    options: argparse.Namespace,
    name: str,
    title: str,
    task: str,
    annotations: Annotations,
    base: int,
    hub_benchmark: tuple[str, str] = ("", ""),
) -> int:
    from stvg_r1_hub.evaluation.evaluator import Evaluator
    from stvg_r1_hub.evaluation.report import write_report
    from stvg_r1_hub.evaluation.results import (
        RunSettings,
        digest_of,
        read_outlines,
        save_set_aside,
    )
    from stvg_r1_hub.evaluation.runner import run, this_process
    from stvg_r1_hub.evaluation.summary import summary_of

    _check(options)
    samples = annotations.samples[: options.max_samples]
    process = this_process()
    classes = _classes(options, name)
    pipeline = _pipeline(options, samples[0], classes, process.device)
    if process.rank == 0:
        _say(*pipeline.warnings, *annotations.warnings())
    evaluator = Evaluator(
        pipeline,
        task,
        benchmark=name,
        answers=options.answers,
        tracks=options.tracks,
        true_tracks=_true_tracks(options),
        seed=options.seed,
        passes=options.passes,
        renders=name.startswith("sprites-"),
        submission=getattr(options, "submission", None),
    )
    settings = RunSettings(
        benchmark=name,
        title=title,
        task=task,
        tracks=str(options.tracks or ""),
        classes=classes or pipeline.config.tracking.class_mode,
        annotations_sha256=digest_of(samples),
        first_frame_number=base,
        n_samples=len(samples),
        hub_dataset=hub_benchmark[0],
        hub_task=hub_benchmark[1],
        **_of_model(options, pipeline),
    )
    run(evaluator, samples, settings, options.out, process=process)
    if process.rank == 0:
        save_set_aside(annotations.set_aside, options.out)
        lines = read_outlines(options.out)
        _print_figures(options.json, summary_of(settings, lines, annotations.set_aside), task)
        if not getattr(options, "figures_only", False):
            _say(f"wrote {write_report(options.out)}")
    return 0


def _check(options: argparse.Namespace) -> None:
    if options.json not in (None, "-"):
        check_output(options.json)
    if options.max_samples is not None and options.max_samples < 1:
        raise ConfigError(f"Got --max-samples {options.max_samples}; at least 1 is needed.")
    if options.tracks is not None and not options.tracks.is_dir():
        raise ConfigError(f"There is no folder of prepared tracks {options.tracks}.")


def _pipeline(
    options: argparse.Namespace, first: AnnotatedSample, classes: str | None, device: str | None
) -> STVGPipeline:
    """What is asked: a model of its own, or one on a server with its settings."""
    from stvg_r1_hub.evaluation.benchmarks.sprites import true_tracker
    from stvg_r1_hub.pipeline import STVGPipeline
    from stvg_r1_hub.vlm.server import ServerVLM

    url = options.server
    options.model = options.model or ("zero-shot" if url else "tiny")
    return STVGPipeline.from_pretrained(
        options.model,
        revision=options.revision,
        vlm=ServerVLM.from_environment(url, input=options.server_input) if url else None,
        tracker=true_tracker(first) if _true_tracks(options) else options.tracker,
        classes=classes,
        device=device or options.device,
    )


def _true_tracks(options: argparse.Namespace) -> bool:
    return getattr(options, "true_tracks", False)


def _classes(options: argparse.Namespace, name: str) -> str | None:
    """The classes that are tracked; None leaves it to the model's settings."""
    tracks_are_given = _true_tracks(options) or options.tracks is not None
    if options.classes is not None and tracks_are_given:
        raise ConfigError(
            f"Got --classes {options.classes} with tracks that are given, of which all objects "
            "are used; leave one of them out."
        )
    is_hcstvg = name.startswith("hcstvg") and not tracks_are_given
    chosen: str | None = options.classes
    return chosen or (PERSON if is_hcstvg else None)


def _of_model(options: argparse.Namespace, pipeline: STVGPipeline) -> dict[str, Any]:
    """What `RunSettings` says of the model, and of how it is asked."""
    from stvg_r1_hub import hub
    from stvg_r1_hub.vlm.server import ServerVLM

    access = hub.HubAccess(revision=options.revision)
    folder = hub.resolve(options.model, access, weights=options.server is None)
    name, vlm = str(options.model), pipeline.vlm
    if isinstance(vlm, ServerVLM):
        name = f"{vlm.served_model or 'a model'} on a server, asked as {name}, by {vlm.input}"
    return {
        "model": name,
        "model_fingerprint": hub.fingerprint(folder, pipeline.config),
        "tracker": options.tracker if options.tracker != "auto" else pipeline.tracker.name,
        "answers": options.answers,
        "seed": options.seed,
        "passes": str(options.passes),
    }


def _hub_benchmark(options: argparse.Namespace) -> tuple[str, str]:
    """Dataset and task that `--hub-dataset` names; both empty without it."""
    text = options.hub_dataset
    if text is None:
        return "", ""
    found = re.fullmatch(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?", text)
    if found is None:
        raise ConfigError(f"Got --hub-dataset {text!r}; write OWNER/NAME or OWNER/NAME:TASK.")
    if options.max_samples is not None:
        raise ConfigError(
            "Got --hub-dataset and --max-samples, but the Hub shows figures of whole benchmarks; "
            "leave one of them out."
        )
    return found[1], found[2] or "default"


def _print_figures(target: str | None, summary: dict[str, Any], task: str) -> None:
    """Every protocol's figures on stdout, a line each; as JSON too when asked for."""
    from stvg_r1_hub.evaluation.summary import shown_names
    from stvg_r1_hub.result import write_json

    if target is not None:
        text = write_json(summary, None if target == "-" else target)
        if target == "-":
            sys.stdout.write(text)
            return
    names = shown_names(summary, task)
    rows = [f"{'protocol':<10}{'n':>6}" + "".join(f"{name:>14}" for name in names)]
    for protocol, figures in summary["protocols"].items():
        cells = (f"{figures[name]:.4f}" if name in figures else "" for name in names)
        rows.append(f"{protocol:<10}{figures['n']:>6}" + "".join(f"{cell:>14}" for cell in cells))
    rows += [f"{name:<24}{value:.4f}" for name, value in summary["oracles"].items()]
    if summary["n_failed"]:
        rows.append(f"{summary['n_failed']} of {summary['n']} samples failed.")
    sys.stdout.write("\n".join(rows) + "\n")


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)  # noqa: T201
