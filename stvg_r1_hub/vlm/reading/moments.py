"""What fits a query: an object and when, or why none does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.structures import ObjectNote


@dataclass(frozen=True)
class Moment:
    """An object during `[start_seconds, end_seconds)`."""

    note: ObjectNote
    start_seconds: float
    end_seconds: float

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.end_seconds - self.start_seconds

    def boxes(self) -> NDArray[np.float64]:
        """`(T, 4)` boxes in it, at least one."""
        inside = self._inside()
        return self.note.boxes[inside if inside.any() else slice(None)].astype(np.float64)

    @property
    def speed(self) -> float:
        """Mean speed in it, in the object's own heights a second."""
        inside = self._inside()
        return float(np.mean(self.note.speeds[inside])) if inside.any() else 0.0

    def _inside(self) -> NDArray[np.bool_]:
        times = self.note.times_seconds
        return np.asarray((times >= self.start_seconds - 1e-6) & (times < self.end_seconds))


class NothingFits(Exception):
    """Why no object fits, as a sentence for people."""
