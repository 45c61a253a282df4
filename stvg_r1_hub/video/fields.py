"""Which packets of an H.264 stream are the second field of a frame (ITU-T H.264, 7.3 and 7.4.1).

Camcorders and broadcasters code one field (every other line) a packet, each with a time stamp of
its own. Two make one frame, shown at the time of the first.
"""

from __future__ import annotations

from dataclasses import dataclass

_WITH_CHROMA_FORMAT = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}
"""Profiles whose parameter sets say more than those of the others."""


@dataclass(frozen=True)
class _Field:
    frame_num: int
    is_bottom: bool
    is_second: bool


class FieldPairs:
    """Follows a stream in file order and tells second fields."""

    def __init__(self) -> None:
        """No parameter set is known yet, and pictures count as whole frames."""
        self._frame_num_bits: int | None = None
        self._colour_planes = False
        self._last: _Field | None = None

    @property
    def possible(self) -> bool:
        """Whether the stream may hold fields at all; else slices need not be looked at."""
        return self._frame_num_bits is not None

    def learn(self, parameters: bytes) -> None:
        """Read a sequence parameter set, without its header byte; a broken one changes nothing."""
        try:
            self._frame_num_bits, self._colour_planes = _read_parameters(_Bits(parameters))
        except EOFError:
            return

    def is_second(self, slice_start: bytes) -> bool:
        """Whether a slice, given from after its header byte, belongs to a frame's second field."""
        try:
            self._last = self._read_slice(_Bits(slice_start))
        except EOFError:
            self._last = None
        return self._last is not None and self._last.is_second

    def _read_slice(self, bits: _Bits) -> _Field | None:
        if self._frame_num_bits is None:
            return None
        bits.golomb(), bits.golomb(), bits.golomb()  # place, type, picture parameter set
        bits.take(2 if self._colour_planes else 0)
        frame_num = bits.take(self._frame_num_bits)
        if not bits.take():
            return None
        is_bottom, last = bool(bits.take()), self._last
        if last is None or last.frame_num != frame_num:
            return _Field(frame_num, is_bottom, is_second=False)
        if last.is_bottom == is_bottom:
            return last  # Another slice of the same field.
        # Frames that nothing refers to share their number: after two fields comes a new first one.
        return _Field(frame_num, is_bottom, is_second=not last.is_second)


class _Bits:
    """Syntax elements of a NAL unit."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\0\0\3", b"\0\0")  # Put in so that no start code arises.
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int = 1) -> int:
        """The next bits as a number.

        Raises:
            EOFError: there are no more.
        """
        self._left -= count
        if self._left < 0:
            raise EOFError
        return self._value >> self._left & (1 << count) - 1

    def golomb(self) -> int:
        """A number of Exp-Golomb code."""
        zeros = 0
        while not self.take():
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


def _read_parameters(bits: _Bits) -> tuple[int | None, bool]:
    """Bits of `frame_num`, None where pictures are whole frames; and separate colour planes."""
    profile = bits.take(8)
    bits.take(16)  # constraints, level
    bits.golomb()  # its number
    planes = False
    if profile in _WITH_CHROMA_FORMAT:
        chroma = bits.golomb()
        planes = chroma == 3 and bool(bits.take())
        bits.golomb(), bits.golomb(), bits.take()  # depths, lossless
        if bits.take():
            for i in range(12 if chroma == 3 else 8):
                _skip_scaling_list(bits, 16 if i < 6 else 64)
    frame_num_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(), bits.golomb(), bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb(), bits.take()  # references, gaps
    bits.golomb(), bits.golomb()  # width, height
    frames_only = bits.take()
    return None if frames_only else frame_num_bits, planes


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    if not bits.take():
        return
    last = 8
    for _ in range(size):
        code = bits.golomb()
        change = (code + 1) // 2 if code % 2 else -(code // 2)
        if (last + change) % 256 == 0:
            return  # The rest repeats the last value.
        last = (last + change) % 256
