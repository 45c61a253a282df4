"""What a detector sees in one frame and a tracker follows through the video."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.structures.video import ByValue, check


class RLE(TypedDict):
    """A COCO compressed run-length mask: `size` is `[H, W]`, `counts` is ASCII."""

    size: list[int]
    counts: str


@dataclass(frozen=True, eq=False)
class Detections(ByValue):
    """The objects a detector sees in one frame."""

    boxes: NDArray[np.float32]
    """`(N, 4)` xyxy pixels of the frame."""
    scores: NDArray[np.float32]
    """`(N,)` in 0..1."""
    class_ids: NDArray[np.int64]
    """`(N,)` index into the detector's `class_names`."""

    def __post_init__(self) -> None:
        n = len(self.boxes)
        check(self.boxes.shape == (n, 4), f"boxes must be (N, 4), got {self.boxes.shape}")
        check(len(self.scores) == len(self.class_ids) == n, "boxes, scores, class_ids differ")

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, eq=False)
class Track(ByValue):
    """One object through the video: at most one box a native frame."""

    object_id: int
    """The number drawn on the object: a small positive integer, stable for the whole video."""
    class_name: str
    score: float
    """Mean detection score in 0..1."""
    frame_indices: NDArray[np.int64]
    """`(T,)` native frames where the object is visible, strictly ascending."""
    boxes: NDArray[np.float32]
    """`(T, 4)` xyxy."""
    interpolated: NDArray[np.bool_]
    """`(T,)` True where the box lies between two detections instead of on one."""
    masks: tuple[RLE | None, ...] | None = None
    """T masks, or None when the tracker gives boxes only."""

    def __post_init__(self) -> None:
        n = len(self.frame_indices)
        check(self.object_id > 0, f"object_id must be positive, got {self.object_id}")
        check(n > 0, f"track {self.object_id} is empty")
        check(bool(np.all(np.diff(self.frame_indices) > 0)), "frame_indices must ascend")
        check(self.boxes.shape == (n, 4), f"boxes must be ({n}, 4), got {self.boxes.shape}")
        check(len(self.interpolated) == n, f"interpolated must be ({n},)")
        check(self.masks is None or len(self.masks) == n, f"masks must be {n} long or None")

    def position(self, frame_index: int) -> int | None:
        """Index into this track's arrays for a native frame, or None when not visible there."""
        i = int(np.searchsorted(self.frame_indices, frame_index))
        if i < len(self.frame_indices) and self.frame_indices[i] == frame_index:
            return i
        return None

    def box_at(self, frame_index: int) -> NDArray[np.float32] | None:
        """`(4,)` box at a native frame, or None when the object is not visible there."""
        i = self.position(frame_index)
        return None if i is None else self.boxes[i]

    def at(self, positions: NDArray[np.int64]) -> Track:
        """This track at some positions of its arrays alone, at least one, ascending."""
        masks = self.masks
        return replace(
            self,
            frame_indices=self.frame_indices[positions],
            boxes=self.boxes[positions],
            interpolated=self.interpolated[positions],
            masks=None if masks is None else tuple(masks[i] for i in positions.tolist()),
        )

    def __repr__(self) -> str:
        return f"Track({self.object_id}, {self.class_name!r}, {len(self.frame_indices)} frames)"


@dataclass(frozen=True, eq=False)
class Tracks(ByValue):
    """Every object of one video."""

    width: int
    height: int
    frame_times: NDArray[np.float64]
    """`(F,)` seconds of every native frame."""
    tracks: tuple[Track, ...]
    warnings: tuple[str, ...] = ()
    """What a user should know of how they were found, one sentence each."""
    tracker: str = ""
    """Name of the tracker that found them; empty where they come from elsewhere."""
    class_names: tuple[str, ...] = ()
    """All that the tracker can tell apart; empty where it does not say."""

    def __post_init__(self) -> None:
        ids = [track.object_id for track in self.tracks]
        check(len(set(ids)) == len(ids), f"object ids must be unique, got {ids}")
        last = max((int(track.frame_indices[-1]) for track in self.tracks), default=-1)
        check(
            last < len(self.frame_times),
            f"a track reaches frame {last} of a video with {len(self.frame_times)} frames",
        )

    @property
    def object_ids(self) -> tuple[int, ...]:
        """IDs in track order."""
        return tuple(track.object_id for track in self.tracks)

    def get(self, object_id: int) -> Track | None:
        """The track with this ID, or None."""
        return next((t for t in self.tracks if t.object_id == object_id), None)

    def __len__(self) -> int:
        return len(self.tracks)

    def __repr__(self) -> str:
        return f"Tracks({self.width}x{self.height}, {len(self.frame_times)} frames, {self.tracks})"


@dataclass(frozen=True)
class Box:
    """The answered object in one native frame."""

    frame_index: int
    time_seconds: float
    xyxy: tuple[float, float, float, float]
    interpolated: bool
    object_id: int
    mask: RLE | None = None
    """None where no mask was made, or where it is empty."""

    def scaled(self, scale: float) -> Box:
        """The same box on a frame of another size, without its mask."""
        left, top, right, bottom = (v * scale for v in self.xyxy)
        return replace(self, xyxy=(left, top, right, bottom), mask=None)
