"""Encoded video files through PyAV: exact frame times first, then one decode pass per stream.

Nothing a header says about frame count, rate or duration is believed. `scan` reads every packet
once without decoding (fast: a disk read), which gives the presentation time of every frame and
which packets each frame needs. Where packets cannot tell, a decoding scan does.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
from av.container import InputContainer

from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.structures import Pixels, VideoInfo
from stvg_r1_hub.video.packets import (
    MAX_PACKETS,
    Sending,
    Timeline,
    demux,
    packets_needed,
    scan,
    timeline_in_order,
    timeline_of_packets,
)
from stvg_r1_hub.video.picture import Painter, Shape, display_matrix, pixel_aspect
from stvg_r1_hub.video.shared import SharedFile
from stvg_r1_hub.video.source import MAX_FRAME_PIXELS, VideoSource, check_size

# Containers that hold their own data. Playlists (hls, dash, concat, image2, sdp ...) are left
# out on purpose: such a text file renamed .mp4 would make FFmpeg open other files or addresses.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,ogg,asf,gif,apng,"
    "h264,hevc,ivf,obu,dv,mxf,yuv4mpegpipe,webp_pipe"
)
_WEBP = "webp_pipe"
"""Only so that it can be told what is wrong with it: FFmpeg decodes no moving ones."""
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_ODD_COLOURS = {14, 15}  # ICtCp, IPT-C2
_DOLBY_VISION_ALONE = {"dvh1", "dvhe", "dva1", "dvav"}
"""HEVC and H.264 without an ordinary picture, which streams with one are not called."""


class FileSource(VideoSource):
    """A video file, bytes in memory, or a seekable binary file object."""

    def __init__(self, source: str | bytes | BinaryIO, name: str) -> None:
        """Find out times, size and orientation, decoding one frame.

        Args:
            source: absolute path, the file's bytes, or a file object opened for reading.
            name: shown in messages.

        Raises:
            VideoError: no video this package reads, or one that is unusable.
        """
        self._source = source if isinstance(source, str | bytes) else SharedFile(source)
        self._name = name
        self._closed = False
        notes: list[str] = []
        with self.open_container() as container:
            stream = _choose_stream(container, name, notes)
            self._stream_index = stream.index
            check_size(name, stream.codec_context.width, stream.codec_context.height)
            has_audio = any(s.codec_context is not None for s in container.streams.audio)
            aspect = pixel_aspect(stream.sample_aspect_ratio, notes)
            matrix, tag = display_matrix(stream), stream.codec_context.codec_tag
            self._packets = scan(container, stream, name)
        self._timeline = timeline_of_packets(self._packets) or self._timeline_of_frames(notes)
        first = self._first_frame()
        self._timeline = self._timeline.beginning_with(first.pts, self._packets.time_base, notes)
        self._shape = Shape.of(first, aspect, matrix)
        _note_oddities(first, tag, notes)
        times = self._timeline.times
        duration = float(times[-1]) + self._timeline.last_duration
        super().__init__(VideoInfo(name, *self._shape.shown_size, times, duration, has_audio))
        self.warnings.extend(notes)

    @property
    def start_seconds(self) -> float:
        """Container time of the first frame."""
        return self._timeline.start_seconds

    def close(self) -> None:
        """Refuse further reading. A file object that was handed in stays open."""
        self._closed = True

    def open_container(self) -> InputContainer:
        """A fresh container of the file, limited to safe formats and to the file itself.

        Raises:
            VideoError: not a video file, or this source was closed.
        """
        if self._closed:
            raise VideoError(f"'{self._name}' was closed; open it again to read from it.")
        source = self._source
        if isinstance(source, bytes):
            handle: Any = io.BytesIO(source)
        elif isinstance(source, SharedFile):
            handle = source.view()
        else:
            handle = source
        # "none" is no protocol at all: data in memory never opens anything.
        protocols = "file" if isinstance(source, str) else "none"
        try:
            container: InputContainer = av.open(
                handle,
                options={"max_pixels": str(MAX_FRAME_PIXELS)},
                container_options={"format_whitelist": FORMATS, "protocol_whitelist": protocols},
                metadata_errors="replace",
            )
            return container
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"'{self._name}' is no video that can be read ({_reason(error)}); MP4, MOV, MKV, "
                "WebM, AVI, MPEG-TS, FLV, OGG, WMV and GIF are, if they are whole."
            ) from error

    def _first_frame(self) -> av.VideoFrame:
        for _, frame in self._decode(None, _Damage()):
            return frame
        raise self._undecodable()

    def _undecodable(self) -> VideoError:
        return VideoError(
            f"No frame of '{self._name}' could be decoded; convert or replace the file."
        )

    def _frames(self, wanted: list[int]) -> Iterator[tuple[int, Pixels]]:
        """Frames of the wanted indices, all of them, whatever the decoder does."""
        painter = Painter(self._shape, self)
        done = 0
        # Packets that no wanted frame needs are left out. Should a frame then be missing, the
        # rest is read again with every packet: slower, and nothing depends on flags any more.
        for sparing in (True, False):
            damage = _Damage(believes_flags=not any(self._packets.second))
            try:
                for index, frame in self._matched(wanted[done:], sparing, damage):
                    yield index, painter.paint(frame)
                    done += 1
            finally:
                damage.report(self)
            if done == len(wanted):
                return
        raise self._undecodable()

    def _matched(
        self, wanted: list[int], sparing: bool, damage: _Damage
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """Pair decoder output with native frame indices; stops early at a gap when sparing.

        A frame that the decoder never puts out is shown as what a viewer would see at its time:
        the frame before it.
        """
        timeline = self._timeline
        send = packets_needed(self._packets, timeline, wanted) if sparing else None
        position = 0
        before: av.VideoFrame | None = None
        for ordinal, frame in self._decode(send, damage):
            index = ordinal if timeline.keys is None else timeline.index_of(frame.pts)
            if index is None:
                continue
            while position < len(wanted) and wanted[position] < index:
                if sparing:
                    return
                damage.missing += 1
                yield wanted[position], before if before is not None else frame
                position += 1
            if position < len(wanted) and wanted[position] == index:
                yield index, frame
                position += 1
            if position == len(wanted):
                return
            before = frame
        if not sparing and before is not None:
            for index in wanted[position:]:
                damage.missing += 1
                yield index, before

    def _decode(self, send: Sending | None, damage: _Damage) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decoder output with its ordinal; only the packets in `send` (None: all) are decoded."""
        ordinal = 0
        with self.open_container() as container:
            stream = container.streams[self._stream_index]
            decoder: Any = stream.codec_context
            decoder.thread_type = "AUTO"
            # The decoder checks this before it allocates a picture, also in mid-stream.
            decoder.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
            for number, packet in enumerate(demux(container, stream)):
                if send is not None and number < len(send.packets):
                    if not send.packets[number]:
                        continue
                    if number in send.fresh_starts:
                        for frame in damage.decode(decoder, None):
                            yield ordinal, frame
                            ordinal += 1
                        decoder.flush_buffers()
                for frame in damage.decode(decoder, packet):
                    yield ordinal, frame
                    ordinal += 1
                if send is not None and number >= send.last:
                    break
            for frame in damage.decode(decoder, None):
                yield ordinal, frame
                ordinal += 1

    def _timeline_of_frames(self, notes: list[str]) -> Timeline:
        """Times from decoding everything, for streams whose packets do not tell them."""
        stamps: list[int | None] = []
        for _, frame in self._decode(None, _Damage()):
            stamps.append(frame.pts if frame.pts is not None else frame.dts)
            if len(stamps) > MAX_PACKETS:
                break
        if not stamps:
            raise self._undecodable()
        return timeline_in_order(stamps, self._packets, notes)


@dataclass
class _Damage:
    """Counts what went wrong in a decode pass, so that it is told and never fatal."""

    believes_flags: bool = True
    """Not for fields: FFmpeg's threads then flag frames at random that are whole."""
    broken: int = 0
    missing: int = 0

    def decode(self, decoder: Any, packet: Any) -> list[av.VideoFrame]:
        try:
            frames: list[av.VideoFrame] = decoder.decode(packet)
        except av.error.EOFError:
            return []
        except av.FFmpegError:
            self.broken += 1
            return []
        self.broken += self.believes_flags and sum(frame.is_corrupt for frame in frames)
        return frames

    def report(self, source: VideoSource) -> None:
        if self.broken or self.missing:
            source.warn(
                "The video file is damaged; what is seen near the damaged frames may be wrong."
            )


def _choose_stream(container: InputContainer, name: str, notes: list[str]) -> Any:
    if container.format.name == _WEBP:
        raise VideoError(
            f"'{name}' is a WebP picture, of which the moving ones are not read either; convert it "
            "to GIF or MP4."
        )
    covers = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & covers]
    readable = [s for s in streams if s.codec_context is not None]
    if not readable:
        raise VideoError(_without_picture(container, name, bool(streams)))
    # An animated AVIF holds the first picture once more, alone.
    moving = [s for s in readable if s.frames != 1] or readable
    default = av.stream.Disposition.default
    chosen = next((s for s in moving if s.disposition & default), moving[0])
    if len(moving) > 1:
        number = readable.index(chosen) + 1
        notes.append(f"The file has {len(readable)} video streams; number {number} is read.")
    return chosen


def _without_picture(container: InputContainer, name: str, has_video: bool) -> str:
    if has_video:
        return (
            f"'{name}' has a video of a kind that cannot be decoded here, such as AV1 of Dolby "
            "Vision alone; convert it to H.264 first."
        )
    kinds = sorted({"a cover" if s.type == "video" else s.type for s in container.streams})
    return (
        f"'{name}' has no video, only {' and '.join(kinds) or 'nothing'}; a file with a picture "
        "track is needed."
    )


def _note_oddities(frame: av.VideoFrame, tag: str, notes: list[str]) -> None:
    if frame.colorspace in _ODD_COLOURS or tag in _DOLBY_VISION_ALONE:
        notes.append(
            "The video has colours of Dolby Vision's or ICtCp's own, which are not converted: they "
            "look wrong."
        )
    elif frame.color_trc in _HDR_TRANSFERS:
        notes.append(
            f"The video is HDR ({_HDR_TRANSFERS[frame.color_trc]}); its colours are read without "
            "tone mapping and look pale."
        )
    if frame.interlaced_frame:
        notes.append("The video is interlaced; fast movement shows comb lines.")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
