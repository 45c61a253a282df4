"""Annotation files as they are published: what is wrong in one is set aside and listed.

A box that is none counts as no box in its frame; a record that contradicts itself is no sample.
Only a file of another layout stops the reading. `strict` refuses the first fault instead.
"""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import AnnotationError, VideoError
from stvg_r1_hub.evaluation.samples import AnnotatedSample, Annotations, SetAside
from stvg_r1_hub.video import open_video

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
_MOST_WHOLE = 2**53
_LISTED_FRAMES = 5
XYXY = tuple[float, float, float, float]


class _Twice:
    """Stands for the values of a key that occurs twice: which one is meant cannot be known."""

    def __repr__(self) -> str:
        return "two values under one key"


_TWICE = _Twice()


class _RefusedError(AnnotationError):
    """A fault that ends a strict reading; file and record are said."""


def read_json(path: Path, *, source: str) -> Any:
    """The content of an annotation file; what has a key twice in one object is of no type.

    Args:
        path: the file.
        source: where to get it, for the message when it is missing.

    Raises:
        AnnotationError: missing, or no JSON.
    """
    if not path.is_file():
        raise AnnotationError(f"There is no annotation file {path}. {source}")
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, AnnotationError) as error:
        raise AnnotationError(f"Cannot read the annotation file {path}: {error}") from error


def parse_json(text: str) -> Any:
    """JSON of which what has a key twice in one object is of no type.

    Raises:
        AnnotationError: it is no JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"it is no JSON ({error}).") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        values |= {name: _TWICE for name, count in counts.items() if count > 1}
    return values


class Reading:
    """What one annotation file gives: samples, and what of it is set aside."""

    def __init__(self, path: Path, *, strict: bool) -> None:
        """Begin.

        Args:
            path: the file, for messages.
            strict: the first fault stops the reading, as a file of another layout always does.
        """
        self._path = path
        self._strict = strict
        self._samples: dict[str, AnnotatedSample] = {}
        self._set_aside: list[SetAside] = []

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
                raise _RefusedError(f"{self._path}, {name}: {error}") from error
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
                raise AnnotationError(f"{self._path} holds no samples.")
            first = self._set_aside[0]
            raise AnnotationError(
                f"{self._path} has another layout or is damaged: none of its "
                f"{len(self._set_aside)} records can be used; {first.record}: {first.reason}"
            )
        return Annotations(list(self._samples.values()), tuple(self._set_aside))


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


def record_of(values: Any, what: str) -> dict[str, Any]:
    """A JSON object, or a sentence that says what was got.

    Raises:
        AnnotationError: it is something else.
    """
    if not isinstance(values, dict):
        raise AnnotationError(f"{what} must be an object, got {_kind(values)}.")
    return values


def list_of(values: Any, what: str) -> list[Any]:
    """A JSON list that is not empty.

    Raises:
        AnnotationError: it is something else, or empty.
    """
    if not isinstance(values, list) or not values:
        got = "an empty list" if isinstance(values, list) else _kind(values)
        raise AnnotationError(f"{what} must be a list with at least one entry, got {got}.")
    return values


def _kind(values: Any) -> str:
    return repr(values) if isinstance(values, _Twice) else type(values).__name__


def number(record: Mapping[str, Any], key: str) -> float:
    """A finite number of a record.

    Raises:
        AnnotationError: missing, or no finite number.
    """
    value = record.get(key)
    if not _is_finite(value):
        raise AnnotationError(f"{key} is {value!r:.60}; a finite number is needed.")
    return float(value)  # type: ignore[arg-type]


def _is_finite(value: Any) -> bool:
    try:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
    except OverflowError:  # a whole number with hundreds of digits
        return False


def positive(record: Mapping[str, Any], key: str) -> float:
    """A finite number above 0 of a record.

    Raises:
        AnnotationError: it is none.
    """
    value = number(record, key)
    if value <= 0:
        raise AnnotationError(f"{key} is {value:g}; it must be positive.")
    return value


def whole(record: Mapping[str, Any], key: str) -> int:
    """A whole number of a record, as `3` or `3.0`.

    Raises:
        AnnotationError: missing, or no whole number.
    """
    value = number(record, key)
    if value != int(value) or abs(value) > _MOST_WHOLE:
        raise AnnotationError(f"{key} is {value!r}; a whole number is needed.")
    return int(value)


def text_of(record: Mapping[str, Any], *keys: str) -> str:
    """The first of some keys that holds visible text.

    Raises:
        AnnotationError: none of them does.
    """
    for key in keys:
        value = record.get(key)
        if isinstance(value, str) and value.strip():
            return value
    got = next((repr(record[key]) for key in keys if key in record), "none of these keys")
    raise AnnotationError(
        f"there is no text in {' or '.join(map(repr, keys))}, but {got:.60}; write it."
    )


def xywh_box(values: Any, size: tuple[int | None, int | None] = (None, None)) -> XYXY:
    """`[x, y, width, height]` as xyxy, right and bottom exclusive.

    Args:
        values: of the file.
        size: width and height of the video, as far as known.

    Raises:
        AnnotationError: not four finite numbers, no width or height, or wholly outside.
    """
    numbers = isinstance(values, list) and len(values) == 4 and all(map(_is_finite, values))
    x, y, width, height = map(float, values) if numbers else (math.nan,) * 4
    right, bottom = x + width, y + height
    if not (x < right < math.inf and y < bottom < math.inf):
        raise AnnotationError(
            f"{values!r:.80} is no box; [x, y, width, height] with a positive size is needed"
        )
    if x >= (size[0] or math.inf) or y >= (size[1] or math.inf) or right <= 0 or bottom <= 0:
        raise AnnotationError(f"the box {values!r:.80} is wholly outside the frame")
    return x, y, right, bottom


def frames_within(entries: Mapping[str, Any], first: int, stop: int) -> list[tuple[int, Any]]:
    """Frame and value of an object whose keys are frame numbers, of a half-open range alone."""
    numbered = (
        (int(key), value)
        for key, value in entries.items()
        if key.isascii() and key.isdecimal() and len(key) < 16
    )
    return sorted(
        ((frame, value) for frame, value in numbered if first <= frame < stop),
        key=lambda pair: pair[0],
    )


def annotated_range(
    listed: list[tuple[int, Any]], boxes: NDArray[np.float64]
) -> tuple[int, int] | None:
    """`AnnotatedSample.annotated_frames` of the boxes that a file lists, of which some are kept."""
    return None if len(boxes) == len(listed) else (listed[0][0], listed[-1][0] + 1)


def check_start(start_seconds: float, record: Mapping[str, Any]) -> None:
    """Refuse an event that begins when its video, whose `duration` the record may say, is over.

    Raises:
        AnnotationError: it does.
    """
    if "duration" in record and start_seconds >= positive(record, "duration"):
        raise AnnotationError(
            f"it starts at {start_seconds:g} s of a video of {record['duration']:g} s."
        )


def name_inside(name: str) -> Path:
    """A name of an annotation file as a path below its folder, such as `a.mp4` or `3/a.mp4`.

    Raises:
        AnnotationError: it leads out of the folder.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise AnnotationError(
            f"{name!r:.80} is no name of a video: it leads out of the folder of the videos."
        )
    return path


@dataclass(frozen=True)
class VideoFacts:
    """Rate and size of a video; of a missing one any do, since it cannot be asked."""

    fps: float = 30.0
    width: int = 1000
    height: int = 1000


@functools.lru_cache(maxsize=4096)
def video_facts(path: Path) -> VideoFacts:
    """What the video itself says, for annotations that do not say it."""
    try:
        with open_video(path) as source:
            return VideoFacts(source.info.fps, source.info.width, source.info.height)
    except VideoError:
        return VideoFacts()


def spans_of(values: Any, record: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    """`[start, end]` or a list of such, in seconds and ascending, as ranges.

    Args:
        values: of the file.
        record: they are of; its `duration`, if it has one, bounds their starts.

    Raises:
        AnnotationError: something else, or an event that begins when its video is over.
    """
    listed = values if isinstance(values, list) and values else [None]
    spans = []
    for span in sorted(listed) if all(isinstance(one, list) for one in listed) else [values]:
        if not (isinstance(span, list) and len(span) == 2):
            raise AnnotationError(f"its time is {span!r:.60}; [start, end] is needed.")
        start, end = (number({"time": value}, "time") for value in span)
        check_start(start, record)
        spans.append((start, end))
    return tuple(spans)


def video_path(folder: Path, name: str) -> Path:
    """`folder/name`, or the same name with another video suffix, also in a sub-folder.

    HC-STVG spreads its files over numbered folders and some copies are re-encoded, so
    `12_abc.mkv` is also found as `3/12_abc.mp4`. A file that is nowhere gives `folder/name`.

    Raises:
        AnnotationError: no file can have such a name.
    """
    named = name_inside(name)
    stem = named.with_suffix("") if named.suffix.lower() in VIDEO_SUFFIXES else named
    try:
        if (folder / named).is_file():
            return folder / named
        for place in (folder, *_sub_folders(folder)):
            for suffix in VIDEO_SUFFIXES:
                if (place / f"{stem}{suffix}").is_file():
                    return place / f"{stem}{suffix}"
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{name!r:.80} is no name of a video ({error}).") from error
    return folder / named


_known_folders: dict[Path, list[Path]] = {}


def _sub_folders(folder: Path) -> list[Path]:
    if folder not in _known_folders:
        inside = folder.iterdir() if folder.is_dir() else ()
        _known_folders[folder] = sorted(path for path in inside if path.is_dir())
    return _known_folders[folder]
