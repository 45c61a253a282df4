"""H.264 with one field a packet, as camcorders and broadcasters write it (PAFF).

No encoder at hand makes it, so this is one: every macroblock is I_PCM, its samples as they are,
and what remains to write are the headers of ITU-T H.264, 7.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tests.media import picture

WIDTH, HEIGHT = 96, 64


class Bits:
    """Syntax elements, one after the other."""

    def __init__(self) -> None:
        self._text = ""

    def number(self, value: int, bits: int) -> Bits:
        """u(n)."""
        self._text += f"{value:0{bits}b}"
        return self

    def golomb(self, *values: int) -> Bits:
        """ue(v), each."""
        for value in values:
            digits = f"{value + 1:b}"
            self._text += "0" * (len(digits) - 1) + digits
        return self

    def samples(self, data: bytes) -> Bits:
        """Whole bytes, after zeros up to the next one."""
        self._text += "0" * (-len(self._text) % 8) + "".join(f"{byte:08b}" for byte in data)
        return self

    def unit(self, header: int) -> bytes:
        """A NAL unit with its start code and emulation prevention."""
        text = self._text + "1"
        text += "0" * (-len(text) % 8)
        out, zeros = bytearray(b"\0\0\0\1" + bytes([header])), 0
        for byte in int(text, 2).to_bytes(len(text) // 8, "big"):
            if zeros >= 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return bytes(out)


def parameter_sets() -> bytes:
    """SPS and PPS: High profile with a scaling matrix, pictures of fields allowed."""
    sps = Bits().number(100, 8).number(0, 8).number(30, 8).golomb(0)
    sps.golomb(1, 0, 0).number(0, 1)  # 4:2:0, 8 bits
    sps.number(1, 1)  # a scaling matrix; of its first list the first value is 8 + 0, then default
    sps.number(1, 1).golomb(*[0] * 16).number(0, 7)
    sps.golomb(0, 2, 1).number(0, 1)  # frame_num of 4 bits, order type 2, one reference
    sps.golomb(WIDTH // 16 - 1, HEIGHT // 32 - 1)
    sps.number(0, 1).number(0, 1).number(1, 1)  # frame_mbs_only, mb_adaptive, direct_8x8
    sps.number(0, 1).number(0, 1)  # no cropping, no VUI
    pps = Bits().golomb(0, 0).number(0, 1).number(0, 1).golomb(0, 0, 0).number(0, 3)
    pps.golomb(0, 0, 0).number(1, 1).number(0, 1).number(0, 1)  # deblocking is said in slices
    return sps.unit(0x67) + pps.unit(0x68)


def coded_picture(rgb: NDArray[np.uint8], number: int, field: int | None) -> bytes:
    """The top (0) or bottom (1) field of a picture, or the whole frame (None)."""
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
    planes = frame.to_ndarray()
    luma = planes[:HEIGHT].reshape(HEIGHT, WIDTH)
    chroma = planes[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    if field is not None:
        luma, chroma = luma[field::2], chroma[:, field::2]
    fresh = field != 1  # Only a frame's first field can be an IDR picture.
    bits = Bits().golomb(0, 7, 0).number(0, 4).number(int(field is not None), 1)
    if field is not None:
        bits.number(field, 1)
    if fresh:
        bits.golomb(number % 2).number(0, 2)
    else:
        bits.number(0, 1)
    bits.golomb(0, 1)  # quantiser as it is, no deblocking
    for y in range(0, luma.shape[0], 16):
        for x in range(0, WIDTH, 16):
            blocks = [luma[y : y + 16, x : x + 16]]
            blocks += [c[y // 2 : y // 2 + 8, x // 2 : x // 2 + 8] for c in chroma]
            bits.golomb(25).samples(b"".join(block.tobytes() for block in blocks))
    return bits.unit(0x65 if fresh else 0x61)


def field_coded_packets(kinds: Sequence[bool]) -> list[bytes]:
    """Numbered pictures: two packets for a frame of fields (True), one for a whole frame."""
    packets = []
    for i, of_fields in enumerate(kinds):
        rgb = picture(i, WIDTH, HEIGHT)
        units = [coded_picture(rgb, i, f) for f in ((0, 1) if of_fields else (None,))]
        packets += [parameter_sets() + units[0], *units[1:]]
    return packets


def write_field_coded(path: Path, kinds: Sequence[bool], fps: int = 25) -> Path:
    """A file in which every packet has a time stamp of its own, each field too."""
    base = Fraction(1, 90_000)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.extradata = parameter_sets()
        half = 90_000 // (2 * fps)
        stamps = [t for i, f in enumerate(kinds) for t in ([2 * i, 2 * i + 1] if f else [2 * i])]
        for data, stamp in zip(field_coded_packets(kinds), stamps, strict=True):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, base
            packet.pts = packet.dts = stamp * half
            packet.is_keyframe = b"\x65" in data[:200]
            output.mux(packet)
    return path
