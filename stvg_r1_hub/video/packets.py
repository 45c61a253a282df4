"""What the packets of a video stream tell without decoding: frame times and dependencies.

`scan` reads every packet once (fast: a disk read). From that follow the presentation time of
every frame (`timeline_of_packets`) and which packets a set of frames needs (`packets_needed`).
Where packets do not tell the times, those of the decoded frames do (`timeline_in_order`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeGuard

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.video.kinds import classifier
from stvg_r1_hub.video.source import MAX_DURATION_SECONDS

MAX_REORDERING = 32
"""Decoders put out a frame at most this many places from where its packet was (H.264: 16)."""
MAX_PACKETS = int(MAX_DURATION_SECONDS * 240)


@dataclass
class Packets:
    """Every packet of the video stream, in file order."""

    time_base: Fraction
    rate: float
    """What the container believes; used only where nothing else is known."""
    reorders_blindly: bool
    """The container stores no showing order although the codec reorders (B-frames in AVI)."""
    counts_on: bool
    """Key frames continue the decoder's count of pictures (HEVC)."""
    pts: list[int | None] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    starts: list[bool] = field(default_factory=list)
    """True where decoding can begin afresh."""
    spare: list[bool] = field(default_factory=list)
    """True where no other frame refers to this one."""
    second: list[bool] = field(default_factory=list)
    """True where this is the second field of the frame that the packet before began."""


@dataclass
class Timeline:
    """When every frame is shown, and how decoder output is matched to it."""

    times: NDArray[np.float64]
    """`(F,)` seconds from the first frame, strictly ascending."""
    keys: list[int] | None
    """The pts of every frame, ascending; None when frames are matched by order alone."""
    last_duration: float
    start_seconds: float

    def index_of(self, pts: int | None) -> int | None:
        """The frame with this time stamp, or None."""
        assert self.keys is not None
        if pts is None:
            return None
        i = bisect_left(self.keys, pts)
        return i if i < len(self.keys) and self.keys[i] == pts else None

    def beginning_with(self, pts: int | None, time_base: Fraction, notes: list[str]) -> Timeline:
        """The same from the first picture on that the decoder puts out.

        In a stream cut out of another one nothing can be seen before its first key frame.
        """
        first = None if self.keys is None else self.index_of(pts)
        if not first:
            return self
        assert self.keys is not None
        keys, seconds = self.keys[first:], float(self.times[first])
        notes.append(
            f"The first {seconds:.2f} s of the video cannot be decoded (no key frame comes before "
            "them) and are left out; times count from the first picture."
        )
        start = float(keys[0] * time_base)
        return Timeline(_seconds(keys, time_base), keys, self.last_duration, start)


@dataclass
class Sending:
    """Which packets to decode."""

    packets: NDArray[np.bool_]
    fresh_starts: set[int]
    """Packets before which the decoder must be emptied, since others were left out.

    Only for HEVC, whose key frames continue the count of pictures; those of the others reset
    everything (and emptying FFmpeg's threaded VP9 decoder crashes it on damaged files).
    """
    last: int


def demux(container: InputContainer, stream: Any) -> Iterator[Any]:
    """Packets with data; a read error in the middle of a cut-off file is its end."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, IndexError):
            # IndexError: at its end PyAV trips over streams that turned up in the middle.
            return
        if packet is None:
            return
        if packet.size:
            yield packet


def scan(container: InputContainer, stream: Any, name: str) -> Packets:
    """Read all packets without decoding."""
    decoder = stream.codec_context
    codec = decoder.codec
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    packets = Packets(
        time_base=stream.time_base,
        rate=float(rate) if 1 <= rate <= 240 else 25.0,
        reorders_blindly=(container.format.name == "avi" and decoder.has_b_frames)
        # Invisible frames have packets and time stamps of their own.
        or codec.canonical_name == "vp8",
        counts_on=codec.canonical_name == "hevc",
    )
    classify = classifier(codec.canonical_name, codec.intra_only, decoder.extradata)
    most_ticks = MAX_DURATION_SECONDS / stream.time_base
    earliest, latest = math.inf, -math.inf
    for packet in demux(container, stream):
        kind = classify(packet)
        packets.pts.append(packet.pts)
        packets.shown.append(not packet.is_discard and not kind.second)
        packets.durations.append(packet.duration or 0)
        packets.starts.append(kind.start)
        packets.spare.append(kind.spare)
        packets.second.append(kind.second)
        if packet.pts is not None:
            earliest, latest = min(earliest, packet.pts), max(latest, packet.pts)
        if latest - earliest > most_ticks or len(packets.pts) > MAX_PACKETS:
            raise VideoError(
                f"The time stamps of '{name}' span more than {MAX_DURATION_SECONDS / 3600:g} "
                "hours, the most that can be read; cut it, or convert it, first."
            )
    return packets


def timeline_of_packets(packets: Packets) -> Timeline | None:
    """Frame times from packets alone, or None where they cannot be trusted to tell them."""
    stamps = [pts for pts, shown in zip(packets.pts, packets.shown, strict=True) if shown]
    if packets.reorders_blindly or not stamps or not _are_nearly_in_order(stamps):
        return None
    keys: list[int] = sorted(stamps)
    # Of a frame in two packets no container says how long it is shown.
    last_ticks = 0 if any(packets.second) else packets.durations[packets.pts.index(keys[-1])]
    return Timeline(
        times=_seconds(keys, packets.time_base),
        keys=keys,
        last_duration=_last_duration(keys, last_ticks, packets),
        start_seconds=float(keys[0] * packets.time_base),
    )


def timeline_in_order(stamps: list[int | None], packets: Packets, notes: list[str]) -> Timeline:
    """Frame times for decoded frames in showing order, repairing stamps that make no sense."""
    if _are_nearly_in_order(stamps):
        # The container numbered frames in decoding order: the values are right, their order not.
        keys: list[float] = sorted(stamps)
    else:
        good = _longest_ascending(stamps)
        step = 1 / (packets.rate * packets.time_base)
        if len(good) < 2:
            notes.append(f"The video has no time stamps; {packets.rate:g} fps are assumed.")
            keys = [i * float(step) for i in range(len(stamps))]
        else:
            notes.append(
                f"{len(stamps) - len(good)} of {len(stamps)} frames have no usable time stamp; "
                "their times are estimated from their neighbours."
            )
            keys = _fill_in(stamps, good)
    return Timeline(
        times=_seconds(keys, packets.time_base),
        keys=None,
        last_duration=_last_duration(keys, 0, packets),
        start_seconds=float(keys[0] * packets.time_base),
    )


def _are_nearly_in_order(stamps: list[int | None]) -> TypeGuard[list[int]]:
    """True when the stamps are all there, all different, and nearly in order.

    B-frames move a stamp by a few places. A stamp far from its place is an outlier or a jump
    of the clock, and sorting would put pictures into the wrong order.
    """
    if None in stamps or len(set(stamps)) != len(stamps):
        return False
    places = np.argsort(np.asarray(stamps, dtype=np.int64), kind="stable")
    return bool(np.abs(places - np.arange(len(places))).max() <= MAX_REORDERING)


def _longest_ascending(stamps: list[int | None]) -> list[int]:
    """Positions of a longest strictly ascending run of stamps (patience sorting)."""
    tops: list[int] = []
    top_positions: list[int] = []
    previous: dict[int, int] = {}
    for position, stamp in enumerate(stamps):
        if stamp is None:
            continue
        pile = bisect_left(tops, stamp)
        if pile < len(tops) and tops[pile] == stamp:
            continue  # of two equal stamps the first is right
        if pile:
            previous[position] = top_positions[pile - 1]
        tops[pile : pile + 1] = [stamp]
        top_positions[pile : pile + 1] = [position]
    chain = []
    at: int | None = top_positions[-1] if top_positions else None
    while at is not None:
        chain.append(at)
        at = previous.get(at)
    return chain[::-1]


def _fill_in(stamps: list[int | None], good: list[int]) -> list[float]:
    """Interpolate between good stamps, and continue at the usual step beyond them."""
    values = np.array([stamps[i] for i in good], dtype=np.float64)
    step = float(np.median(np.diff(values) / np.diff(good)))
    places = np.arange(len(stamps))
    filled = np.interp(places, good, values)
    filled = np.where(places < good[0], values[0] - (good[0] - places) * step, filled)
    filled = np.where(places > good[-1], values[-1] + (places - good[-1]) * step, filled)
    return list(filled)


def _seconds(keys: list[Any], time_base: Fraction) -> NDArray[np.float64]:
    ticks = np.asarray(keys)
    # Dividing rounds once, so that the frame at 0.3 s is at 0.3 and in a range that starts there.
    seconds: NDArray[np.float64] = (ticks - ticks[0]) * time_base.numerator / time_base.denominator
    return seconds.astype(np.float64)


def _last_duration(keys: list[Any], ticks: int, packets: Packets) -> float:
    """Seconds that the last frame is shown."""
    if ticks > 0:
        return float(ticks * packets.time_base)
    if len(keys) > 1:
        return float(np.median(np.diff(keys))) * float(packets.time_base)
    return 1 / packets.rate


def packets_needed(packets: Packets, timeline: Timeline, wanted: list[int]) -> Sending | None:
    """The packets that the wanted frames depend on; None (all) where that is not known."""
    if timeline.keys is None or not wanted:
        return None
    place = {pts: i for i, pts in enumerate(packets.pts)}
    starts = [0, *(i for i, start in enumerate(packets.starts) if start and i > 0)]
    needed = np.zeros(len(packets.pts), dtype=bool)
    own = np.zeros(len(packets.pts), dtype=bool)
    for index in wanted:
        pts = timeline.keys[index]
        target = place[pts]
        group = bisect_left(starts, target + 1) - 1
        start_pts = packets.pts[starts[group]]
        if group > 0 and start_pts is not None and pts < start_pts:
            group -= 1  # shown before its own key frame: it also refers to the group before
        needed[starts[group] : target + 1] = True
        own[target] = True
    fresh = {s for s in starts[1:] if packets.counts_on and needed[s] and not needed[s - 1]}
    needed &= own | ~np.asarray(packets.spare, dtype=bool)
    needed[1:] |= needed[:-1] & np.asarray(packets.second[1:], dtype=bool)
    return Sending(needed, fresh, last=int(np.flatnonzero(needed)[-1]))
