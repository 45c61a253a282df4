"""JSON of an annotation file, and its values as the types that are needed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import AnnotationError

_MOST_WHOLE = 2**53
XYXY = tuple[float, float, float, float]


class _Twice:
    """Stands for the values of a key that occurs twice: which one is meant cannot be known."""

    def __repr__(self) -> str:
        return "two values under one key"


_TWICE = _Twice()


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


def check_start(start_seconds: float, record: Mapping[str, Any]) -> None:
    """Refuse an event that begins when its video, whose `duration` the record may say, is over.

    Raises:
        AnnotationError: it does.
    """
    if "duration" in record and start_seconds >= positive(record, "duration"):
        raise AnnotationError(
            f"it starts at {start_seconds:g} s of a video of {record['duration']:g} s."
        )


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
