"""What each command of `stvg` but `ground` does: options in, an exit code out."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from stvg_r1_hub.cli.streams import (
    check_outputs,
    draw,
    numbered,
    print_lines,
    put_json,
    say,
    say_answers,
    say_paths,
    video_of,
)
from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.examples import FOLDER, find_example
from stvg_r1_hub.outputs import VIDEO_SUFFIXES, check_output, make_folder
from stvg_r1_hub.progress_bars import ProgressBars

if TYPE_CHECKING:
    from stvg_r1_hub.tracking import Tracker

COCO_TRACKERS = ("coco", "rtdetr", "yolo")
"""Trackers, by their names, whose detectors know the classes of COCO alone."""
DEMOS = {"emoji": "demo", "street": "street"}
"""What the files of `stvg demo` begin with, and the example that they show."""


def track(options: argparse.Namespace) -> int:
    """Find and number all objects of a video."""
    (out,) = numbered(options.out, VIDEO_SUFFIXES, options, several=False)
    check_outputs(options, out)
    from stvg_r1_hub.reading import track_video
    from stvg_r1_hub.result import save_tracks_video
    from stvg_r1_hub.tracking import OpenVocabularyTracker, save_tracks, tracks_to_dict
    from stvg_r1_hub.video import open_video

    opened = open_video(video_of(options), fps=options.fps, allow_url=options.allow_url)
    with opened as source, ProgressBars() as progress:
        tracker, messages = _tracker(options)
        say(*messages)
        if options.query and not isinstance(tracker, OpenVocabularyTracker):
            say(
                "--query is not used: this tracker finds all objects of its classes; open, "
                "yolo-world and yoloe look for what is named."
            )
        tracks = track_video(source, tracker, query=options.query, progress=progress)
        if out is not None:
            save_tracks_video(out, source, tracks, progress=progress)
        say(*source.warnings, *tracks.warnings)
    if not len(tracks) and tracks.tracker in COCO_TRACKERS:
        say(
            "This detector knows the 80 everyday classes of COCO: --tracker open with --query "
            "looks for anything else."
        )
    if options.json == "-":
        put_json(tracks_to_dict(tracks), "-")
    elif options.json is not None:
        save_tracks(tracks, options.json)
    print_lines(
        [f"{len(tracks)} objects"]
        + [
            f"  {track.object_id} {track.class_name}, {len(track.frame_indices)} frames from "
            f"{tracks.frame_times[track.frame_indices[0]]:.2f} s"
            for track in tracks.tracks
        ],
        to_stderr=options.json == "-",
    )
    say_paths(out, None if options.json == "-" else options.json)
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
        say(*pipeline.warnings)
        for label, example in examples.items():
            overlay, strip, timeline, values = files[label]
            say(f'Asking: "{example.query}" of {example.clip}')
            result = pipeline(example.query, example.clip, progress=progress)
            drawn = draw(result, overlay, progress)
            result.keyframes(strip)
            result.plot(timeline)
            result.to_json(values)
            say_answers([result], to_stderr=False)
            written = {"Video": drawn, "Picture": strip, "Timeline": timeline, "JSON": values}
            print_lines(
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
            print_lines([f"{name:<10}{text}"], to_stderr=False)
            able |= reads
        return 0 if able else 1
    from stvg_r1_hub.cli.doctor import report

    lines, healthy = report()
    print_lines(lines, to_stderr=False)
    return 0 if healthy else 1
