"""A tracker that knows the truth, to measure the language model alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stvg_r1_hub.sprites.clips import true_tracks
from stvg_r1_hub.sprites.scene import Scene
from stvg_r1_hub.structures import Progress, TimedFrame, Tracks, VideoInfo

TRUE_TRACKS = "true tracks"
"""What a run's settings call this tracker."""


class TrueTracker:
    """Reports the ground truth of one scene."""

    name = TRUE_TRACKS

    def __init__(self, scene: Scene) -> None:
        """Remember the scene."""
        self.tracks = true_tracks(scene)

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """No pixels are needed."""
        return ()

    def track(
        self,
        stream: Any,
        info: VideoInfo,
        *,
        query: str | Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> Tracks:
        """The true tracks."""
        frames: list[TimedFrame] = list(stream)
        assert not frames
        return self.tracks
