"""From a decoded frame to the pixels that a viewer sees.

Rotation and mirroring of the display matrix, square pixels, 8 bits, RGB, transparency on white.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.structures import Pixels
from stvg_r1_hub.video.source import VideoSource

Matrix = tuple[int, int, int, int]


@dataclass(frozen=True)
class Shape:
    """How a coded picture becomes the one a viewer sees."""

    scaled_width: int
    scaled_height: int
    """Coded size with square pixels."""
    transposed: bool
    flip_x: bool
    flip_y: bool

    @classmethod
    def of(cls, frame: av.VideoFrame, aspect: float, matrix: Matrix | None) -> Shape:
        """Apply a display matrix, which sends a coded point (p, q) to (a p + c q, b p + d q)."""
        a, b, c, d = matrix if matrix is not None else _turned(frame.rotation)
        transposed = abs(b) > abs(a)
        return cls(
            # The side that is too short grows, so that no detail is lost.
            scaled_width=round(frame.width * max(aspect, 1.0)),
            scaled_height=round(frame.height / min(aspect, 1.0)),
            transposed=transposed,
            flip_x=(c if transposed else a) < 0,
            flip_y=(b if transposed else d) < 0,
        )

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height as shown."""
        size = (self.scaled_width, self.scaled_height)
        return size[::-1] if self.transposed else size


class Painter:
    """Turns decoded frames into RGB pixels of one size; keeps FFmpeg's scaler between frames."""

    def __init__(self, shape: Shape, source: VideoSource) -> None:
        self._shape = shape
        self._source = source
        self._scaler = VideoReformatter()
        self._coded_size: tuple[int, int] | None = None

    def paint(self, frame: av.VideoFrame) -> Pixels:
        """`(H, W, 3)` uint8 RGB of the size that a viewer sees."""
        size = (frame.width, frame.height)
        if self._coded_size not in (None, size):
            self._source.warn("The picture size changes within the video; frames are resized.")
        self._coded_size = self._coded_size or size
        shape = self._shape
        has_alpha = frame.format.has_palette or any(c.is_alpha for c in frame.format.components)
        try:
            pixels = self._convert(frame, has_alpha, None)
        except av.FFmpegError:  # a colour matrix that is reserved or does not go with the format
            try:
                pixels = self._convert(frame, has_alpha, Colorspace.ITU601)
            except av.FFmpegError as error:
                raise VideoError(
                    f"The colour format {frame.format.name} of '{self._source.info.name}' cannot "
                    "be turned into RGB; convert the video to H.264."
                ) from error
        if has_alpha:
            pixels = _on_white(pixels)
        if shape.transposed:
            pixels = pixels.transpose(1, 0, 2)
        pixels = pixels[:: -1 if shape.flip_y else 1, :: -1 if shape.flip_x else 1]
        return np.ascontiguousarray(pixels)

    def _convert(
        self, frame: av.VideoFrame, has_alpha: bool, colorspace: Colorspace | None
    ) -> NDArray[Any]:
        converted = self._scaler.reformat(
            frame,
            width=self._shape.scaled_width,
            height=self._shape.scaled_height,
            format="rgba" if has_alpha else "rgb24",
            src_colorspace=colorspace,
            threads=1,  # the decoder's threads are busy with the next frames already
        )
        pixels: NDArray[Any] = converted.to_ndarray()
        return pixels


def pixel_aspect(ratio: Fraction | None, notes: list[str]) -> float:
    """Width of a pixel by its height; implausible values are ignored."""
    if not ratio:
        return 1.0
    if not Fraction(1, 8) <= ratio <= 8:
        notes.append(f"The pixel shape {ratio} makes no sense and is ignored.")
        return 1.0
    return float(ratio)


def display_matrix(stream: Any) -> Matrix | None:
    """What a container says on turning and mirroring a stream: a, b, c, d of `Shape.of`.

    PyAV has no way to ask for it, so the stream's header is written once more, in a form that
    says it at a known place. Never from `frame.side_data`: with PyAV 18 whoever looks there
    crashes when a picture has an ICC profile, and stops at every kind of side data newer than its
    table.
    """
    # "tkhd": version and flags, 36 bytes of times and layers, then nine numbers in 16.16.
    written = _header(stream, "mov") or _header(stream, "mp4")
    if written is None:
        return None
    a, b, _, c, d = struct.unpack_from(">5i", written, written.index(b"tkhd") + 4 + 40)
    return (a, b, c, d) if b or c or a < 0 or d < 0 else None


def _header(stream: Any, container: str) -> bytes | None:
    """A header for the stream, without a picture; None where it has no name for its codec."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", container, container_options={"movflags": "empty_moov"}) as output:
            output.add_stream_from_template(stream, opaque=True)  # needs no encoder
            output.start_encoding()
            return file.getvalue()
    except (av.FFmpegError, ValueError):
        return None


def _turned(degrees: int) -> Matrix:
    """The matrix of `frame.rotation`, which the pictures themselves can carry (EXIF, SEI)."""
    turns: list[Matrix] = [(1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0)]
    return turns[round(degrees / 90) % 4]


def _on_white(rgba: NDArray[Any]) -> NDArray[Any]:
    # White, because that is the ground on which the language model's own loader puts images.
    alpha = rgba[..., 3:].astype(np.uint16)
    blended = rgba[..., :3] * alpha + (255 - alpha) * 255 + 127
    return (blended // 255).astype(np.uint8)
