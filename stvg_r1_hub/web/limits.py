"""What strangers may upload and ask, checked before this process decodes a picture of it.

An upload is first opened in a child process: a file that breaks a decoder ends the child alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from stvg_r1_hub.errors import QueryError, VideoError
from stvg_r1_hub.prompting import clean_queries
from stvg_r1_hub.structures import VideoInfo
from stvg_r1_hub.video.trial import Trials

TRIALS = Trials()


@dataclass(frozen=True)
class Limits:
    """How much one visitor may ask for."""

    max_bytes: int = 200 * 1024**2
    """Size of an uploaded file."""
    max_seconds: float = 180.0
    """Length of a video."""
    max_pixels: int = 4096 * 2304
    """Pixels of one frame."""
    max_queries: int = 8
    """Descriptions asked at once."""
    keep_seconds: int = 3600
    """Uploads and results are deleted when they are older."""


def check_video(path: str | Path | None, limits: Limits) -> VideoInfo:
    """What is known of an upload, when it may be used.

    Raises:
        VideoError: nothing there, too large, too long, not a video that can be read, or one that
            has ended the process it was opened in.
    """
    if path is None:
        raise VideoError("There is no video yet: drop one above, record one, or take an example.")
    try:
        file = Path(path).stat()
    except OSError as error:
        raise VideoError("The uploaded video is gone; upload it again.") from error
    if file.st_size > limits.max_bytes:
        raise VideoError(
            f"The video has {file.st_size / 1024**2:.0f} MB; at most "
            f"{limits.max_bytes / 1024**2:.0f} MB can be uploaded here, so cut it or make it "
            "smaller."
        )
    try:
        info = _tried(str(path), file.st_mtime_ns, file.st_size)
    except VideoError as error:
        # Where the server keeps an upload is nobody's business.
        raise VideoError(str(error).replace(str(path), Path(path).name)) from error
    if info.duration_seconds > limits.max_seconds:
        raise VideoError(
            f"The video is {info.duration_seconds:.0f} s long; at most {limits.max_seconds:.0f} s "
            "are taken here, so cut it first."
        )
    if info.width * info.height > limits.max_pixels:
        raise VideoError(
            f"The video has {info.width} x {info.height} pixels; at most "
            f"{limits.max_pixels / 1e6:.1f} million a frame are taken here, so make it smaller."
        )
    return info


@lru_cache(maxsize=32)
def _tried(path: str, modified_ns: int, size: int) -> VideoInfo:
    """Opened in a child process: when it is uploaded, and not again when it is asked about."""
    return TRIALS.open(path)


def split_queries(text: str | None, limits: Limits) -> list[str]:
    """The descriptions, one a line; empty lines are left out and repeated ones asked once.

    Raises:
        QueryError: none, too many, or one without usable text.
    """
    lines = dict.fromkeys(line.strip() for line in (text or "").splitlines())
    queries = [line for line in lines if line]
    if not queries:
        raise QueryError("Describe what to look for, such as 'the dog jumping'.")
    if len(queries) > limits.max_queries:
        raise QueryError(
            f"Got {len(queries)} descriptions; at most {limits.max_queries} can be asked at once."
        )
    clean_queries(queries)  # Refused now, before the line.
    return queries
