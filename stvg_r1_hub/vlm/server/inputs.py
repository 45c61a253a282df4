"""Marked frames as a server takes them: a video, vLLM's list of frames, or images with times.

What counts is the red of the numbers: a video with a quarter of the colour samples takes a fifth
of it away. So colours are sent whole, and frames at the size the model sees, resized as the local
model resizes them.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.structures import Frames, Pixels
from stvg_r1_hub.vlm.resizing import model_frames, resized

INPUTS = ("auto", "video", "frames", "images")
"""How marked frames can be sent; `"auto"` chooses by what the server is."""
WAYS = {"video": ("video", "full-size video"), "frames": ("frames",), "images": ("images",)}
"""What each of them is tried as, the next one where a server refuses."""
MOST_IMAGES = 32
"""Frames that are sent as images: as many fit the context that laptops give a model."""
MOST_IMAGE_PIXELS = 1280 * 784
"""Of one frame sent as an image; hosted models shrink what is larger, and the numbers with it."""

_JPEG_QUALITY = 98
_CLOCK = 90_000
"""Ticks a second in which frames tell their times; that of MPEG."""
_PIXELS_PER_TOKEN = 28 * 28 * 2
_LEAST_TOKENS_PER_IMAGE = 16
_SECONDS_IN_ANGLES = re.compile(r"qwen-?3(\.5)?-?(vl|omni)|qwen-?3[._-]5", re.IGNORECASE)
"""Models that were trained with the time of a frame as `<1.5 seconds>`."""


@dataclass(frozen=True)
class SentClip:
    """A clip in the form that goes to the server."""

    input: str
    """One of `INPUTS`."""
    parts: list[dict[str, Any]]
    """Content of the message, after the text of the question."""
    fields: dict[str, Any] = field(default_factory=dict)
    """What is added to the request."""
    least_tokens: int = 0
    """A server that reads fewer did not look at it."""
    n_frames: int = 0
    frame_times: NDArray[np.float64] | None = None
    """Seconds of the frames that are sent, where these are not all."""
    warnings: tuple[str, ...] = ()
    """What was sent otherwise than sampled, one sentence each."""


def as_frames(frames: Frames) -> SentClip:
    """The frames one by one, with their own times, as vLLM takes them.

    They tell their times as ticks of a clock, so that those of a variable frame rate are right
    too; the clip's length is such that n frames of it make the sample's frame rate.
    """
    ticks = np.rint(frames.times_seconds * _CLOCK).astype(int).tolist()
    length = max(round(len(frames) * _CLOCK / frames.sample_fps), len(frames))
    timing = {
        "num_frames": -1,
        "fps": _CLOCK,
        "frames_indices": ticks,
        "total_num_frames": length,
        "duration": length / _CLOCK,
        "do_sample_frames": False,
    }
    pictures = ",".join(_jpeg(picture) for picture in model_frames(frames))
    return SentClip(
        "frames",
        [_part("video_url", f"data:video/jpeg;base64,{pictures}")],
        {
            "media_io_kwargs": {"video": timing},
            "mm_processor_kwargs": {"do_sample_frames": False, "do_resize": False},
        },
        _tokens(frames) // 2,
        len(frames),
    )


def as_video(frames: Frames) -> SentClip:
    """An mp4 at the model's size and the sample's frame rate, with a colour for every pixel."""
    # vLLM would sample 32 frames again, assume another rate and resize.
    as_it_is = {"fps": frames.sample_fps, "do_sample_frames": False, "do_resize": False}
    return _video(frames, model_frames(frames), "yuv444p", as_it_is)


def as_full_size_video(frames: Frames) -> SentClip:
    """An mp4 of the frames as they were filmed, for a server that refuses `as_video`."""
    as_it_is = {"fps": frames.sample_fps, "do_sample_frames": False}
    height, width = (side - side % 2 for side in frames.pixels.shape[1:3])
    sent = _video(frames, frames.pixels[:, :height, :width], "yuv420p", as_it_is)
    message = (
        "The server refused a video with a colour for every pixel; it was sent one of full size "
        "and resized it in its own way, so that the numbers are a little paler than in training."
    )
    return replace(sent, warnings=(message,))


def as_images(frames: Frames, *, model: str = "", most: int = MOST_IMAGES) -> SentClip:
    """One image a frame with its time as text before it, which every server with vision takes.

    Args:
        frames: the sample.
        model: its name there; some were trained with a spelling of time of their own.
        most: images that are sent; of more frames these are taken evenly.
    """
    messages = []
    chosen = np.arange(len(frames))
    if len(frames) > most:
        chosen = np.rint(np.linspace(0, len(frames) - 1, most)).astype(int)
        messages.append(
            f"The server was sent {most} of the {len(frames)} sampled frames, as images."
        )
    height, width = frames.model_height, frames.model_width
    if height * width > MOST_IMAGE_PIXELS:
        scale = sqrt(MOST_IMAGE_PIXELS / (height * width))
        height, width = round(height * scale), round(width * scale)
        messages.append(
            f"The server was sent images of {width}x{height} instead of "
            f"{frames.model_width}x{frames.model_height}."
        )
    spelling = "<{:.1f} seconds>" if _SECONDS_IN_ANGLES.search(model) else "{:.2f} s:"
    parts = []
    for time, picture in zip(
        frames.times_seconds[chosen], resized(frames.pixels[chosen], height, width), strict=True
    ):
        parts.append({"type": "text", "text": spelling.format(time)})
        parts.append(_part("image_url", f"data:image/jpeg;base64,{_jpeg(picture)}"))
    each = _LEAST_TOKENS_PER_IMAGE
    if "qwen" in model.lower():
        each = max(each, height * width // _PIXELS_PER_TOKEN)
    return SentClip(
        "images",
        parts,
        least_tokens=len(chosen) * each,
        n_frames=len(chosen),
        frame_times=frames.times_seconds[chosen],
        warnings=tuple(messages),
    )


def prepare(way: str, frames: Frames, *, model: str, most_images: int) -> SentClip:
    """A clip in one of the `WAYS`, for the model of this name."""
    if way == "frames":
        return as_frames(frames)
    if way == "images":
        return as_images(frames, model=model, most=most_images)
    return as_video(frames) if way == "video" else as_full_size_video(frames)


def _part(kind: str, url: str) -> dict[str, Any]:
    return {"type": kind, kind: {"url": url}}


def _tokens(frames: Frames) -> int:
    """Video tokens that a Qwen2.5-VL model makes of a clip."""
    return len(frames) * frames.model_height * frames.model_width // _PIXELS_PER_TOKEN


def _jpeg(picture: Pixels) -> str:
    """An `(H, W, 3)` RGB picture as JPEG in base64, with a colour for every pixel."""
    import cv2

    settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    return base64.b64encode(data.tobytes()).decode("ascii")


def _video(
    frames: Frames, pictures: Pixels, pixel_format: str, as_it_is: dict[str, Any]
) -> SentClip:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        rate = Fraction(frames.sample_fps).limit_denominator(100_000)
        stream = output.add_stream("libx264", rate=rate)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.options = {"crf": "4", "preset": "fast"}
        for picture in pictures:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return SentClip(
        "video",
        [_part("video_url", f"data:video/mp4;base64,{data}")],
        {"media_io_kwargs": {"video": {"num_frames": -1}}, "mm_processor_kwargs": as_it_is},
        _tokens(frames) // 2,
        len(frames),
    )
