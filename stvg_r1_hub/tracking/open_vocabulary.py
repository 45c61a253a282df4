"""`OpenVocabularyTracker`: tracks what is asked for, whatever class it is.

A fish or a forklift can be an answer although no fixed list of classes holds it. Where classes are
named in the settings, these are looked for instead of what the queries name. The detectors
behind it are in `transformers_open` and `ultralytics_open`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.structures import VideoInfo
from stvg_r1_hub.tracking.association import DetectionTracker, frames_at
from stvg_r1_hub.tracking.class_groups import named_classes
from stvg_r1_hub.tracking.interfaces import OpenDetector, TrackingSession
from stvg_r1_hub.tracking.query_nouns import query_nouns


class OpenVocabularyTracker:
    """Tracks the things that the queries name."""

    class_names: tuple[str, ...] = ()

    def __init__(self, detector: OpenDetector, config: TrackingConfig, *, name: str) -> None:
        """Wrap a detector.

        Args:
            detector: finds what it is given words for.
            config: detection rate, threshold, classes.
            name: for messages, such as `"open"`.
        """
        self.name = name
        self._detector = detector
        self._config = config

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """As `DetectionTracker`."""
        return frames_at(self._config.fps, info)

    def start(self, info: VideoInfo, query: str | Sequence[str] | None = None) -> TrackingSession:
        """Begin a video in which what all queries name is tracked, once.

        Raises:
            TrackerError: there is no query.
        """
        mode = self._config.class_mode
        words = named_classes(mode) or query_nouns(query or ())
        if not words:
            raise TrackerError(
                f"The tracker {self.name!r} looks for what is asked, but got no query; give one to "
                "open() or track(), or --query to stvg track; or take a tracker with fixed classes "
                "such as 'coco'"
            )
        config = self._config if mode == "non-person" else replace(self._config, class_mode="all")
        detector = self._detector.looking_for(words)
        remark = f"Only what the words say was looked for: {', '.join(words)}."
        return DetectionTracker(detector, config, name=self.name, remark=remark).start(info)
