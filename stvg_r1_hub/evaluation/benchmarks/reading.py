"""Annotation files as they are published: what is wrong in one is set aside and listed.

A box that is none counts as no box in its frame; a record that contradicts itself is no sample.
Only a file of another layout stops the reading. `strict` refuses the first fault instead.

Every `read_*` of this folder takes, by `@reader`, the annotation file or folder, the folder of the
videos (also when they lie in its sub-folders), its own options and `strict`. It gives `Annotations`
in file order, and raises `AnnotationError` for a missing file, one of another layout, or, if
strict, for the first wrong record or box.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.fields import (
    XYXY,
    list_of,
    read_json,
    record_of,
    xywh_box,
)
from stvg_r1_hub.evaluation.samples import AnnotatedSample, Annotations, SetAside

_LISTED_FRAMES = 5


class _RefusedError(AnnotationError):
    """A fault that ends a strict reading; file and record are said."""


class Reading:
    """What one annotation file gives: samples, and what of it is set aside."""

    def __init__(self, path: Path, *, strict: bool) -> None:
        """Begin.

        Args:
            path: the file, for messages.
            strict: the first fault stops the reading, as a file of another layout always does.
        """
        self.path = path
        self._strict = strict
        self._samples: dict[str, AnnotatedSample] = {}
        self._set_aside: list[SetAside] = []

    def values_by_name(self, source: str) -> dict[str, Any]:
        """The file's JSON object; `source` says where there is one."""
        return record_of(read_json(self.path, source=source), str(self.path))

    def values(self, source: str) -> list[Any]:
        """The file's JSON list; `source` says where there is one."""
        return list_of(read_json(self.path, source=source), str(self.path))

    @contextmanager
    def record(self, name: str) -> Iterator[None]:
        """Whatever is found wrong inside this context sets this one record aside.

        Raises:
            AnnotationError: something was, and the reading is strict.
        """
        before = len(self._set_aside)
        try:
            yield
        except _RefusedError:
            raise
        except AnnotationError as error:
            if self._strict:
                raise _RefusedError(f"{self.path}, {name}: {error}") from error
            self._set_aside[before:] = [SetAside(name, str(error))]

    def boxes(
        self,
        name: str,
        entries: Iterable[tuple[int, Any]],
        *,
        frames: tuple[int, int],
        size: tuple[int | None, int | None] = (None, None),
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The boxes of a record; what is none, or is not of the video, is set aside.

        Args:
            name: of the record.
            entries: frame and `[x, y, width, height]`, frames ascending.
            frames: half-open range of frames that boxes can be in.
            size: width and height of the video, as far as known.

        Returns:
            `(T,)` frames and `(T, 4)` xyxy.

        Raises:
            AnnotationError: there is no box; or, in a strict reading, a wrong one.
        """
        entries = list(entries)
        if (good := _all_good(entries, frames, size)) is not None:
            return good
        kept: dict[int, XYXY] = {}
        wrong: list[tuple[int, str]] = []
        for frame, entry in entries:
            try:
                if not frames[0] <= frame < frames[1]:
                    raise AnnotationError(f"it is not among frames {frames[0]}..{frames[1] - 1}")
                kept[frame] = xywh_box(entry, size)
            except AnnotationError as error:
                wrong.append((frame, str(error)))
        if not entries:
            raise AnnotationError("it has no box in the frames of its event.")
        if wrong and (self._strict or not kept):
            every = "" if kept else f"none of its {len(wrong)} boxes can be used; "
            frame, reason = wrong[0]
            raise AnnotationError(f"{every}frame {frame} (from 0): {reason}.")
        if wrong:
            listed = ", ".join(str(frame) for frame, _ in wrong[:_LISTED_FRAMES])
            more = ", ..." if len(wrong) > _LISTED_FRAMES else ""
            reason = f"frames {listed}{more} (from 0); the first: {wrong[0][1]}"
            self._set_aside.append(SetAside(name, reason, n_boxes=len(wrong)))
        return np.array(list(kept), dtype=np.int64), np.array(list(kept.values()), dtype=np.float64)

    def add(self, sample: AnnotatedSample) -> None:
        """Take a sample.

        Raises:
            AnnotationError: another one has its id.
        """
        if sample.sample_id in self._samples:
            raise AnnotationError(
                f"there are two records with the id {sample.sample_id!r}, of which the first is "
                "taken; correct the other's id."
            )
        self._samples[sample.sample_id] = sample

    def finished(self) -> Annotations:
        """Everything that was read.

        Raises:
            AnnotationError: no sample could be: the file has another layout.
        """
        if not self._samples:
            if not self._set_aside:
                raise AnnotationError(f"{self.path} holds no samples.")
            first = self._set_aside[0]
            raise AnnotationError(
                f"{self.path} has another layout or is damaged: none of its "
                f"{len(self._set_aside)} records can be used; {first.record}: {first.reason}"
            )
        return Annotations(list(self._samples.values()), tuple(self._set_aside))


def reader(read: Callable[Concatenate[Reading, Path, ...], None]) -> Callable[..., Annotations]:
    """Make a function that fills a `Reading`, given the folder of videos, one of paths."""

    @functools.wraps(read)
    def whole(
        annotations: str | Path, videos: str | Path, *, strict: bool = False, **options: Any
    ) -> Annotations:
        reading = Reading(Path(annotations), strict=strict)
        read(reading, Path(videos), **options)
        return reading.finished()

    return whole


def _all_good(
    entries: list[tuple[int, Any]], frames: tuple[int, int], size: tuple[int | None, int | None]
) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """What `Reading.boxes` gives when no box is wrong, which is usual and quick to see; else None.

    Files hold millions of boxes, so these are looked at together.
    """
    indices = np.array([frame for frame, _ in entries], dtype=np.int64)
    try:
        xywh = np.array([entry for _, entry in entries])
    except ValueError:  # of different lengths
        return None
    if xywh.dtype.kind not in "if" or xywh.shape != (len(entries), 4) or not len(entries):
        return None
    with np.errstate(over="ignore"):
        low, high = xywh[:, :2].astype(np.float64), (xywh[:, :2] + xywh[:, 2:]).astype(np.float64)
    beyond = [size[0] or np.inf, size[1] or np.inf]
    good = (low < high) & (high < np.inf) & (high > 0) & (low < beyond)
    inside = (indices >= frames[0]) & (indices < frames[1])
    return (indices, np.hstack([low, high])) if good.all() and inside.all() else None


def annotated_range(
    listed: list[tuple[int, Any]], boxes: NDArray[np.float64]
) -> tuple[int, int] | None:
    """`AnnotatedSample.annotated_frames` of the boxes that a file lists, of which some are kept."""
    return None if len(boxes) == len(listed) else (listed[0][0], listed[-1][0] + 1)
