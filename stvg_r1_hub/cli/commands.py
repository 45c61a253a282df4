"""What each command of `stvg` does: options in, an exit code out; `cli` reads the options."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.errors import ConfigError, OutputError, VideoError
from stvg_r1_hub.examples import FOLDER, find_example
from stvg_r1_hub.outputs import PICTURE_SUFFIXES, VIDEO_SUFFIXES, check_output, make_folder
from stvg_r1_hub.progress_bars import ProgressBars

if TYPE_CHECKING:
    from stvg_r1_hub.result import GroundingResult
    from stvg_r1_hub.structures import Look, Progress
    from stvg_r1_hub.tracking import Tracker

COCO_TRACKERS = ("coco", "rtdetr", "yolo")
"""Trackers, by their names, whose detectors know the classes of COCO alone."""
DEMOS = {"emoji": "demo", "street": "street"}
"""What the files of `stvg demo` begin with, and the example that they show."""
MAX_PIPED_BYTES = 1024**3
MOST_REASONING = 300
"""Characters of the model's reasoning that the terminal shows."""


def ground(options: argparse.Namespace) -> int:
    """Ask one model one or several questions about a video."""
    if options.max_objects is not None and options.max_objects < 1:
        raise ConfigError(f"--max-objects must be at least 1, got {options.max_objects}.")
    if options.min_confidence is not None and not 0 <= options.min_confidence <= 1:
        raise ConfigError(f"--min-confidence must be in 0..1, got {options.min_confidence:g}.")
    if options.time_only and options.masks:
        raise ConfigError("Got --time-only and --masks, but a time has no masks; leave one out.")
    several = len(options.queries) > 1
    outs = _numbered(options.out, VIDEO_SUFFIXES, options, several)
    plots = _numbered(options.plot, PICTURE_SUFFIXES, options, several)
    strips = _numbered(options.keyframes, PICTURE_SUFFIXES, options, several)
    _check_outputs(options, *outs, *plots, *strips)
    from stvg_r1_hub.pipeline import STVGPipeline
    from stvg_r1_hub.prompting import clean_queries
    from stvg_r1_hub.video import open_video, plan_for, thin_sample
    from stvg_r1_hub.vlm.server import ServerVLM

    clean_queries(options.queries)
    opened = open_video(_video(options), fps=options.fps, allow_url=options.allow_url)
    with opened as source, ProgressBars() as progress:
        pipeline = STVGPipeline.from_pretrained(
            options.model or ("zero-shot" if options.server else "tiny"),
            revision=options.revision,
            tracker=options.tracker,
            classes=options.classes,
            segmenter=options.segmenter,
            device=options.device,
            quantization=options.quantization,
            prompt_id=options.prompt_id,
            vlm=ServerVLM.from_environment(options.server, input=options.server_input)
            if options.server
            else None,
        )
        thin = thin_sample(plan_for(source.info, pipeline.config.sampling), source.info)
        _say(*thin, *pipeline.warnings)
        results = pipeline(
            options.queries,
            source,
            masks=options.masks,
            markers=not options.time_only,
            max_objects=options.max_objects,
            passes=options.passes,
            max_windows=options.max_windows,
            progress=progress,
        )
        if options.min_confidence is not None:
            results = [result.at_least(options.min_confidence) for result in results]
        outs = [
            None if out is None else _draw(result, out, progress)
            for result, out in zip(results, outs, strict=True)
        ]
        for result, plot, strip in zip(results, plots, strips, strict=True):
            if plot is not None:
                result.plot(plot)
            if strip is not None:
                result.keyframes(strip)
    values = [result.to_dict() for result in results]
    _write_json(values if several else values[0], options.json)
    _say_answers(results, to_stderr=options.json == "-", printed=(*thin, *pipeline.warnings))
    _say_paths(*outs, *plots, *strips, None if options.json == "-" else options.json)
    return 0


def track(options: argparse.Namespace) -> int:
    """Find and number all objects of a video."""
    (out,) = _numbered(options.out, VIDEO_SUFFIXES, options, several=False)
    _check_outputs(options, out)
    from stvg_r1_hub.reading import track_video
    from stvg_r1_hub.result import save_tracks_video
    from stvg_r1_hub.tracking import OpenVocabularyTracker, save_tracks, tracks_to_dict
    from stvg_r1_hub.video import open_video

    opened = open_video(_video(options), fps=options.fps, allow_url=options.allow_url)
    with opened as source, ProgressBars() as progress:
        tracker, messages = _tracker(options)
        _say(*messages)
        if options.query and not isinstance(tracker, OpenVocabularyTracker):
            _say(
                "--query is not used: this tracker finds all objects of its classes; open, "
                "yolo-world and yoloe look for what is named."
            )
        tracks = track_video(source, tracker, query=options.query, progress=progress)
        if out is not None:
            save_tracks_video(out, source, tracks, progress=progress)
        _say(*source.warnings, *tracks.warnings)
    if not len(tracks) and tracks.tracker in COCO_TRACKERS:
        _say(
            "This detector knows the 80 everyday classes of COCO: --tracker open with --query "
            "looks for anything else."
        )
    if options.json == "-":
        _write_json(tracks_to_dict(tracks), "-")
    elif options.json is not None:
        save_tracks(tracks, options.json)
    _print_lines(
        [f"{len(tracks)} objects"]
        + [
            f"  {track.object_id} {track.class_name}, {len(track.frame_indices)} frames from "
            f"{tracks.frame_times[track.frame_indices[0]]:.2f} s"
            for track in tracks.tracks
        ],
        to_stderr=options.json == "-",
    )
    _say_paths(out, None if options.json == "-" else options.json)
    return 0


def _tracker(options: argparse.Namespace) -> tuple[Tracker, tuple[str, ...]]:
    """What `track` runs, and what is to be said about it."""
    from stvg_r1_hub.config import TrackingConfig
    from stvg_r1_hub.device import pick_device
    from stvg_r1_hub.hub import load_bundle
    from stvg_r1_hub.segmentation import load_segmenter
    from stvg_r1_hub.tracking import load_tracker

    device = pick_device(options.device)
    model = load_bundle(options.model or "tiny", weights=False)
    config = model.config.tracking
    if options.model is None:
        # As the default model of `ground` tracks, but every object, also those beyond the few
        # that it can read; and on a GPU with the better detector that "auto" takes there.
        own = "auto" if device.startswith("cuda") else config.detector
        config = TrackingConfig(detector=own)
    tracker, choice = load_tracker(
        options.tracker,
        config=config.of_classes(options.classes),
        bundle=model.detector_home,
        device=device,
        segmenter=partial(load_segmenter, options.segmenter, device=device),
    )
    return tracker, (*model.warnings, choice)


def demo(options: argparse.Namespace) -> int:
    """Ground two bundled clips with the bundled model, and write everything there is to see."""
    folder = make_folder(options.out)
    examples = {label: find_example(name) for label, name in DEMOS.items()}
    ends = ("overlay.mp4", "keyframes.png", "timeline.png", "result.json")
    files = {label: [check_output(folder / f"{label}-{end}") for end in ends] for label in DEMOS}
    from stvg_r1_hub.pipeline import STVGPipeline

    bundled = FOLDER.parent / "tiny"
    with ProgressBars() as progress:
        pipeline = STVGPipeline.from_pretrained(bundled, local_files_only=True)
        _say(*pipeline.warnings)
        for label, example in examples.items():
            overlay, strip, timeline, values = files[label]
            _say(f'Asking: "{example.query}" of {example.clip}')
            result = pipeline(example.query, example.clip, progress=progress)
            drawn = _draw(result, overlay, progress)
            result.keyframes(strip)
            result.plot(timeline)
            result.to_json(values)
            _say_answers([result], to_stderr=False)
            written = {"Video": drawn, "Picture": strip, "Timeline": timeline, "JSON": values}
            _print_lines(
                [f"{kind + ':':<10}{path}" for kind, path in written.items() if path],
                to_stderr=False,
            )
    return 0


def app(options: argparse.Namespace) -> int:
    """Serve the page until it is stopped."""
    if options.max_seconds is not None and not options.max_seconds > 0:
        raise ConfigError(f"--max-seconds must be above 0, got {options.max_seconds}.")
    from stvg_r1_hub.web import launch

    launch(
        options.model,
        device=options.device,
        host=options.host,
        port=options.port,
        open_browser=options.open,
        mcp=options.mcp,
        max_seconds=options.max_seconds,
    )
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Print what is installed; exit code 1 where something is amiss."""
    if options.server is not None:
        from stvg_r1_hub.cli.server_check import check_server

        able = False
        for name, text, reads in check_server(options.server, options.model):
            _print_lines([f"{name:<10}{text}"], to_stderr=False)
            able |= reads
        return 0 if able else 1
    from stvg_r1_hub.cli.doctor import report

    lines, healthy = report()
    _print_lines(lines, to_stderr=False)
    return 0 if healthy else 1


def _video(options: argparse.Namespace) -> str | bytes:
    """The video as it was named; `-` is what is piped in."""
    name: str = options.video
    if name != "-" or os.path.lexists(name):
        return name
    if sys.stdin.isatty():
        raise VideoError("Got - as video, but nothing is piped in; name a video file.")
    content = sys.stdin.buffer.read(MAX_PIPED_BYTES + 1)
    if len(content) > MAX_PIPED_BYTES:
        raise VideoError("Got more than 1 GiB on standard input; name the video file instead.")
    return content


def _numbered(
    path: str | None, suffixes: tuple[str, ...], options: argparse.Namespace, several: bool
) -> list[Path | None]:
    """One checked path a query; with several queries `out.mp4` becomes `out-1.mp4`, ..."""
    queries = getattr(options, "queries", [""])
    if path is None:
        return [None] * len(queries)
    base = Path(path)
    names = [
        base.with_name(f"{base.stem}-{i}{base.suffix}") if several else base
        for i in range(1, len(queries) + 1)
    ]
    for name in names:
        check_output(name, suffixes)
    return list(names)


def _check_outputs(options: argparse.Namespace, *paths: Path | None) -> None:
    """The JSON can be written, no two results share a file, and none replaces the video."""
    names = [name for name in paths if name is not None]
    if options.json not in (None, "-"):
        names.append(check_output(options.json))
    video = getattr(options, "video", "")
    for i, name in enumerate(names):
        if name.exists() and os.path.exists(video) and name.samefile(video):
            raise OutputError(f"{name} is the video itself; write the result somewhere else.")
        if any(os.path.realpath(name) == os.path.realpath(other) for other in names[:i]):
            raise OutputError(f"{name} is named for two results; give each its own file.")


def _write_json(values: Any, path: str | None) -> None:
    if path is None:
        return
    from stvg_r1_hub.result import write_json

    text = write_json(values, None if path == "-" else path)
    if path == "-":
        sys.stdout.write(text)


def _draw(result: GroundingResult, path: Path, progress: Progress) -> Path | None:
    """Draw an answer; a video without one is not drawn, and that is said."""
    if result.found:
        result.save_video(path, progress=progress)
        return path
    old = "; the file of this name is older" if path.exists() else ""
    _say(f'"{result.query}" was not found, so {path} is not written{old}.')
    return None


def _say_answers(
    results: Sequence[GroundingResult], *, to_stderr: bool, printed: Sequence[str] = ()
) -> None:
    """A line an answer, then every warning once, with its queries unless all answers have it."""
    for result in results:
        _print_lines([_answer_line(result)], to_stderr=to_stderr)
        _say(*(f"  {_look_line(look)}" for look in result.looks if look.object_ids))
        if result.reasoning:
            _say(f"  {textwrap.shorten(result.reasoning, MOST_REASONING)}")
        for other in result.alternatives:
            _say(
                f"  or object {other.object_id}, {other.start_seconds:.2f} s to "
                f"{other.end_seconds:.2f} s, confidence {other.confidence:.2f}"
            )
    for warning in dict.fromkeys(w for result in results for w in result.warnings):
        about = [f'"{result.query}"' for result in results if warning in result.warnings]
        if warning not in printed:
            _say(warning if len(about) == len(results) else f"{', '.join(about)}: {warning}")


def _answer_line(result: GroundingResult) -> str:
    if not result.found:
        return f'"{result.query}": not found'
    ids = ", ".join(map(str, result.object_ids))
    noun = "object" if len(result.object_ids) == 1 else "objects"
    times = ", ".join(f"{start:.2f} s to {end:.2f} s" for start, end in result.ranges)
    sure = "" if result.confidence is None else f", confidence {result.confidence:.2f}"
    if not ids:
        return f'"{result.query}": {times}{sure}'
    return f'"{result.query}": {noun} {ids}, {times}, {len(result.boxes)} boxes{sure}'


def _look_line(look: Look) -> str:
    ids = ", ".join(map(str, look.object_ids))
    return (
        f"look at {look.start_seconds:.2f} s to {look.end_seconds:.2f} s ({look.kind}): "
        f"object {ids}, {look.outcome}"
    )


def _print_lines(lines: Sequence[str], *, to_stderr: bool) -> None:
    stream = sys.stderr if to_stderr else sys.stdout
    for line in filter(None, lines):
        print(line, file=stream)


def _say(*lines: str) -> None:
    _print_lines(lines, to_stderr=True)


def _say_paths(*paths: Path | str | None) -> None:
    _say(*(f"wrote {path}" for path in paths if path is not None))
