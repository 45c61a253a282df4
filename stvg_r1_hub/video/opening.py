"""Videos in and out: any source becomes a stream of timed frames, results become files.

`open_video` takes files, folders of pictures, bytes, file objects and arrays. Reading is one
pass: `VideoSource.stream` yields the frames for the tracker and, among them, the sample that the
language model sees (`plan_for`); `SampleBuffer` puts that sample together.

Times are the container's own presentation times, shifted so that the first frame is at 0. An
index divided by an average rate is wrong by most of a second on phone videos.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stvg_r1_hub.config import SamplingConfig
from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.structures import Frames, Pixels, SamplingPlan, VideoInfo
from stvg_r1_hub.video.sampling import plan_for
from stvg_r1_hub.video.source import ArraySource, ImageFolderSource, VideoSource

Source = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray[Any, Any] | Sequence[Any]
VideoInput = Source | VideoSource
"""What can be grounded: anything that `open_video` takes, or what it returned."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def open_video(source: Source, *, fps: float | None = None, allow_url: bool = False) -> VideoSource:
    """Open anything that is a video.

    Args:
        source: path of a video file or of a folder of pictures, the bytes of a video file, a
            seekable binary file object, or frames: `(F, H, W, 3)` uint8 RGB, a torch tensor of
            that shape or `(F, 3, H, W)`, or a list of `(H, W, 3)` arrays or Pillow images.
        fps: frames per second; needed for frames and folders, not allowed for files, which
            carry their own times.
        allow_url: also download `http(s)://` addresses; refused otherwise.

    Returns:
        A source whose `info` is complete and of which at most one frame has been decoded.

    Raises:
        VideoError: anything missing, unreadable, refused for safety, or too small to use.
    """
    if isinstance(source, str | os.PathLike):
        return _open_path(os.fspath(source), fps, allow_url)
    if isinstance(source, bytes | bytearray | memoryview):
        _refuse_fps(fps)
        return _open_encoded(bytes(source), "the given bytes")
    if hasattr(source, "read"):
        _refuse_fps(fps)
        return _open_encoded(source, str(getattr(source, "name", "the given file object")))
    return _open_frames(source, fps)


@contextmanager
def opened(video: VideoInput, *, fps: float | None = None) -> Iterator[VideoSource]:
    """A video, open for a while; a source of the caller's is used as it is and stays open."""
    if isinstance(video, VideoSource):
        _refuse_fps(fps)
        yield video
        return
    with open_video(video, fps=fps) as source:
        yield source


class SampleBuffer:
    """The sample of a video, filled while the video is read.

    A frame is copied to its place at once, so the decoder's own memory is free for the next one
    and no frame is in memory twice.
    """

    def __init__(self, plan: SamplingPlan, info: VideoInfo) -> None:
        """Take what was planned for a video."""
        self.plan = plan
        self._info = info
        self._indices = np.array(plan.frame_indices, dtype=np.int64)
        self._missing = set(plan.frame_indices)
        self._pixels: Pixels | None = None

    def add(self, frame_index: int, pixels: Pixels) -> None:
        """Copy a frame, if the plan has it.

        Args:
            frame_index: native.
            pixels: `(H, W, 3)` uint8 RGB, all of one size; `VideoSource.sample_pixels` sees to
                that.

        Raises:
            VideoError: a size that differs from that of the frames before.
        """
        if self._pixels is None:
            self._pixels = np.empty((len(self._indices), *pixels.shape), dtype=np.uint8)
        if pixels.shape != self._pixels.shape[1:]:
            raise VideoError(
                f"Got sampled frames of shapes {self._pixels.shape[1:]} and {pixels.shape}; "
                "all must be alike."
            )
        for place in np.flatnonzero(self._indices == frame_index).tolist():
            self._pixels[place] = pixels
        self._missing.discard(frame_index)

    def frames(self) -> Frames:
        """The complete sample.

        Raises:
            VideoError: a planned frame is missing.
        """
        if self._missing or self._pixels is None:
            raise VideoError(
                f"Got the sample of {self._info.name} without frame {min(self._missing)}; every "
                "frame of the plan is needed."
            )
        return Frames(
            pixels=self._pixels,
            frame_indices=self._indices,
            times_seconds=self._info.frame_times[self._indices],
            sample_fps=self.plan.sample_fps,
            model_height=self.plan.model_height,
            model_width=self.plan.model_width,
        )


def read_frames(source: Source, sampling: SamplingConfig, *, fps: float | None = None) -> Frames:
    """Read only the frames that the language model sees.

    Args:
        source: as for `open_video`.
        sampling: rate, limits and pixel budget.
        fps: as for `open_video`.

    Raises:
        VideoError: as `open_video` and `plan_sampling`.
    """
    with open_video(source, fps=fps) as video:
        plan = plan_for(video.info, sampling)
        sample = SampleBuffer(plan, video.info)
        for frame in video.stream(plan.frame_indices):
            sample.add(frame.frame_index, video.sample_pixels(frame, plan))
        return sample.frames()


def _open_path(text: str, fps: float | None, allow_url: bool) -> VideoSource:
    if not text:
        raise VideoError("Got an empty path; give the path of a video file.")
    if not os.path.lexists(text) and (text == "-" or _URL.match(text)):
        if allow_url and text.lower().startswith(("http://", "https://")):
            from stvg_r1_hub.video.download import download

            _refuse_fps(fps)
            return _open_encoded(download(text), text)
        raise VideoError(
            f"Got the address {text!r}; only local files are read"
            + (
                ", or http and https addresses."
                if allow_url
                else ", so download it first (or allow addresses: allow_url=True, --allow-url)."
            )
        )
    if "\0" in text:
        raise VideoError("Got a path with a NUL character; give the path of a video file.")
    path = Path(os.path.abspath(text))
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _open_folder(path, fps)
        if not stat.S_ISREG(mode):
            raise VideoError(f"'{path}' is a device or pipe; give the path of a video file.")
        _refuse_fps(fps)
        with path.open("rb") as file:
            if not file.read(1):
                raise VideoError(f"'{path}' is empty (0 bytes); give a video file.")
    except OSError as error:
        raise VideoError(
            f"Cannot read '{text}': {error.strerror}; give the path of a readable video file."
        ) from error
    return _open_encoded(str(path), path.name)


def _open_folder(path: Path, fps: float | None) -> VideoSource:
    if fps is None:
        raise VideoError(
            f"'{path}' is a folder; give a video file in it, or, if it holds the frames of one "
            "video, how many there are per second: fps=25, or --fps 25."
        )
    return ImageFolderSource(path, fps)


def _open_encoded(source: Any, name: str) -> VideoSource:
    from stvg_r1_hub.video.file import FileSource

    if isinstance(source, bytes) and not source:
        raise VideoError("Got 0 bytes; give the content of a video file.")
    if getattr(source, "closed", False):
        raise VideoError(f"The file object of '{name}' is closed; open it again, or give its path.")
    if isinstance(source, io.TextIOBase):
        raise VideoError("Got a text file object; open the video with mode 'rb'.")
    return FileSource(source, name)


def _open_frames(source: Any, fps: float | None) -> VideoSource:
    if hasattr(source, "detach"):  # a torch tensor, without importing torch to ask
        source = source.detach().cpu().numpy()
        if source.ndim == 4 and source.shape[1] == 3 != source.shape[3]:
            source = source.transpose(0, 2, 3, 1)
    if hasattr(source, "__array__") and not isinstance(source, np.ndarray):
        source = np.asarray(source)
    is_array = isinstance(source, np.ndarray)
    if is_array and source.ndim == 5:
        raise VideoError(
            f"Got a batch of videos, of shape {source.shape}; give one at a time, such as batch[0]."
        )
    if not isinstance(source, list | tuple) and not (is_array and source.ndim > 0):
        raise VideoError(
            f"Got a video of type {type(source).__name__}; a path, bytes, a binary file object, an "
            "(F, H, W, 3) uint8 array or a list of frames is needed."
        )
    if fps is None:
        raise VideoError("Got frames without fps; say how many there are per second with fps=.")
    return ArraySource(source, fps)


def _refuse_fps(fps: float | None) -> None:
    if fps is not None:
        raise VideoError(f"Got fps={fps} for a video that has its own times; leave fps out.")
