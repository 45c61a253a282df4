"""JSON files of annotations, read strictly: every complaint names the file and the record."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.samples import AnnotatedSample

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def read_json(path: Path, *, source: str) -> Any:
    """The content of an annotation file.

    Args:
        path: the file.
        source: where to get it, for the message when it is missing.

    Raises:
        AnnotationError: missing, no JSON, or a key that occurs twice in one object.
    """
    if not path.is_file():
        raise AnnotationError(f"There is no annotation file {path}. {source}")
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, path))
    except AnnotationError:
        raise
    except (OSError, ValueError) as error:
        raise AnnotationError(f"Cannot read the annotation file {path}: {error}") from error


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise AnnotationError(
            f"{path} has the key {twice!r} twice in one object; one of them would be lost, so "
            "remove the wrong one."
        )
    return values


def record_of(values: Any, where: str) -> dict[str, Any]:
    """A JSON object, or a sentence that says what was got.

    Raises:
        AnnotationError: it is something else.
    """
    if not isinstance(values, dict):
        raise AnnotationError(f"{where} must be an object, got {type(values).__name__}.")
    return values


def list_of(values: Any, where: str) -> list[Any]:
    """A JSON list that is not empty.

    Raises:
        AnnotationError: it is something else, or empty.
    """
    if not isinstance(values, list) or not values:
        got = "an empty list" if isinstance(values, list) else type(values).__name__
        raise AnnotationError(f"{where} must be a list with at least one entry, got {got}.")
    return values


def number(record: dict[str, Any], key: str, where: str) -> float:
    """A finite number of a record.

    Raises:
        AnnotationError: missing, or no finite number.
    """
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise AnnotationError(f"{where} has {key} = {value!r}; a finite number is needed.")
    return float(value)


def whole(record: dict[str, Any], key: str, where: str) -> int:
    """A whole number of a record, as `3` or `3.0`.

    Raises:
        AnnotationError: missing, or no whole number.
    """
    value = number(record, key, where)
    if value != int(value):
        raise AnnotationError(f"{where} has {key} = {value!r}; a whole number is needed.")
    return int(value)


def text_of(record: dict[str, Any], keys: tuple[str, ...], where: str) -> str:
    """The first of some keys that holds visible text.

    Raises:
        AnnotationError: none of them does.
    """
    for key in keys:
        value = record.get(key)
        if isinstance(value, str) and value.strip():
            return value
    raise AnnotationError(f"{where} has no text in {' or '.join(map(repr, keys))}.")


def xywh_box(values: Any, where: str) -> tuple[float, float, float, float]:
    """`[x, y, width, height]` as xyxy, right and bottom exclusive.

    Raises:
        AnnotationError: not four finite numbers, or no width or height.
    """
    numbers = (
        isinstance(values, list)
        and len(values) == 4
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        and all(map(math.isfinite, values))
    )
    if not numbers or values[2] <= 0 or values[3] <= 0:
        raise AnnotationError(
            f"{where} has the box {values!r}; [x, y, width, height] with a positive size is needed."
        )
    x, y, width, height = map(float, values)
    return x, y, x + width, y + height


def video_path(folder: Path, name: str) -> Path:
    """`folder/name`, or the same name with another video suffix, also in a sub-folder.

    HC-STVG spreads its files over numbered folders and some copies are re-encoded, so
    `12_abc.mkv` is also found as `3/12_abc.mp4`. A file that is nowhere gives `folder/name`.
    """
    wanted = folder / name
    if wanted.is_file():
        return wanted
    stem = wanted.with_suffix("") if wanted.suffix.lower() in VIDEO_SUFFIXES else wanted
    names = [Path(f"{stem.relative_to(folder)}{suffix}") for suffix in VIDEO_SUFFIXES]
    for place in (folder, *_sub_folders(folder)):
        for candidate in names:
            if (place / candidate).is_file():
                return place / candidate
    return wanted


_known_folders: dict[Path, list[Path]] = {}


def _sub_folders(folder: Path) -> list[Path]:
    if folder not in _known_folders:
        inside = folder.iterdir() if folder.is_dir() else ()
        _known_folders[folder] = sorted(path for path in inside if path.is_dir())
    return _known_folders[folder]


def check_unique(samples: Iterable[AnnotatedSample], path: Path) -> list[AnnotatedSample]:
    """The samples, when no two share an id.

    Raises:
        AnnotationError: two do, or there is none.
    """
    listed = list(samples)
    seen: set[str] = set()
    for sample in listed:
        if sample.sample_id in seen:
            raise AnnotationError(
                f"{path} has two records with the id {sample.sample_id!r}; remove one."
            )
        seen.add(sample.sample_id)
    if not listed:
        raise AnnotationError(f"{path} holds no samples.")
    return listed
