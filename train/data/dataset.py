"""The official training examples: one per sentence of an annotation file.

Source of the rules: `load_json_dataset` of grpo_video.py, XiaowZhang00/stvg-r1 @ 0bea9e5.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.reading import VIDEO_SUFFIXES

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingExample:
    """One sentence about one video, with its answer."""

    video_id: str
    problem: str
    """The sentence as the prompt gets it: see `normalize_query`."""
    solution: tuple[float, float, float]
    """Object ID, start and end in seconds."""
    duration_seconds: float
    video_path: Path
    preprocessed_path: str
    """Where this sentence's sampled frames are kept: `<root>/<split>/<video>_<sentence index>`."""


def normalize_query(sentence: str) -> str:
    """A sentence as in training: stripped, lower case, without one final period.

    A blank before that period stays. Evaluation inserts sentences unchanged.
    """
    return sentence.strip().lower().removesuffix(".")


def load_examples(
    annotations: Path, videos: Path, *, preprocessed_root: str, split: str = "train"
) -> list[TrainingExample]:
    """Every sentence of an annotation file whose video exists, in file order.

    Args:
        annotations: JSON of `video id -> {duration, timestamps, sentences, objectid}`, with one
            `[start, end]` in seconds and one object ID a sentence.
        videos: folder with `<video id>.mp4` (or another of `VIDEO_SUFFIXES`); a video without a
            file is skipped with a warning.
        preprocessed_root: folder of the preprocessed samples; only put into the paths.
        split: name of the sub-folder of this split.

    Raises:
        AnnotationError: the file cannot be read, or a record lacks a field or contradicts itself.
    """
    try:
        records = json.loads(annotations.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AnnotationError(f"Cannot read the annotation file {annotations}: {error}") from error
    if not isinstance(records, dict):
        raise AnnotationError(f"{annotations} must hold an object with one entry a video")
    examples = []
    for video_id, record in records.items():
        video = _find_video(videos, video_id)
        if video is None:
            _log.warning("No file for video %s in %s; it is skipped.", video_id, videos)
            continue
        for index, (sentence, object_id, (start, end)) in enumerate(_sentences(video_id, record)):
            examples.append(
                TrainingExample(
                    video_id=video_id,
                    problem=normalize_query(sentence),
                    solution=(float(object_id), float(start), float(end)),
                    duration_seconds=float(record["duration"]),
                    video_path=video,
                    preprocessed_path=f"{preprocessed_root}/{split}/{video_id}_{index}",
                )
            )
    return examples


def _find_video(folder: Path, video_id: str) -> Path | None:
    paths = (folder / f"{video_id}{suffix}" for suffix in VIDEO_SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _sentences(video_id: str, record: Any) -> list[tuple[str, float, tuple[float, float]]]:
    """Sentence, object ID and time range of one video's record, checked."""
    try:
        fields = record["sentences"], record["objectid"], record["timestamps"]
        float(record["duration"])
        rows = [
            (str(sentence), float(object_id), (float(start), float(end)))
            for sentence, object_id, (start, end) in zip(*fields, strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise AnnotationError(
            f"The record of video {video_id!r} is not usable ({error!r}); it needs 'duration' and "
            "equally long lists 'sentences', 'objectid' and 'timestamps' of [start, end]."
        ) from error
    return rows
