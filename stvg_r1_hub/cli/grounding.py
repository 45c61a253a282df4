"""`stvg ground`: one video with everything to see, or many with a JSON line each.

Many can be stopped at any moment: the same command goes on with those that have no line yet.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.cli.streams import (
    answer_line,
    check_outputs,
    draw,
    numbered,
    put_json,
    say,
    say_answers,
    say_paths,
    video_of,
)
from stvg_r1_hub.errors import (
    ConfigError,
    MissingPackageError,
    ModelError,
    OutputError,
    QueryError,
    STVGError,
)
from stvg_r1_hub.outputs import (
    PICTURE_SUFFIXES,
    STYLES,
    VIDEO_SUFFIXES,
    LineWriter,
    make_folder,
    replacing,
)
from stvg_r1_hub.progress_bars import ProgressBars

if TYPE_CHECKING:
    from stvg_r1_hub.pipeline import STVGPipeline
    from stvg_r1_hub.result import GroundingResult
    from stvg_r1_hub.structures import Progress
    from stvg_r1_hub.video import VideoSource

RUN_FILE, RESULTS_FILE, FAILED_FILE = "run.json", "results.jsonl", "failed.jsonl"
_DECIDES_NOTHING = {"run", "video", "query", "out", "json", "plot", "keyframes"}
_DECIDES_NOTHING |= {"device", "allow_url", "style"}
"""Options with which a folder of answers may be taken up again."""
_ENDS_ALL = (ModelError, ConfigError, OutputError, MissingPackageError, QueryError)
"""What no other video would mend."""


def ground(options: argparse.Namespace) -> int:
    """Ask one model one or several questions about one video or many."""
    if options.max_objects is not None and options.max_objects < 1:
        raise ConfigError(f"--max-objects must be at least 1, got {options.max_objects}.")
    if options.min_confidence is not None and not 0 <= options.min_confidence <= 1:
        raise ConfigError(f"--min-confidence must be in 0..1, got {options.min_confidence:g}.")
    if options.time_only and options.masks:
        raise ConfigError("Got --time-only and --masks, but a time has no masks; leave one out.")
    if options.max_windows is not None and options.passes == 1:
        raise ConfigError("Got --max-windows without --passes 2 or auto, which ask by window.")
    videos = [options.video]
    if options.query:
        videos, options.queries = [options.video, *options.queries], options.query
    for query in options.queries:
        if os.path.isfile(query):
            raise QueryError(
                f"Got the file {query} where a question belongs; to ask about several videos, "
                "give the question as --query and a folder as --out."
            )
        if options.style and query in STYLES:
            styles = " ".join(f"--style {name}" for name in (*options.style, query))
            raise QueryError(f"Got the question {query!r}; each style has its own word: {styles}.")
    if not options.queries:
        raise QueryError('Got no question; write it after the video, such as "the dog".')
    from stvg_r1_hub.prompting import clean_queries

    clean_queries(options.queries)
    if (
        not options.query
        and len(options.queries) > 1
        and not any(" " in query for query in options.queries)
    ):
        say(
            f"These words are {len(options.queries)} questions; one of several words stands in "
            f'quotes: "{" ".join(options.queries)}".'
        )
    to_video = Path(options.out or "").suffix.lower() in VIDEO_SUFFIXES
    if options.style and not to_video:
        raise ConfigError(
            "--style says how the answer's video is drawn, and none is written; name one as --out, "
            "such as answer.mp4."
        )
    if len(videos) > 1 or (options.query and options.out is not None and not to_video):
        return _ground_all(options, videos)
    return _ground_one(options)


def _ground_one(options: argparse.Namespace) -> int:
    several = len(options.queries) > 1
    outs = numbered(options.out, VIDEO_SUFFIXES, options, several)
    plots = numbered(options.plot, PICTURE_SUFFIXES, options, several)
    strips = numbered(options.keyframes, PICTURE_SUFFIXES, options, several)
    check_outputs(options, *outs, *plots, *strips)
    from stvg_r1_hub.video import PartSource, open_video, plan_for, thin_sample

    opened = open_video(video_of(options), fps=options.fps, allow_url=options.allow_url)
    with opened as source:
        info = PartSource(source, options.start, options.end).info  # Said before a model is loaded.
        with ProgressBars() as progress:
            pipeline = _load(options)
            thin = thin_sample(plan_for(info, pipeline.config.sampling), info)
            say(*thin, *pipeline.warnings)
            results = _ask(pipeline, source, options, progress)
        # Before anything is drawn, which takes its time and may be stopped.
        values = [result.to_dict() for result in results]
        put_json(values if several else values[0], options.json)
        say_answers(results, to_stderr=options.json == "-", printed=(*thin, *pipeline.warnings))
        with ProgressBars() as progress:
            outs = [
                None if out is None else draw(result, out, progress, options.style)
                for result, out in zip(results, outs, strict=True)
            ]
        for result, plot, strip in zip(results, plots, strips, strict=True):
            if plot is not None:
                result.plot(plot)
            if strip is not None:
                result.keyframes(strip)
    say_paths(*outs, *plots, *strips, None if options.json == "-" else options.json)
    return 0


def _ground_all(options: argparse.Namespace, videos: Iterable[str]) -> int:
    """Exit code 1 where a video is set aside."""
    if any(value is not None for value in (options.json, options.plot, options.keyframes)):
        raise ConfigError(
            "--json, --plot and --keyframes are for one video; of several, the answers go into "
            f"{RESULTS_FILE} of the folder that --out names."
        )
    if options.out is None or Path(options.out).suffix.lower() in VIDEO_SUFFIXES:
        raise ConfigError("For the answers about several videos, give a folder as --out.")
    folder = make_folder(options.out)
    _start_or_resume(folder, options)
    failed: list[dict[str, str]] = []
    paths = list(dict.fromkeys(map(_absolute, videos)))
    with ExitStack() as held:
        lines = held.enter_context(LineWriter(folder / RESULTS_FILE))
        held.callback(_write_failed, folder / FAILED_FILE, failed)
        done = _answered(folder / RESULTS_FILE)
        left = [path for path in paths if path not in done]
        if len(left) < len(paths):
            say(f"{len(paths) - len(left)} of {len(paths)} videos are answered already; skipped.")
        pipeline = _load(options) if left else None
        if pipeline is not None:
            say(*pipeline.warnings)
            _answer_each(pipeline, left, options, lines, failed)
    say(
        f"{len(left) - len(failed)} of {len(paths)} answered, {len(paths) - len(left)} skipped, "
        f"{len(failed)} set aside{f' (see {folder / FAILED_FILE})' if failed else ''}"
    )
    say_paths(folder / RESULTS_FILE)
    return 1 if failed else 0


def _answer_each(
    pipeline: STVGPipeline,
    paths: list[str],
    options: argparse.Namespace,
    lines: LineWriter,
    failed: list[dict[str, str]],
) -> None:
    """A line a video; what cannot be asked joins the failed ones."""
    from tqdm import tqdm

    from stvg_r1_hub.video import open_video
    from stvg_r1_hub.vlm.server.refusals import NotTaken

    with tqdm(total=len(paths), desc="videos", unit="video", disable=None) as bar:
        for number, path in enumerate(paths, start=1):
            name = f"[{number}/{len(paths)}] {os.path.basename(path)}"
            try:
                opened = open_video(path, fps=options.fps, allow_url=options.allow_url)
                with opened as source, ProgressBars() as progress:
                    results = _ask(pipeline, source, options, progress)
            except Exception as error:  # A bad video must not end the run; it is listed.
                if isinstance(error, _ENDS_ALL) and not isinstance(error, NotTaken):
                    raise
                reason = " ".join(str(error).split())
                if not isinstance(error, STVGError):
                    reason = f"{type(error).__name__}: {reason}"
                failed.append({"path": path, "error": reason})
                bar.write(f"{name}: set aside: {reason}", file=sys.stderr)
            else:
                lines.write({"path": path, "results": [result.to_dict() for result in results]})
                for result in results:
                    bar.write(f"{name}: {answer_line(result)}", file=sys.stdout)
            bar.update()


def _load(options: argparse.Namespace) -> STVGPipeline:
    from stvg_r1_hub.pipeline import STVGPipeline
    from stvg_r1_hub.vlm.server import ServerVLM

    server = options.server
    return STVGPipeline.from_pretrained(
        options.model or ("zero-shot" if server else "tiny"),
        revision=options.revision,
        tracker=options.tracker,
        classes=options.classes,
        segmenter=options.segmenter,
        device=options.device,
        quantization=options.quantization,
        prompt_id=options.prompt_id,
        vlm=ServerVLM.from_environment(server, input=options.server_input) if server else None,
    )


def _ask(
    pipeline: STVGPipeline, source: VideoSource, options: argparse.Namespace, progress: Progress
) -> list[GroundingResult]:
    results: list[GroundingResult] = pipeline(
        options.queries,
        source,
        start=options.start,
        end=options.end,
        masks=options.masks,
        markers=not options.time_only,
        max_objects=options.max_objects,
        passes=options.passes,
        max_windows=options.max_windows,
        progress=progress,
    )
    if options.min_confidence is not None:
        results = [result.at_least(options.min_confidence) for result in results]
    return results


def _absolute(video: str) -> str:
    """The same for one video from wherever the command is given."""
    return video if "://" in video else os.path.abspath(video)


def _start_or_resume(folder: Path, options: argparse.Namespace) -> None:
    """Write down what is asked, or check that the folder's answers are to the same.

    Raises:
        ConfigError: they are to something else; what differs is said.
    """
    path = folder / RUN_FILE
    now: dict[str, Any] = {
        name: value for name, value in vars(options).items() if name not in _DECIDES_NOTHING
    }
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        return
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot read {path} ({error}); name another --out folder.") from error
    other = [name for name in now if before.get(name) != now[name]]
    if other:
        changes = "; ".join(
            f"{name} was {before.get(name)!r}, is {now[name]!r}" for name in other[:3]
        )
        raise ConfigError(
            f"{folder} holds other answers ({changes}); name another --out folder, or remove this "
            "one to start again."
        )


def _answered(path: Path) -> set[str]:
    with path.open(encoding="utf-8") as file:
        return {json.loads(line)["path"] for line in file}


def _write_failed(path: Path, failed: list[dict[str, str]]) -> None:
    """Those of this run; without any, the file of an earlier run goes."""
    if not failed:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary:
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in failed)
        temporary.write_text(text, encoding="utf-8")
