"""What a detector and a tracker must offer; any object with these members will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.structures import Detections, Pixels, TimedFrame, Tracks, VideoInfo


@runtime_checkable
class Detector(Protocol):
    """Frames -> boxes.

    One that has a `sure_score` says from which score on it takes an object to be there; see
    `score_scale`. One that has `n_threads` is called by so many threads at once for each video;
    any other by one, which is not the one that opened the video.
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


class TrackingSession(Protocol):
    """One video while it is tracked; all that is known of it lives here, nothing in the tracker."""

    def update(self, frame: TimedFrame) -> None:
        """See the next of the frames that the tracker wanted."""
        ...

    def finish(self) -> Tracks:
        """All objects, once the last frame was seen; called once."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """Frames, fed one by one -> tracks. One tracker serves many videos, also at once."""

    name: str
    class_names: tuple[str, ...]
    """All that it can tell apart; empty where that depends on the query or the file."""

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """Ascending native frames that a session needs; may be none."""
        ...

    def start(self, info: VideoInfo, query: str | Sequence[str] | None = None) -> TrackingSession:
        """Begin a video; the session is then fed exactly the `frames_wanted`, in order.

        `query`, one text or several, is a hint for trackers that look for what is asked; others
        ignore it.
        """
        ...


def check_tracker(tracker: object) -> Tracker:
    """The same object, when it has all that a tracker needs.

    Raises:
        TrackerError: it has not; the message says what is missing.
    """
    if isinstance(tracker, Tracker):
        return tracker
    needed = ("name", "class_names", "frames_wanted", "start")
    missing = [name for name in needed if not hasattr(tracker, name)]
    old = (
        ""
        if not hasattr(tracker, "track")
        else (
            " track(stream, info) is no longer called: start(info, query) returns a session, which "
            "is fed by update(frame) and gives its tracks by finish()."
        )
    )
    raise TrackerError(
        f"{type(tracker).__name__} is not a tracker: it has no {', no '.join(missing)}; a tracker "
        f"needs {', '.join(needed[:-1])} and {needed[-1]}.{old} See docs/trackers.md."
    )
