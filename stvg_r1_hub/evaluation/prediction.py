"""`Prediction`: what a model answered to one sample, in the form that every protocol scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import frames_in_range
from stvg_r1_hub.structures import RLE, Tracks


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model answered to one sample; times and frames count from the start of the file."""

    text: str = ""
    """The model's whole output."""
    start_seconds: float | None = None
    """Answered range, cut to the video; None, as the end, when nothing usable was answered."""
    end_seconds: float | None = None
    object_ids: tuple[int, ...] = ()
    declined: bool = False
    """True when the model said that nothing matches."""
    frame_times: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """`(F,)` seconds of every shown native frame."""
    first_frame: int = 0
    """Native frame of the file that is the first shown one."""
    frame_indices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """`(P,)` frames of `boxes`, strictly ascending."""
    boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    """`(P, 4)` xyxy of the (first) answered object wherever it is visible, also outside the
    answered range."""
    masks: Mapping[int, RLE] | None = None
    """Shown frame to the union mask of the answered objects."""
    tracks: Tracks | None = None
    """All objects, in shown frames; None for models that write boxes themselves."""

    @property
    def answered(self) -> bool:
        """Whether there is a range to score."""
        return self.start_seconds is not None

    @property
    def range_seconds(self) -> tuple[float, float]:
        """The answered range, or an empty one."""
        if self.start_seconds is None or self.end_seconds is None:
            return 0.0, 0.0
        return self.start_seconds, self.end_seconds

    @property
    def frame_range(self) -> tuple[int, int]:
        """The answered half-open range of native frames of the file."""
        frames = frames_in_range(self.frame_times, *self.range_seconds)
        return self.first_frame + frames.start, self.first_frame + frames.stop

    @property
    def tube(self) -> dict[int, NDArray[np.float64]]:
        """Frame of the file to the answered object's box."""
        return dict(zip(self.frame_indices.tolist(), self.boxes, strict=True))
