"""A video as a stream of timed frames, whatever it comes from; frames and image folders here.

`VideoSource` is what `video.open_video` returns. `video_file.FileSource` is the one for encoded
files; it lives apart because it needs PyAV.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.structures import Pixels, Progress, SamplingPlan, TimedFrame, VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_DURATION_SECONDS = 4 * 3600.0
MAX_FRAME_PIXELS = 8192 * 8192
MIN_SIDE_PIXELS = 16
MAX_SAMPLE_BYTES = 768 * 1024**2
"""Sampled frames of one video are kept smaller than native when they would pass this."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class VideoSource:
    """A video that can be streamed as often as wanted, one frame in memory at a time.

    Subclasses implement `_frames`. Use as a context manager, or call `close`.
    """

    info: VideoInfo
    warnings: list[str]
    """What is odd about this video, one sentence each; grows while frames are read."""

    def __init__(self, info: VideoInfo) -> None:
        check_usable(info)
        self.info = info
        self.warnings = []

    def stream(
        self, indices: Sequence[int] | None = None, *, progress: Progress | None = None
    ) -> Iterator[TimedFrame]:
        """Read the video once from start to end, yielding the frames that are asked for.

        Only these are converted to RGB; frames that none of them depends on are not decoded.

        Args:
            indices: native frames, ascending; each is yielded once even if it is repeated.
                None for all.
            progress: called as `progress("reading", done, total)` after every frame.

        Yields:
            Frames in order; pixels `(H, W, 3)` uint8 RGB of the size in `info`.

        Raises:
            VideoError: indices that do not ascend or are outside the video, or a video that
                cannot be decoded at all.
        """
        if indices is None:
            wanted = list(range(self.info.n_frames))
        else:
            wanted = [int(i) for i in indices]
        if wanted != sorted(wanted) or (
            wanted and not 0 <= wanted[0] <= wanted[-1] < self.info.n_frames
        ):
            raise VideoError(
                f"Got frame indices that do not ascend within 0..{self.info.n_frames - 1}; "
                "sort them and keep those in the video."
            )
        wanted = sorted(set(wanted))
        for done, (index, pixels) in enumerate(self._frames(wanted), start=1):
            yield TimedFrame(index, float(self.info.frame_times[index]), pixels)
            if progress is not None:
                progress("reading", done, len(wanted))

    def sample_pixels(self, frame: TimedFrame, plan: SamplingPlan) -> Pixels:
        """The pixels of a sampled frame as they should be kept until the sample is complete.

        That is the native size, unless the whole sample would take more than
        `MAX_SAMPLE_BYTES`: then all its frames shrink alike (never below the model's own size)
        and a warning is noted.
        """
        height, width = self.info.height, self.info.width
        room = MAX_SAMPLE_BYTES / (3 * height * width * len(set(plan.frame_indices)))
        if room >= 1:
            return frame.pixels
        scale = max(room**0.5, plan.model_height / height, plan.model_width / width)
        if scale >= 1:
            return frame.pixels
        size = (round(height * scale), round(width * scale))
        self.warn(
            f"The {len(plan.frame_indices)} sampled frames are kept at {size[1]}x{size[0]} "
            f"instead of {width}x{height} pixels to save memory."
        )
        return resize(frame.pixels, *size)

    def open_container(self) -> InputContainer | None:
        """A fresh PyAV container of the encoded file, for its sound; None when there is none."""
        return None

    @property
    def start_seconds(self) -> float:
        """Container time of the first frame: what to subtract from the sound's time stamps."""
        return 0.0

    def warn(self, sentence: str) -> None:
        """Note something odd, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def close(self) -> None:
        """Let go of the file; streams that are still running end with an error."""

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.info!r})"

    def _frames(self, wanted: list[int]) -> Iterator[tuple[int, Pixels]]:
        raise NotImplementedError


class ArraySource(VideoSource):
    """Frames that are in memory already."""

    def __init__(
        self, frames: Sequence[Any] | NDArray[Any], fps: float, name: str = "frames"
    ) -> None:
        """Take frames of equal size.

        Args:
            frames: `(F, H, W, 3)` uint8 RGB, or F of `(H, W, 3)`, or F Pillow images.
            fps: frames per second.
            name: shown in messages.

        Raises:
            VideoError: other shapes or values, sizes that differ, or fewer than two frames.
        """
        _require_two(len(frames), name)
        if not isinstance(frames, np.ndarray):
            frames = [_as_pixels(frame, i) for i, frame in enumerate(frames)]
            sizes = {frame.shape for frame in frames}
            if len(sizes) > 1:
                raise VideoError(
                    f"Got frames of different sizes, {sorted(sizes)}; all must be alike."
                )
        else:
            _check_array(frames, frames.ndim == 4, "(F, H, W, 3)")
        self._pixels = frames
        height, width = frames[0].shape[:2]
        super().__init__(_info_at_rate(name, width, height, len(frames), fps))

    def _frames(self, wanted: list[int]) -> Iterator[tuple[int, Pixels]]:
        for index in wanted:
            yield index, np.ascontiguousarray(self._pixels[index])


class ImageFolderSource(VideoSource):
    """A folder of pictures, in the natural order of their names (2 before 10)."""

    def __init__(self, folder: Path, fps: float) -> None:
        """List the pictures and look at the first.

        Raises:
            VideoError: fewer than two pictures, or the first is unreadable.
        """
        paths = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
        self._paths = sorted(paths, key=_natural_order)
        _require_two(len(self._paths), f"the folder {folder}", ", ".join(IMAGE_SUFFIXES))
        height, width = _read_image(self._paths[0]).shape[:2]
        super().__init__(_info_at_rate(folder.name, width, height, len(self._paths), fps))

    def _frames(self, wanted: list[int]) -> Iterator[tuple[int, Pixels]]:
        size = (self.info.height, self.info.width)
        for index in wanted:
            pixels = _read_image(self._paths[index])
            if pixels.shape[:2] != size:
                self.warn(f"Pictures of other sizes are resized to {size[1]}x{size[0]}.")
                pixels = resize(pixels, *size)
            yield index, pixels


def check_usable(info: VideoInfo) -> None:
    """Refuse what the later stages cannot handle.

    Raises:
        VideoError: a single frame, a picture that is tiny or huge, or a video of many hours.
    """
    _require_two(info.n_frames, info.name)
    check_size(info.name, info.width, info.height)
    if info.duration_seconds > MAX_DURATION_SECONDS:
        raise VideoError(
            f"'{info.name}' is {info.duration_seconds / 3600:.1f} hours long; up to "
            f"{MAX_DURATION_SECONDS / 3600:g} hours can be read, so cut it first."
        )


def check_size(name: str, width: int, height: int) -> None:
    """Refuse a picture that is tiny or huge, before decoding it.

    Raises:
        VideoError: a side below 16 pixels, or more than 8192 x 8192 pixels in all.
    """
    if min(width, height) < MIN_SIDE_PIXELS or width * height > MAX_FRAME_PIXELS:
        raise VideoError(
            f"'{name}' has a picture of {width}x{height} pixels; each side must be at least "
            f"{MIN_SIDE_PIXELS} and both together at most {MAX_FRAME_PIXELS:,} pixels."
        )


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """`(H, W, 3)` uint8 RGB at another size; area averaging, so shrinking does not flicker."""
    import cv2

    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return resized.astype(np.uint8, copy=False)


def _info_at_rate(name: str, width: int, height: int, n_frames: int, fps: float) -> VideoInfo:
    if not (isinstance(fps, Real) and 0 < fps <= 1000):  # also NumPy's numbers and fractions
        raise VideoError(f"Got fps={fps!r} for {name}; a number above 0 and up to 1000 is needed.")
    fps = float(fps)
    check_size(name, width, height)
    times = np.arange(n_frames, dtype=np.float64) / fps
    return VideoInfo(name, width, height, times, n_frames / fps)


def _require_two(count: int, name: str, of: str = "frames") -> None:
    if count < 2:
        raise VideoError(
            f"Got {count} {'frame' if count == 1 else of} in {name}; "
            "a video needs at least 2 frames."
        )


def _check_array(array: np.ndarray[Any, Any], right_rank: bool, wanted: str) -> None:
    if array.dtype != np.uint8:
        raise VideoError(
            f"Got frames of type {array.dtype}; frames must be uint8 RGB in 0..255, so scale and "
            "convert them with .astype('uint8')."
        )
    if not right_rank or array.shape[-1] != 3:
        raise VideoError(
            f"Got frames of shape {array.shape}; the shape must be {wanted}, channels last."
        )


def _as_pixels(frame: Any, index: int) -> Pixels:
    if hasattr(frame, "convert"):  # a Pillow image, without importing Pillow to ask
        frame = flatten_alpha(frame)
    array = np.asarray(frame)
    if array.dtype == object:
        raise VideoError(
            f"Got frame {index} of type {type(frame).__name__}; frames must be (H, W, 3) uint8 "
            "arrays or Pillow images."
        )
    _check_array(array, array.ndim == 3, "(H, W, 3) each")
    return array


def flatten_alpha(image: Any) -> Pixels:
    """A Pillow image as `(H, W, 3)` uint8 RGB; what is transparent becomes white.

    White, because that is the ground on which the language model's own loader puts such images.

    Raises:
        VideoError: 32 bits a value, of which nobody says what is black and what is white.
    """
    from PIL import Image

    if image.mode in ("I", "F"):
        raise VideoError(
            f"Got a picture of 32 bits a value (mode {image.mode}); pictures of 8 or 16 bits are "
            "read, so convert it."
        )
    if image.mode.startswith("I;16"):  # Pillow would cut off all above 255 instead of scaling.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _read_image(path: Path) -> Pixels:
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=("JPEG", "PNG", "BMP", "WEBP", "TIFF")) as image:
            check_size(path.name, *image.size)
            return flatten_alpha(ImageOps.exif_transpose(image))
    # ultralytics, once imported, wraps Image.open: what is no picture then asks for pi_heif.
    except (OSError, ValueError, SyntaxError, ImportError, Image.DecompressionBombError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(
            f"Cannot read the picture {path.name}: {error}; remove or replace it."
        ) from error


def _natural_order(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
