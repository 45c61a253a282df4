"""Baseline: a plain vision-language model that writes time and boxes as text, without numbers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import frames_in_range

_NUMBER = r"(-?\d{1,9}(?:\.\d{1,9})?)"
_BOX = re.compile(
    rf'"time"\s*:\s*"?{_NUMBER}"?\s*,\s*"bbox_2d"\s*:\s*'
    rf"\[\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\]"
)
_END = {name: re.compile(rf'"{name}"\s*:\s*"?{_NUMBER}"?') for name in ("start", "end")}
_MOST_CHARACTERS = 100_000


@dataclass(frozen=True, eq=False)
class WrittenTube:
    """What a model wrote: a range and boxes at some moments, in pixels of the frames it saw."""

    start_seconds: float
    end_seconds: float
    times: NDArray[np.float64]
    """`(B,)` ascending seconds."""
    boxes: NDArray[np.float64]
    """`(B, 4)` xyxy."""

    def spread(
        self, frame_times: NDArray[np.float64], scale: tuple[float, float]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Boxes of every frame of the range: linear between two, the nearest outside them.

        Args:
            frame_times: `(F,)` seconds of the native frames.
            scale: native width and height over those of the frames the model saw.

        Returns:
            `(P,)` frames and `(P, 4)` boxes in native pixels.
        """
        frames = frames_in_range(frame_times, self.start_seconds, self.end_seconds)
        indices = np.arange(frames.start, frames.stop, dtype=np.int64)
        if not len(self.times):
            return indices[:0], np.zeros((0, 4))
        moments = frame_times[frames.start : frames.stop]
        columns = [np.interp(moments, self.times, self.boxes[:, i]) for i in range(4)]
        return indices, np.stack(columns, axis=1) * np.array([*scale, *scale])


def parse_written_tube(text: str) -> WrittenTube | None:
    """Read the last answer in a text, whole JSON or as much of it as was written.

    A cut or garbled text still gives the boxes before the damage; boxes without a size or a time
    are left out. Nothing in the text makes this raise.

    Returns:
        None when no usable range can be read.
    """
    text = text[-_MOST_CHARACTERS:]
    starts = list(_END["start"].finditer(text))
    if not starts:
        return None
    text = text[starts[-1].start() :]
    end_match = _END["end"].search(text)
    if end_match is None:
        return None
    start, end = float(starts[-1][1]), float(end_match[1])
    if not (0 <= start < end and math.isfinite(end)):
        return None
    rows = sorted(
        (time, box)
        for time, *box in (tuple(map(float, found.groups())) for found in _BOX.finditer(text))
        if box[2] > box[0] and box[3] > box[1]
    )
    kept = {time: box for time, box in rows}
    return WrittenTube(
        start, end, np.array(list(kept)), np.array(list(kept.values())).reshape(-1, 4)
    )
