"""Files that appear whole or not at all: checked before the work, written aside, then renamed.

A file of JSON lines grows by whole lines.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from stvg_r1_hub.errors import OutputError

VIDEO_SUFFIXES = (".mp4", ".gif")
"""Endings of a video that we write."""
PICTURE_SUFFIXES = (".png",)
"""Endings of a picture that we write."""
STYLES = {
    "trails": {"trails": True},
    "blur": {"blur": True},
    "plain": {"boxes": False},
    "moment": {"only_moment": True},
}
"""Ways to draw an answer, by name, as options of `GroundingResult.save_video`."""


def styled(names: Iterable[str]) -> dict[str, bool]:
    """The options of `STYLES` together."""
    return {option: value for name in names for option, value in STYLES[name].items()}


def check_output(path: str | Path, suffixes: tuple[str, ...] = ()) -> Path:
    """The path, when a file can be written there.

    Args:
        path: where a result shall go; an existing file will be replaced.
        suffixes: allowed endings in lower case, such as `VIDEO_SUFFIXES`; empty allows any.

    Raises:
        OutputError: a directory, an ending that is not allowed, or a folder that is not writable
            or, when missing, cannot be made; `replacing` makes it.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise OutputError(
            f"Cannot write {path}: its ending is {path.suffix or 'missing'}, "
            f"use {' or '.join(suffixes)}."
        )
    if path.is_dir():
        raise OutputError(f"Cannot write {path}: it is a directory; name a file.")
    folder = next(above for above in Path(os.path.abspath(path)).parents if above.exists())
    if not folder.is_dir():
        raise OutputError(f"Cannot write {path}: {folder} is a file; name a folder.")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"Cannot write {path}: no permission to write into {folder}.")
    return path


def make_folder(path: str | Path) -> Path:
    """The folder, created when missing.

    Raises:
        OutputError: it cannot be created or written into.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot create the folder {path}: {error.strerror}.") from error
    if not os.access(path, os.W_OK):
        raise OutputError(f"Cannot write into the folder {path}: no permission.")
    return path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    It is absolute, because FFmpeg takes what stands before a colon for a protocol (12:30.mp4). A
    missing folder is made.

    Raises:
        OutputError: the file cannot be written, for example because the disk is full.
    """
    target = Path(os.path.abspath(path))
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    make_folder(target.parent)
    try:
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


class LineWriter:
    """Appends JSON lines to a file; each is on the disk before the next is asked for.

    Use as a context manager. Meanwhile a file beside it keeps other writers out.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, after taking off a line that was cut by a kill.

        Raises:
            OutputError: another process writes it.
        """
        from filelock import FileLock, Timeout

        self._path = path
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(
                f"Another run is writing {path} right now; wait for it, or name another folder."
            ) from None
        _cut_unfinished_line(path)
        self._file: TextIO = path.open("a", encoding="utf-8")

    def __enter__(self) -> LineWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.release()

    def write(self, line: dict[str, Any]) -> None:
        """Add one line.

        Raises:
            OutputError: the disk is full.
        """
        try:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"Cannot write {self._path}: {error.strerror}.") from error


def _cut_unfinished_line(path: Path, block: int = 1 << 16) -> None:
    if not path.is_file():
        return
    with path.open("rb+") as file:
        stop = file.seek(0, os.SEEK_END)
        while stop:
            start = max(0, stop - block)
            file.seek(start)
            end_of_line = file.read(stop - start).rfind(b"\n")
            if end_of_line >= 0:
                file.truncate(start + end_of_line + 1)
                return
            stop = start
        file.truncate(0)
