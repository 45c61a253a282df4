"""Video files for tests, made on the spot with PyAV.

Every picture carries its own number, so a test can tell which frame it got from the pixels alone:
twelve black or white cells across the upper half spell the number in binary, a red square marks
the lower left corner (for rotation and mirroring), and the rest is a quiet gradient.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stvg_r1_hub.video import VideoSource

BITS = 12
TICKS = 90_000


def picture(number: int, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """`(height, width, 3)` uint8 RGB with `number` (below 4096) written into it."""
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[:] = np.linspace(60, 160, width, dtype=np.uint8)[None, :, None]
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        rgb[: height // 2, edges[bit] : edges[bit + 1]] = 235 if number >> bit & 1 else 20
    side = max(2, min(height, width) // 4)
    rgb[height - side :, :side] = (220, 20, 20)
    return rgb


def number_of(rgb: NDArray[np.uint8]) -> int:
    """The number that `picture` wrote, read from (possibly resized or lossy) pixels."""
    height, width = rgb.shape[:2]
    centers = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    row = rgb[height // 4, centers].mean(axis=-1)
    return int(sum(1 << bit for bit in range(BITS) if row[bit] > 128))


def numbers(source: VideoSource, indices: Sequence[int] | None = None) -> list[int]:
    """The number in every frame of a stream."""
    return [number_of(frame.pixels) for frame in source.stream(indices)]


def one_sentence(error: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether an error says one sentence that can be read at a glance."""
    text = str(error.value)
    return 20 < len(text) < 400 and "\n" not in text and text.endswith(".")


def red_corner(rgb: NDArray[np.uint8]) -> str:
    """Where the red square is: `"lower left"` and so on."""
    height, width = rgb.shape[:2]
    red = rgb[..., 0].astype(int) - rgb[..., 1:].max(axis=-1)
    y, x = np.unravel_index(np.argmax(red), red.shape)
    rows, columns = np.nonzero(red > 80)
    y, x = rows.mean(), columns.mean()
    return f"{'upper' if y < height / 2 else 'lower'} {'left' if x < width / 2 else 'right'}"


def write_clip(
    path: Path,
    frames: int | Sequence[NDArray[np.uint8]] = 30,
    *,
    fps: float = 10.0,
    times: Sequence[float] | None = None,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container: str | None = None,
    matrix: Sequence[int] | None = None,
    sample_aspect_ratio: Fraction | None = None,
    audio: str | None = None,
    first_seconds: float = 0.0,
) -> Path:
    """Encode pictures into a video file.

    Args:
        path: where to; the suffix chooses the container unless `container` does.
        frames: how many numbered pictures, or the pictures.
        fps: rate, when `times` is not given.
        times: seconds of every frame.
        size: width and height of numbered pictures.
        codec: PyAV encoder name.
        pix_fmt: pixel format of the encoder.
        options: encoder options.
        container_options: muxer options.
        container: container name.
        matrix: nine integers of a display matrix (16.16 fixed point).
        sample_aspect_ratio: shape of a pixel.
        audio: audio encoder name for a tone as long as the video.
        first_seconds: time stamp of the first frame.
    """
    if isinstance(frames, int):
        frames = [picture(i, *size) for i in range(frames)]
    if times is None:
        times = [i / fps for i in range(len(frames))]
    height, width = frames[0].shape[:2]
    with av.open(
        str(path), "w", format=container, container_options=container_options or {}
    ) as output:
        stream = output.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.options = options or {}
        # AVI counts frames and GIF hundredths of a second; the others take a fine clock.
        coarse = {".avi": Fraction(fps).limit_denominator(1001), ".gif": Fraction(100)}
        base = 1 / coarse.get(path.suffix, Fraction(TICKS))
        stream.codec_context.time_base = base
        if matrix is not None:
            stream.set_display_matrix(matrix)
        if sample_aspect_ratio is not None:
            stream.codec_context.sample_aspect_ratio = sample_aspect_ratio
        sound = _add_tone(output, audio) if audio else None
        for rgb, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts = round((time + first_seconds) / base)
            frame.time_base = base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if sound is not None:
            _encode_tone(output, sound, times[-1] + 1 / fps)
    return path


def write_pictures(path: Path, packets: Sequence[bytes], codec: str, fps: int = 10) -> Path:
    """Put encoded pictures into a container as they are, one a frame.

    Args:
        path: where to.
        packets: what an encoder, or Pillow, made of each picture.
        codec: PyAV name of the codec that they are of.
        fps: frames per second.
    """
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=fps)
        stream.width, stream.height = 96, 64
        stream.pix_fmt = stream.codec_context.codec.video_formats[0].name
        for i, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, fps)
            packet.pts = packet.dts = i
            packet.is_keyframe = True
            output.mux(packet)
    return path


def encoded(kind: str, frames: int = 6, **options: Any) -> list[bytes]:
    """Numbered pictures, each as Pillow writes it."""
    files = [io.BytesIO() for _ in range(frames)]
    for i, file in enumerate(files):
        Image.fromarray(picture(i)).save(file, kind, **options)
    return [file.getvalue() for file in files]


def _add_tone(output: av.container.OutputContainer, codec: str) -> av.AudioStream:
    stream = output.add_stream(codec, rate=48_000)
    stream.layout = "mono"
    return stream


def _encode_tone(
    output: av.container.OutputContainer, stream: av.AudioStream, seconds: float
) -> None:
    rate = 48_000
    wave = (np.sin(np.arange(int(rate * seconds)) * 2 * np.pi * 440 / rate) * 8000).astype(np.int16)
    resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
    chunk = 1024
    for start in range(0, len(wave), chunk):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + chunk], "s16", "mono")
        frame.rate = rate
        frame.pts = start
        frame.time_base = Fraction(1, rate)
        for converted in resampler.resample(frame):
            output.mux(stream.encode(converted))
    output.mux(stream.encode())


def write_audio_only(path: Path, seconds: float = 1.0) -> Path:
    """An audio file without a picture."""
    with av.open(str(path), "w") as output:
        _encode_tone(output, _add_tone(output, "aac"), seconds)
    return path


def display_matrix(a: int, b: int, c: int, d: int) -> list[int]:
    """A display matrix that sends the coded point (p, q) to (a p + c q, b p + d q)."""
    one = 1 << 16
    return [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]


def lie_about_duration(path: Path, factor: int) -> Path:
    """Multiply the durations written in an mp4's movie, track and media headers."""
    data = bytearray(path.read_bytes())
    for name, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
        position = data.find(name)
        while position >= 0:
            field = position + offset
            (value,) = struct.unpack(">I", data[field : field + 4])
            data[field : field + 4] = struct.pack(">I", min(value * factor, 2**32 - 1))
            position = data.find(name, position + 4)
    path.write_bytes(data)
    return path
