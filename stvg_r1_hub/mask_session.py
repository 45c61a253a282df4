"""What follows objects and their masks through a video must offer; see `segmentation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.structures import Pixels

Mask = NDArray[np.bool_]
"""`(H, W)` in pixels of the frame."""


class MaskSession(Protocol):
    """Objects of one video, followed frame by frame; its memory does not grow with the video.

    Attributes:
        frame_steps: how often an object was followed into a frame or started in one; the cost.
    """

    frame_steps: int

    def next_frame(self, pixels: Pixels) -> dict[int, Mask]:
        """Go on to the next frame `(H, W, 3)` uint8 RGB; the masks of all objects in it.

        The mask of an object that is hidden there is empty.
        """
        ...

    def masks_of_boxes(
        self, boxes: NDArray[np.float32] | Sequence[NDArray[np.float32]]
    ) -> list[Mask]:
        """The mask of what lies in each box `(N, 4)` xyxy of the current frame."""
        ...

    def add(
        self, object_id: int, *, box: NDArray[np.float32] | None = None, mask: Mask | None = None
    ) -> Mask:
        """Follow an object from the current frame on, given its box or its mask there.

        Returns:
            Its mask in the current frame. An object that is there already starts anew.
        """
        ...

    def drop(self, object_id: int) -> None:
        """Follow an object no longer."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Follows objects and their masks through videos."""

    name: str

    def open(self, height: int, width: int, n_frames: int) -> MaskSession:
        """A session for one video; `n_frames` is how many frames it will be given at most."""
        ...
