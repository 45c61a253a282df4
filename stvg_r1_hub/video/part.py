"""A part of a video, read as if it were the whole; what is found there, back on the whole's clock.

Nothing outside of the part is decoded, and whatever works on a video works on a part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.structures import Pixels, Range
from stvg_r1_hub.video.sampling import part_of
from stvg_r1_hub.video.source import VideoSource

_FRAMES = {"frame_index", "frame_indices"}
_SECONDS = {"start_seconds", "end_seconds", "time_seconds", "times_seconds"}
Found = TypeVar("Found", bound=Any)
"""A frozen record."""


class PartSource(VideoSource):
    """The frames of another source within a half-open time range; their times start at 0."""

    def __init__(
        self, whole: VideoSource, start_seconds: float | None, end_seconds: float | None
    ) -> None:
        """Wrap an open source, which stays open until this one is closed.

        Args:
            whole: the video.
            start_seconds: from here on; None is the video's start.
            end_seconds: up to here, cut to the video's end, which is also what None means.

        Raises:
            VideoError: fewer than two frames lie in the part.
        """
        info = whole.info
        start = 0.0 if start_seconds is None else float(start_seconds)
        end = info.duration_seconds if end_seconds is None else float(end_seconds)
        found = part_of(info, start, end) if 0 <= start < end else None
        if found is None:
            raise VideoError(
                f"Got the part from {start:g} s to {end:g} s of a video that lasts "
                f"{info.duration_seconds:.2f} s; its start must come before its end, and at least "
                "two frames of the video must lie between them."
            )
        part, self.first_frame = found
        super().__init__(part)
        self.whole = whole
        self.offset_seconds = float(info.frame_times[self.first_frame])
        self.warnings = whole.warnings

    @property
    def range_seconds(self) -> Range:
        """The part, on the whole video's clock: from its first frame to the end of its last."""
        return self.offset_seconds, self.offset_seconds + self.info.duration_seconds

    def close(self) -> None:
        """Close the wrapped source."""
        self.whole.close()

    def in_whole(self, found: Found) -> Found:
        """What was found in this part, in frames and seconds of the whole video.

        Args:
            found: a record, such as `Tracks`, `Notes`, `Answer` or `Tube`, whose fields bear the
                names that frames and seconds have in all records.
        """
        given = {field.name: getattr(found, field.name) for field in fields(found)}
        return replace(found, **{name: self._moved(name, value) for name, value in given.items()})

    def _moved(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        if name == "frame_times":
            return self.whole.info.frame_times
        if name in _FRAMES:
            return value + self.first_frame
        if name in _SECONDS:
            return value + self.offset_seconds
        if name == "range_seconds":
            return tuple(seconds + self.offset_seconds for seconds in value)
        if name == "ranges":
            return tuple(self._moved("range_seconds", given) for given in value)
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            return tuple(map(self.in_whole, value))
        return value

    def _frames(self, wanted: list[int]) -> Iterator[tuple[int, Pixels]]:
        for frame in self.whole.stream([index + self.first_frame for index in wanted]):
            yield frame.frame_index - self.first_frame, frame.pixels
