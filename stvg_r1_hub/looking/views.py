"""A stretch of a video and some of its objects in, what a model is shown of them out.

A model hears of time from the start of what it sees, and reads numbers of few digits only. So a
view has a clock of its own that starts at 0, and where an object's ID is too long another number
is drawn in its place; `View.in_video` takes an answer back to the video's times and IDs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from stvg_r1_hub.config import MarkerStyle, SamplingConfig
from stvg_r1_hub.geometry import frames_in_range
from stvg_r1_hub.marking import mark_frames
from stvg_r1_hub.structures import Answer, Frames, Generated, MarkedFrames, Range, Tracks
from stvg_r1_hub.track_selection import fit_to_sample
from stvg_r1_hub.video import SampleBuffer, VideoSource, part_of, plan_for


@dataclass(frozen=True, eq=False)
class Stretch:
    """A part of a video, sampled."""

    frames: Frames
    """Native frame numbers are the video's, times start at 0."""
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, eq=False)
class View:
    """What one look shows."""

    stretch: Stretch
    marked: MarkedFrames

    def in_video(self, answer: Answer) -> Answer:
        """An answer about this view with the video's own times and IDs."""
        start, end = answer.start_seconds, answer.end_seconds
        if answer.problem is not None or start is None or end is None:
            return answer
        start, end = self._range((start, end))
        return replace(
            answer,
            object_ids=tuple(map(self._id, answer.object_ids)),
            start_seconds=start,
            end_seconds=end,
            ranges=tuple(map(self._range, answer.ranges)),
        )

    def text_in_video(self, text: str) -> str:
        """A text about this view, its probabilities with the video's own times and IDs."""
        if not isinstance(text, Generated):
            return text
        probabilities = {self._id(i): value for i, value in text.id_probabilities.items()}
        ranges = {self._id(i): self._range(value) for i, value in text.id_ranges.items()}
        return Generated(text, probabilities, ranges)

    def _id(self, number: int) -> int:
        """The object of a number; one that was not drawn stays, and is said to be wrong later."""
        drawn = {number: i for i, number in self.marked.numbers.items()}
        return drawn.get(number, number)

    def _range(self, seconds: Range) -> Range:
        low, high = self.stretch.start_seconds, self.stretch.end_seconds
        return min(low + seconds[0], high), min(low + seconds[1], high)


def read_stretch(
    source: VideoSource, sampling: SamplingConfig, start_seconds: float, end_seconds: float
) -> Stretch | None:
    """Decode and sample a part of a video, and nothing but that part.

    Args:
        source: an open video.
        sampling: how often, and how large.
        start_seconds: of the half-open part.
        end_seconds: of the half-open part.

    Returns:
        The sample; None where the part has fewer than two frames.
    """
    found = part_of(source.info, start_seconds, end_seconds)
    if found is None:
        return None
    part, first = found
    plan = plan_for(part, sampling)
    sample = SampleBuffer(plan, part)
    for frame in source.stream([first + i for i in plan.frame_indices]):
        sample.add(frame.frame_index - first, source.sample_pixels(frame, plan))
    frames = sample.frames()
    start = float(source.info.frame_times[first])
    frames = replace(frames, frame_indices=frames.frame_indices + first)
    return Stretch(frames, start, start + part.duration_seconds)


def view_of(
    stretch: Stretch, tracks: Tracks, object_ids: Iterable[int], style: MarkerStyle, limit: int
) -> View:
    """The stretch with numbers on some objects.

    Args:
        stretch: of `read_stretch`.
        tracks: all objects of the video.
        object_ids: those that get a number, at most `limit`.
        style: how numbers are drawn.
        limit: the highest number that the model reads.
    """
    chosen = sorted(object_ids)
    kept = [track for track in tracks.tracks if track.object_id in chosen]
    numbers = drawn_numbers(chosen, limit)
    shown = fit_to_sample(replace(tracks, tracks=tuple(kept)), stretch.frames)
    return View(stretch, mark_frames(stretch.frames, shown, style, numbers=numbers))


def drawn_numbers(object_ids: Iterable[int], limit: int) -> dict[int, int]:
    """Numbers from 1 in place of IDs, where one of these is above the highest readable number."""
    chosen = sorted(object_ids)
    if not chosen or chosen[-1] <= limit:
        return {}
    return {object_id: number for number, object_id in enumerate(chosen, start=1)}


class Presence:
    """Which objects are in view when, and how much of them is seen."""

    def __init__(self, tracks: Tracks) -> None:
        """Take all objects of a video."""
        self._tracks = tracks
        self._first = np.array([t.frame_indices[0] for t in tracks.tracks], dtype=np.int64)
        self._last = np.array([t.frame_indices[-1] for t in tracks.tracks], dtype=np.int64)

    def scene_starts(self) -> list[float]:
        """Seconds, ascending, when the first object appears after all before it have gone.

        That is how a cut shows in the tracks, of any tracker that keeps no object across it.
        """
        order = np.argsort(self._first)
        gone_by = np.maximum.accumulate(self._last[order])[:-1]
        starts = self._first[order][1:]
        return [float(self._tracks.frame_times[i]) for i in starts[starts > gone_by]]

    def ranked(self, start_seconds: float, end_seconds: float) -> list[int]:
        """IDs of the objects seen in a half-open time range, the most visible first."""
        frames = frames_in_range(self._tracks.frame_times, start_seconds, end_seconds)
        around = np.flatnonzero((self._first < frames.stop) & (self._last >= frames.start))
        seen = {}
        for k in around.tolist():
            track = self._tracks.tracks[k]
            first, stop = track.frame_indices.searchsorted([frames.start, frames.stop])
            if stop > first:
                sides = track.boxes[first:stop, 2:] - track.boxes[first:stop, :2]
                areas = np.clip(sides, 0, None).prod(axis=1)
                seen[track.object_id] = track.score * float(np.sqrt(areas).sum())
        return sorted(seen, key=lambda i: -seen[i])
