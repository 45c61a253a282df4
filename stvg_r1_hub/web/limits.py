"""What strangers may upload and ask, checked before a picture is decoded or a model is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stvg_r1_hub.errors import QueryError, VideoError
from stvg_r1_hub.pipeline import STVGPipeline, open_video
from stvg_r1_hub.structures import VideoInfo


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
        VideoError: nothing there, too large, too long, or not a video that can be read.
    """
    if path is None:
        raise VideoError("There is no video yet: drop one above, record one, or take an example.")
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise VideoError("The uploaded video is gone; upload it again.") from error
    if size > limits.max_bytes:
        raise VideoError(
            f"The video has {size / 1024**2:.0f} MB; at most {limits.max_bytes / 1024**2:.0f} MB "
            "can be uploaded here, so cut it or make it smaller."
        )
    try:
        with open_video(path) as source:
            info = source.info
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
    return STVGPipeline.check_queries(queries)
