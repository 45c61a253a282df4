"""A part of a video, shown as if it were the whole: for benchmarks that cut their clips in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.structures import Pixels, Track, VideoInfo
from stvg_r1_hub.tracking import GivenTracks, Tracker
from stvg_r1_hub.video import VideoSource, part_of


class WindowSource(VideoSource):
    """The frames of another source within a half-open time range; their times start at 0."""

    def __init__(self, source: VideoSource, start_seconds: float, end_seconds: float) -> None:
        """Wrap an open source, which stays open until this one is closed.

        Raises:
            AnnotationError: fewer than two frames lie in the range.
        """
        whole = source.info
        # Annotated bounds are rounded; a frame that is off by a hair still belongs.
        hair = 1e-3
        found = part_of(whole, start_seconds - hair, end_seconds - hair)
        if found is None:
            raise AnnotationError(
                f"{whole.name} lasts {whole.duration_seconds:.2f} s and has fewer than 2 frames "
                f"in the annotated part {start_seconds:.2f} to {end_seconds:.2f} s; use the video "
                "that was annotated."
            )
        info, self.first_frame = found
        super().__init__(info)
        self.offset_seconds = float(whole.frame_times[self.first_frame])
        self._source = source
        self.warnings = source.warnings

    def _frames(self, wanted: list[int]) -> Iterator[tuple[int, Pixels]]:
        shifted = [index + self.first_frame for index in wanted]
        for frame in self._source.stream(shifted):
            yield frame.frame_index - self.first_frame, frame.pixels

    def close(self) -> None:
        """Close the wrapped source."""
        self._source.close()


class WholeVideoTracks:
    """A tracker that knows the whole video, asked about a window of it."""

    def __init__(self, tracker: Tracker, whole: VideoInfo, first_frame: int) -> None:
        """Wrap a tracker that needs no pixels, such as precomputed tracks."""
        self.name, self.class_names = tracker.name, tracker.class_names
        self._tracker = tracker
        self._whole = whole
        self._first = first_frame

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """No pixel is needed."""
        return ()

    def start(self, info: VideoInfo, query: str | Sequence[str] | None = None) -> GivenTracks:
        """The tracks, cut to the window and counted from its first frame."""
        tracks = self._tracker.start(self._whole, query).finish()
        cut = (_cut(track, self._first, info.n_frames) for track in tracks.tracks)
        kept = tuple(track for track in cut if track is not None)
        return GivenTracks(replace(tracks, frame_times=info.frame_times, tracks=kept))


def _cut(track: Track, first: int, n_frames: int) -> Track | None:
    inside = np.flatnonzero(
        (track.frame_indices >= first) & (track.frame_indices < first + n_frames)
    )
    if not len(inside):
        return None
    cut = track.at(inside)
    return replace(cut, frame_indices=cut.frame_indices - first)
