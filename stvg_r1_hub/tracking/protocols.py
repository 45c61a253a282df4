"""What a detector and a tracker must offer; any object with these members will do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from stvg_r1_hub.structures import Detections, Pixels, Progress, TimedFrame, Tracks, VideoInfo


@runtime_checkable
class Detector(Protocol):
    """Frames -> boxes.

    One that has a `sure_score` says from which score on it takes an object to be there; see
    `score_scale`.
    """

    class_names: tuple[str, ...]

    def detect(self, frames: Sequence[Pixels]) -> list[Detections]:
        """Objects of each `(H, W, 3)` uint8 RGB frame, in frame pixels."""
        ...


@runtime_checkable
class OpenDetector(Protocol):
    """Words -> a detector of what they name; nothing of one video stays for the next."""

    def looking_for(self, words: Sequence[str]) -> Detector:
        """A detector whose classes are these words, in their order."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """A stream of frames -> tracks."""

    name: str

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """Ascending native frames that `track` needs; may be none."""
        ...

    def track(
        self,
        stream: Iterable[TimedFrame],
        info: VideoInfo,
        *,
        query: str | Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> Tracks:
        """Tracks of one video; the stream yields exactly the `frames_wanted`, in order.

        `query`, one text or several, is a hint for trackers that look for what is asked; others
        ignore it.
        """
        ...
