"""Frames into a file: H.264 in MP4 as browsers want it, or an animated GIF.

PyAV is used directly because imageio's writers number frames at a constant rate: real frame
times, the source's sound and a removed half-written file are not to be had through them.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stvg_r1_hub.errors import OutputError, VideoError
from stvg_r1_hub.outputs import VIDEO_SUFFIXES, check_output, replacing
from stvg_r1_hub.structures import Pixels, Progress
from stvg_r1_hub.video.source import VideoSource

if TYPE_CHECKING:
    from av.container import OutputContainer

_TICKS = 90_000
"""Clock of the written MP4; the usual one, and frame times of all common rates fit it."""
_GIF_TICKS = 100
_GIF_SHORTEST = 2 / _GIF_TICKS
"""Viewers slow down GIF frames that are shown for less than this."""
_COPIED_AUDIO = {"aac", "mp3", "ac3", "eac3", "alac", "opus"}
_BT709 = 1


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[Pixels],
    times_seconds: Sequence[float],
    *,
    duration_seconds: float,
    audio_from: VideoSource | None = None,
    audio_start_seconds: float = 0.0,
    rate_factor: int = 20,
    progress: Progress | None = None,
) -> None:
    """Write frames with their real times to `.mp4` or `.gif`.

    MP4: H.264, yuv420p, moov atom in front, odd sizes padded to even by repeating the last row
    and column, the sound of `audio_from` copied (or encoded as AAC where MP4 cannot hold it).
    GIF: a palette for every frame, no sound; frames closer than 0.02 s to the last are left out.

    Nothing is left behind when anything fails or the progress callback cancels.

    Args:
        path: where to; an existing file is replaced at the very end.
        frames: `(H, W, 3)` uint8 RGB each, all of one size, as many as there are times.
        times_seconds: start of every frame, strictly ascending from 0.
        duration_seconds: end of the last frame.
        audio_from: the video whose sound to keep.
        audio_start_seconds: where in that video the written one starts.
        rate_factor: libx264's, 0..51; larger ones make smaller files of lower quality.
        progress: called as `progress("writing", done, total)` after every frame.

    Raises:
        OutputError: another suffix, or a path that cannot be written.
        VideoError: frames and times that do not fit each other.
    """
    import av

    target = check_output(os.fspath(path), VIDEO_SUFFIXES)
    _check_times(times_seconds, duration_seconds)
    timed = _timed(frames, times_seconds, progress)
    try:
        with replacing(target) as part:
            if target.suffix.lower() == ".gif":
                _write_gif(part, timed, duration_seconds)
            else:
                sound = audio_from, audio_start_seconds
                _write_mp4(part, timed, duration_seconds, sound, rate_factor)
    except av.FFmpegError as error:
        raise OutputError(f"Cannot write {target}: {error.strerror or error}.") from error


def _check_times(times: Sequence[float], duration: float) -> None:
    steps = np.diff([*times, duration])
    if not len(times) or not np.all(steps > 0) or not times[0] >= 0:
        raise VideoError(
            f"Got {len(times)} frame times and a duration of {duration} s; times must ascend "
            "from 0 and end before the duration."
        )


def _timed(
    frames: Iterable[Pixels], times: Sequence[float], progress: Progress | None
) -> Iterator[tuple[Pixels, float]]:
    """Pair frames with times, checking that they belong together."""
    shape: tuple[int, ...] | None = None
    count = 0
    for count, rgb in enumerate(frames, start=1):
        shape = shape or rgb.shape
        fits = rgb.shape == shape and rgb.ndim == 3 and rgb.shape[2] == 3
        if count > len(times) or not fits or rgb.dtype != np.uint8:
            raise VideoError(
                f"Got frame {count} of {len(times)} with shape {rgb.shape} and type {rgb.dtype} "
                "to write; as many (H, W, 3) uint8 frames of one size as times are needed."
            )
        yield rgb, float(times[count - 1])
        if progress is not None:
            progress("writing", count, len(times))
    if count < len(times):
        raise VideoError(f"Got {count} frames to write but {len(times)} times; give one for each.")


def _write_mp4(
    part: Path,
    timed: Iterator[tuple[Pixels, float]],
    duration: float,
    audio: tuple[VideoSource | None, float],
    rate_factor: int,
) -> None:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    first = next(timed)
    height, width = first[0].shape[:2]
    base = Fraction(1, _TICKS)
    with av.open(
        str(part), "w", format="mp4", container_options={"movflags": "+faststart"}
    ) as output:
        stream: Any = output.add_stream("libx264", rate=30)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        # Without B-frames decoding order is showing order, and the last duration is exact.
        stream.options = {"preset": "veryfast", "crf": str(rate_factor), "bf": "0"}
        stream.codec_context.time_base = base
        # Said and done: without a tag players guess the matrix from the size, and red shifts.
        stream.codec_context.colorspace = _BT709
        stream.codec_context.color_primaries = _BT709
        stream.codec_context.color_trc = _BT709
        stream.codec_context.color_range = ColorRange.MPEG
        sound = _Sound.of(*audio, output, duration)
        pictures = _Pictures(output)
        for rgb, seconds in chain([first], timed):
            if sound is not None:
                sound.advance(seconds)
            frame = av.VideoFrame.from_ndarray(_even(rgb), format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts = round(seconds * _TICKS)
            frame.time_base = base
            pictures.mux(stream.encode(frame))
        pictures.mux(stream.encode(None))
        pictures.finish(round(duration * _TICKS))
        if sound is not None:
            sound.advance(duration)
            sound.finish()


def _write_gif(part: Path, timed: Iterator[tuple[Pixels, float]], duration: float) -> None:
    import av
    import av.filter

    first = next(timed)
    height, width = first[0].shape[:2]
    base = Fraction(1, _GIF_TICKS)
    with av.open(str(part), "w", format="gif", container_options={"loop": "0"}) as output:
        stream: Any = output.add_stream("gif", rate=_GIF_TICKS)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        stream.codec_context.time_base = base
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=width, height=height, format=av.VideoFormat("rgb24"), time_base=base
        )
        split = graph.add("split")
        palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
        apply = graph.add("paletteuse", "new=1:dither=sierra2_4a")
        sink = graph.add("buffersink")
        source.link_to(split)
        split.link_to(apply, 0, 0)
        split.link_to(palette, 1, 0)
        palette.link_to(apply, 0, 1)
        apply.link_to(sink)
        graph.configure()
        pictures = _Pictures(output)
        last = -_GIF_SHORTEST
        for rgb, seconds in chain([first], timed):
            if seconds - last < _GIF_SHORTEST - 1e-9:
                continue
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts = round(seconds * _GIF_TICKS)
            frame.time_base = base
            last = seconds
            graph.push(frame)
            pictures.mux(stream.encode(graph.pull()))
        pictures.mux(stream.encode(None))
        pictures.finish(round(duration * _GIF_TICKS))


class _Pictures:
    """Writes picture packets with real durations, known only when the next packet comes."""

    def __init__(self, output: OutputContainer) -> None:
        self._output = output
        self._held: Any = None

    def mux(self, packets: list[Any]) -> None:
        for packet in packets:
            self.finish(packet.pts)
            self._held = packet

    def finish(self, end: int) -> None:
        """Write the held packet, shown until `end` in ticks."""
        if self._held is not None:
            self._held.duration = max(1, end - self._held.pts)
            self._output.mux(self._held)
        self._held = None


class _Sound:
    """Copies or re-encodes the source's sound, keeping pace with the pictures."""

    def __init__(
        self, source: VideoSource, start: float, output: OutputContainer, duration: float
    ) -> None:
        import av

        container = source.open_container()
        assert container is not None
        self._container = container
        self._source = source
        self._output = output
        self._duration = duration
        self._start = source.start_seconds + start
        template = next(s for s in container.streams.audio if s.codec_context is not None)
        self._packets = container.demux(template)
        self._copied = template.codec_context.codec.canonical_name in _COPIED_AUDIO
        self._stream: Any
        if self._copied:
            # A damaged sound header would only be noticed when the file is begun: try it apart.
            with av.open(io.BytesIO(), "w", format="mp4") as trial:
                trial.add_stream_from_template(template)
                trial.start_encoding()
            self._stream = output.add_stream_from_template(template)
        else:
            self._stream = output.add_stream("aac", rate=template.codec_context.sample_rate)
            # Named, since PCM often says how many channels there are but not which.
            channels = template.codec_context.channels
            self._stream.codec_context.layout = "mono" if channels == 1 else "stereo"
        self._ended = False
        self._next: Any = None

    @classmethod
    def of(
        cls, source: VideoSource | None, start: float, output: OutputContainer, duration: float
    ) -> _Sound | None:
        if source is None or not source.info.has_audio:
            return None
        import av

        try:
            return cls(source, start, output, duration)
        except (av.FFmpegError, ValueError, VideoError) as error:
            source.warn(f"The sound could not be kept: {error}.")
            return None

    def advance(self, until_seconds: float) -> None:
        """Write the sound up to a time in the output."""
        import av

        while not self._ended:
            packet = self._next or self._read()
            self._next = None
            if packet is None:
                return
            begin = float(packet.pts * packet.time_base) - self._start
            if begin >= self._duration:
                self._ended = True
            elif begin > until_seconds:
                self._next = packet
                return
            elif begin >= 0:
                try:
                    self._write(packet)
                except (av.error.ArgumentError, av.error.InvalidDataError) as error:
                    self._ended = True
                    self._source.warn(
                        f"The sound is damaged and ends at {begin:.1f} s in the written video "
                        f"({error.strerror})."
                    )

    def finish(self) -> None:
        if not self._copied:
            self._mux(self._stream.encode(None))
        self._container.close()

    def _read(self) -> Any:
        import av

        while True:
            try:
                packet = next(self._packets, None)
            except av.FFmpegError:
                packet = None
            if packet is None:
                self._ended = True
                return None
            if packet.size and packet.pts is not None:
                return packet

    def _write(self, packet: Any) -> None:
        import av

        shift = round(self._start / packet.time_base)
        if self._copied:
            packet.pts -= shift
            packet.dts = packet.pts
            packet.stream = self._stream
            self._output.mux(packet)
            return
        with contextlib.suppress(av.FFmpegError):  # a damaged packet is a short silence
            for frame in packet.decode():
                if frame.pts is not None:
                    frame.pts -= shift
                self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            self._output.mux(packet)


def _even(rgb: Pixels) -> Pixels:
    """Pad to even height and width, which yuv420p needs."""
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(rgb)
