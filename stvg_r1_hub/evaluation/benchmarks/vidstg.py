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

import numpy as np

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.reading import (
    check_unique,
    list_of,
    number,
    read_json,
    record_of,
    text_of,
    video_path,
    whole,
    xywh_box,
)
from stvg_r1_hub.evaluation.samples import AnnotatedSample

QTYPES = ("declarative", "interrogative")
SOURCE = (
    "VidSTG's sentences are at https://github.com/Guaranteer/VidSTG-Dataset, its videos and boxes "
    "are VidOR's (https://xdshang.github.io/docs/vidor.html, for research); bring them into "
    "TubeDETR's form with preproc/preproc_vidstg.py of https://github.com/antoyang/TubeDETR."
)


def read_vidstg(
    annotations: str | Path, videos: str | Path, *, qtype: str | None = None
) -> list[AnnotatedSample]:
    """Every sentence of a VidSTG annotation file, in file order.

    Args:
        annotations: the JSON file of one split.
        videos: folder of VidOR's videos.
        qtype: only `"declarative"` or only `"interrogative"` sentences; None for both.

    Raises:
        AnnotationError: a missing file, or a record that contradicts itself; its name is said.
    """
    if qtype is not None and qtype not in QTYPES:
        raise AnnotationError(f"Got qtype {qtype!r}; it must be one of {', '.join(QTYPES)}.")
    path, folder = Path(annotations), Path(videos)
    content = record_of(read_json(path, source=SOURCE), str(path))
    records = list_of(content.get("videos"), f"{path}: videos")
    trajectories = record_of(content.get("trajectories"), f"{path}: trajectories")
    samples = []
    for i, record in enumerate(records):
        record = record_of(record, f"{path}, videos[{i}]")
        where = f"{path}, videos[{i}] (video_id {record.get('video_id')!r})"
        kind = record.get("qtype")
        if kind not in QTYPES:
            raise AnnotationError(f"{where} has qtype {kind!r}; known are {', '.join(QTYPES)}.")
        if qtype in (None, kind):
            samples.append(_sample(record, trajectories, where, folder))
    return check_unique(samples, path)


def _sample(
    record: dict[str, Any], trajectories: dict[str, Any], where: str, folder: Path
) -> AnnotatedSample:
    if record.get("video_id") is None:
        raise AnnotationError(f"{where} has no video_id.")
    fps = number(record, "fps", where)
    if fps <= 0:
        raise AnnotationError(f"{where} has fps = {fps:g}; it must be positive.")
    first, stop = whole(record, "tube_start_frame", where), whole(record, "tube_end_frame", where)
    shown = whole(record, "start_frame", where), whole(record, "end_frame", where)
    if not shown[0] <= first < stop <= shown[1]:
        raise AnnotationError(
            f"{where} has a tube in frames {first}..{stop} of a clip in frames "
            f"{shown[0]}..{shown[1]}; the tube must be inside and not empty."
        )
    boxes = _boxes(record, trajectories, where, range(first, stop))
    original = text_of({"id": str(record.get("original_video_id", ""))}, ("id",), where)
    name = record.get("video_path") or f"{original}.mp4"
    size = [whole(record, key, where) if key in record else None for key in ("width", "height")]
    return AnnotatedSample(
        sample_id=str(record["video_id"]),
        video=video_path(folder, str(name)),
        query=text_of(record, ("caption", "query", "sentence"), where),
        start_seconds=first / fps,
        end_seconds=stop / fps,
        frame_indices=np.array(list(boxes), dtype=np.int64),
        boxes=np.array(list(boxes.values()), dtype=np.float64),
        qtype=record["qtype"],
        fps=fps,
        n_frames=whole(record, "frame_count", where) if "frame_count" in record else None,
        width=size[0],
        height=size[1],
        clip_seconds=(shown[0] / fps, shown[1] / fps),
    )


def _boxes(
    record: dict[str, Any], trajectories: dict[str, Any], where: str, frames: range
) -> dict[int, tuple[float, float, float, float]]:
    video, target = str(record.get("original_video_id")), str(record.get("target_id"))
    entries = trajectories.get(video, {}).get(target)
    if not isinstance(entries, dict):
        raise AnnotationError(
            f"{where} points to target {target} of video {video}, which has no trajectory."
        )
    boxes = {
        frame: xywh_box(
            record_of(entries[str(frame)], f"{where}, frame {frame}").get("bbox"),
            f"{where}, frame {frame}",
        )
        for frame in frames
        if str(frame) in entries
    }
    if not boxes:
        raise AnnotationError(f"{where} has no box in its frames {frames.start}..{frames.stop}.")
    return boxes
