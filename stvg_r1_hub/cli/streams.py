"""What commands read and write: a piped video, a file a question, lines on stdout and stderr."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.errors import OutputError, VideoError
from stvg_r1_hub.outputs import check_output, styled

if TYPE_CHECKING:
    from stvg_r1_hub.result import GroundingResult
    from stvg_r1_hub.structures import Look, Progress

MAX_PIPED_BYTES = 1024**3
MOST_REASONING = 300
"""Characters of the model's reasoning that the terminal shows."""


def video_of(options: argparse.Namespace) -> str | bytes:
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


def numbered(
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


def check_outputs(options: argparse.Namespace, *paths: Path | None) -> None:
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


def put_json(values: Any, path: str | None) -> None:
    """Into a file, or to stdout for `-`."""
    if path is None:
        return
    from stvg_r1_hub.result import write_json

    text = write_json(values, None if path == "-" else path)
    if path == "-":
        sys.stdout.write(text)


def draw(
    result: GroundingResult, path: Path, progress: Progress, style: Collection[str] = ()
) -> Path | None:
    """Draw an answer, in `outputs.STYLES`; a video without one is not drawn, and that is said."""
    if result.found:
        result.save_video(path, progress=progress, **styled(style))
        return path
    old = "; the file of this name is older" if path.exists() else ""
    say(f'"{result.query}" was not found, so {path} is not written{old}.')
    return None


def say_answers(
    results: Sequence[GroundingResult], *, to_stderr: bool, printed: Sequence[str] = ()
) -> None:
    """A line an answer, then every warning once, with its queries unless all answers have it."""
    for result in results:
        print_lines([answer_line(result)], to_stderr=to_stderr)
        say(*(f"  {_look_line(look)}" for look in result.looks if look.object_ids))
        if result.reasoning:
            say(f"  {textwrap.shorten(result.reasoning, MOST_REASONING)}")
        for other in result.alternatives:
            say(
                f"  or object {other.object_id}, {other.start_seconds:.2f} s to "
                f"{other.end_seconds:.2f} s, confidence {other.confidence:.2f}"
            )
    for warning in dict.fromkeys(w for result in results for w in result.warnings):
        about = [f'"{result.query}"' for result in results if warning in result.warnings]
        if warning not in printed:
            say(warning if len(about) == len(results) else f"{', '.join(about)}: {warning}")


def answer_line(result: GroundingResult) -> str:
    """What was found, in one line."""
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


def print_lines(lines: Sequence[str], *, to_stderr: bool) -> None:
    """Each that is not empty."""
    stream = sys.stderr if to_stderr else sys.stdout
    for line in filter(None, lines):
        print(line, file=stream)


def say(*lines: str) -> None:
    """What is no result goes to stderr."""
    print_lines(lines, to_stderr=True)


def say_paths(*paths: Path | str | None) -> None:
    """The files that were written."""
    say(*(f"wrote {path}" for path in paths if path is not None))
