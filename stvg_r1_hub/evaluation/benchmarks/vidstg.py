"""VidSTG annotations in the form of TubeDETR: declarative and interrogative sentences.

Layout: `{"videos": [...], "trajectories": {...}}`. A video record has `video_id` (one a sentence),
`original_video_id`, `caption`, `qtype`, `fps`, `start_frame` and `end_frame` (the part of the file
that is shown), `tube_start_frame` and `tube_end_frame` (half-open, frames of the file),
`target_id`, optionally `video_path`, `frame_count`, `width`, `height`. Boxes are at
`trajectories[original_video_id][target_id][frame]["bbox"]` as `[x, y, width, height]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.fields import (
    frames_within,
    list_of,
    positive,
    record_of,
    text_of,
    whole,
)
from stvg_r1_hub.evaluation.benchmarks.reading import Reading, annotated_range, reader
from stvg_r1_hub.evaluation.benchmarks.videos import video_path
from stvg_r1_hub.evaluation.samples import AnnotatedSample

QTYPES = ("declarative", "interrogative")
SOURCE = (
    "VidSTG's sentences are at https://github.com/Guaranteer/VidSTG-Dataset, its videos and boxes "
    "are VidOR's (https://xdshang.github.io/docs/vidor.html, for research); bring them into "
    "TubeDETR's form with preproc/preproc_vidstg.py of https://github.com/antoyang/TubeDETR."
)


@reader
def read_vidstg(reading: Reading, folder: Path, *, qtype: str | None = None) -> None:
    """Every sentence of a VidSTG annotation file.

    Args:
        reading: of the JSON file of one split.
        folder: of VidOR's videos.
        qtype: only `"declarative"` or only `"interrogative"` sentences; None for both.
    """
    if qtype is not None and qtype not in QTYPES:
        raise AnnotationError(f"Got qtype {qtype!r}; it must be one of {', '.join(QTYPES)}.")
    content = reading.values_by_name(SOURCE)
    records = list_of(content.get("videos"), f"{reading.path}: videos")
    trajectories = record_of(content.get("trajectories"), f"{reading.path}: trajectories")
    for i, record in enumerate(records):
        own = f" (video_id {record['video_id']!r})" if has_id(record) else ""
        name = f"videos[{i}]{own}"
        with reading.record(name):
            record = record_of(record, "it")
            kind = record.get("qtype")
            if kind not in QTYPES:
                raise AnnotationError(f"qtype is {kind!r:.60}; known are {', '.join(QTYPES)}.")
            if qtype in (None, kind):
                reading.add(_sample(name, record, trajectories, reading, folder))


def has_id(record: Any) -> bool:
    """Whether a record has an id of its own."""
    return isinstance(record, dict) and isinstance(record.get("video_id"), int | str)


def _sample(
    name: str, record: dict[str, Any], trajectories: dict[str, Any], reading: Reading, folder: Path
) -> AnnotatedSample:
    if not has_id(record):
        raise AnnotationError("it has no video_id.")
    fps = positive(record, "fps")
    first, stop = whole(record, "tube_start_frame"), whole(record, "tube_end_frame")
    shown = whole(record, "start_frame"), whole(record, "end_frame")
    if not shown[0] <= first < stop <= shown[1]:
        raise AnnotationError(
            f"it has a tube in frames {first}..{stop} of a clip in frames "
            f"{shown[0]}..{shown[1]}; the tube must be inside and not empty."
        )
    size = [whole(record, key) if key in record else None for key in ("width", "height")]
    n_frames = whole(record, "frame_count") if "frame_count" in record else None
    listed = _boxes(record, trajectories, first, stop)
    frame_indices, boxes = reading.boxes(
        name, listed, frames=(0, stop if n_frames is None else n_frames), size=(size[0], size[1])
    )
    original = text_of({"original_video_id": str(record.get("original_video_id", ""))},
                       "original_video_id")  # fmt: skip
    return AnnotatedSample(
        sample_id=str(record["video_id"]),
        video=video_path(folder, str(record.get("video_path") or f"{original}.mp4")),
        query=text_of(record, "caption", "query", "sentence"),
        start_seconds=first / fps,
        end_seconds=stop / fps,
        frame_indices=frame_indices,
        boxes=boxes,
        annotated_frames=annotated_range(listed, boxes),
        qtype=record["qtype"],
        fps=fps,
        n_frames=n_frames,
        width=size[0],
        height=size[1],
        clip_seconds=(shown[0] / fps, shown[1] / fps),
    )


def _boxes(
    record: dict[str, Any], trajectories: dict[str, Any], first: int, stop: int
) -> list[tuple[int, Any]]:
    """Frame and box of the sentence's object within its tube, as the file has them."""
    video, target = str(record.get("original_video_id")), str(record.get("target_id"))
    objects = trajectories.get(video)
    entries = objects.get(target) if isinstance(objects, dict) else None
    if not isinstance(entries, dict):
        raise AnnotationError(
            f"it points to target {target} of video {video}, which has no trajectory."
        )
    return [
        (frame, entry.get("bbox") if isinstance(entry, dict) else entry)
        for frame, entry in frames_within(entries, first, stop)
    ]
