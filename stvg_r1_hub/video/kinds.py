"""What one packet is, told by its bytes: a clean start, not referred to, or a second field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from stvg_r1_hub.video.fields import FieldPairs

_MOST_HEADER_BYTES = 512
"""More than a sequence parameter set needs up to what we read of it."""
# A key frame of these is a clean start: what follows it in showing order never looks back.
# H.264 and HEVC are decided by their own NAL units, since containers also flag recovery points.
_CLEAN_KEY_FRAMES = {"vp9", "av1"}


class Kind(NamedTuple):
    """What one packet is."""

    start: bool = False
    """Decoding can begin afresh here."""
    spare: bool = False
    """No other frame refers to it."""
    second: bool = False
    """It is the second field of a frame."""


def classifier(codec: str, intra_only: bool, extradata: bytes | None) -> Callable[[Any], Kind]:
    """A function that looks at one packet after the other."""
    if intra_only:
        return lambda packet: Kind(start=True, spare=True)
    if codec in _CLEAN_KEY_FRAMES:
        return lambda packet: Kind(start=packet.is_keyframe)
    # MP4 and Matroska put the length before every NAL unit and say how long that number is;
    # transport streams and raw files separate them with start codes.
    header = extradata or b""
    if codec == "h264":
        return _h264_classifier(header)
    if codec == "hevc":
        separated = len(header) < 22 or header.startswith((b"\0\0\0", b"\0\0\1"))
        length = 0 if separated else (header[21] & 3) + 1

        def hevc(packet: Any) -> Kind:
            types = [h >> 1 & 63 for h in nal_headers(bytes(packet), length)]
            pictures = [t for t in types if t < 32]
            return Kind(start=bool(pictures) and all(16 <= t <= 21 for t in pictures))

        return hevc
    return lambda packet: Kind()


def _h264_classifier(extradata: bytes) -> Callable[[Any], Kind]:
    pairs = FieldPairs()
    length = (extradata[4] & 3) + 1 if len(extradata) > 8 and extradata[0] == 1 else 0
    if length:
        pairs.learn(extradata[9 : 9 + _MOST_HEADER_BYTES])  # the first set, at its fixed place

    def look_at(data: bytes, length: int) -> tuple[list[int], list[bool]]:
        """The headers of all slices, and whether each is of a second field."""
        slices, seconds = [], []
        for place in nal_places(data, length):
            header = data[place]
            if header & 31 == 7:
                pairs.learn(data[place + 1 : place + _MOST_HEADER_BYTES])
            elif 1 <= header & 31 <= 5:
                slices.append(header)
                if pairs.possible and header & 31 in (1, 2, 5):
                    seconds.append(pairs.is_second(data[place + 1 : place + 32]))
        return slices, seconds

    if not length:
        look_at(extradata, 0)

    def h264(packet: Any) -> Kind:
        slices, seconds = look_at(bytes(packet), length)
        return Kind(
            start=bool(slices) and all(h & 31 == 5 for h in slices),
            spare=bool(slices) and all(h & 31 == 1 and h & 0x60 == 0 for h in slices),
            second=seconds[:1] == [True],
        )

    return h264


def nal_headers(data: bytes, length_size: int) -> list[int]:
    """First byte of every NAL unit of an H.264 or HEVC packet."""
    return [data[place] for place in nal_places(data, length_size)]


def nal_places(data: bytes, length_size: int) -> list[int]:
    """Where in a packet of H.264 or HEVC every NAL unit begins.

    Args:
        data: the packet.
        length_size: bytes of the length before each unit, 0 for start codes.
    """
    places = []
    if length_size:
        position = 0
        while position + length_size < len(data):
            places.append(position + length_size)
            size = int.from_bytes(data[position : position + length_size], "big")
            position += length_size + size
    else:
        position = data.find(b"\0\0\1")
        while 0 <= position < len(data) - 3:
            places.append(position + 3)
            position = data.find(b"\0\0\1", position + 3)
    return places
