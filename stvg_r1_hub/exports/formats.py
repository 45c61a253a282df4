"""Boxes and the tracks they come from in, text or another library's records out.

Frames are native ones, counted from 0; boxes are pixels of the original frame. MOTChallenge alone
counts frames and pixels from 1, as its definition says.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from stvg_r1_hub.errors import require_package
from stvg_r1_hub.geometry import decode_mask, mask_area
from stvg_r1_hub.structures import Box, Tracks, VideoInfo

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]
    import supervision

COLUMNS = (
    *("frame", "seconds", "object_id", "class", "score"),
    *("left", "top", "right", "bottom", "interpolated"),
)


def csv_text(boxes: Sequence[Box], tracks: Tracks) -> str:
    """A header of `COLUMNS` and a line a box."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerows([COLUMNS, *_rows(boxes, tracks)])
    return text.getvalue()


def data_frame(boxes: Sequence[Box], tracks: Tracks) -> pandas.DataFrame:
    """A row a box, with `COLUMNS`.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    return require_package("pandas").DataFrame(_rows(boxes, tracks), columns=list(COLUMNS))


def mot_text(boxes: Sequence[Box], tracks: Tracks) -> str:
    """MOTChallenge: `frame, id, left, top, width, height, score, -1, -1, -1`, a line a box."""
    lines = []
    for frame, _, object_id, _, score, left, top, right, bottom, _ in _rows(boxes, tracks):
        size = f"{right - left:.2f},{bottom - top:.2f}"
        lines.append(
            f"{frame + 1},{object_id},{left + 1:.2f},{top + 1:.2f},{size},{score},-1,-1,-1\n"
        )
    return "".join(lines)


def coco_text(boxes: Sequence[Box], tracks: Tracks, info: VideoInfo | None) -> str:
    """COCO's JSON of detection: frames with a box as images, boxes (and masks) as annotations.

    An image's `id` is its frame, its `file_name` what the frame would be called among extracted
    ones (`clip/000012.jpg`); an annotation carries the object's `track_id`. Without masks
    `segmentation` is empty.
    """
    names = _classes(boxes, tracks)
    stem = PurePath(info.name).stem if info else "video"
    times = {box.frame_index: box.time_seconds for box in boxes}
    images = [
        {
            "id": frame,
            "file_name": f"{stem}/{frame:06d}.jpg",
            "width": tracks.width,
            "height": tracks.height,
            "time_seconds": seconds,
        }
        for frame, seconds in sorted(times.items())
    ]
    annotations = []
    for number, (box, row) in enumerate(zip(boxes, _rows(boxes, tracks), strict=True), start=1):
        left, top, right, bottom = row[5:9]
        width, height = right - left, bottom - top
        annotations.append(
            {
                "id": number,
                "image_id": box.frame_index,
                "category_id": names.index(row[3]) + 1,
                "bbox": [left, top, round(width, 2), round(height, 2)],
                "area": mask_area(box.mask) if box.mask else round(width * height, 2),
                "segmentation": box.mask or [],
                "iscrowd": 0,
                "track_id": box.object_id,
                "score": row[4],
            }
        )
    categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
    values = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"


def supervision_detections(
    boxes: Sequence[Box], tracks: Tracks
) -> dict[int, supervision.Detections]:
    """One `Detections` for every frame with a box, with `tracker_id` and the class names.

    Raises:
        MissingPackageError: supervision is not installed.
    """
    sv = require_package("supervision")
    names = _classes(boxes, tracks)
    frames: dict[int, list[tuple[Box, tuple[Any, ...]]]] = {}
    for box, row in zip(boxes, _rows(boxes, tracks), strict=True):
        frames.setdefault(box.frame_index, []).append((box, row))
    with_masks = any(box.mask for box in boxes)
    empty = np.zeros((tracks.height, tracks.width), bool)
    return {
        frame: sv.Detections(
            xyxy=np.array([box.xyxy for box, _ in found], np.float32),
            mask=np.stack([decode_mask(box.mask) if box.mask else empty for box, _ in found])
            if with_masks
            else None,
            confidence=np.array([row[4] for _, row in found], np.float32),
            class_id=np.array([names.index(row[3]) for _, row in found]),
            tracker_id=np.array([box.object_id for box, _ in found]),
            data={"class_name": np.array([row[3] for _, row in found])},
        )
        for frame, found in frames.items()
    }


def _rows(boxes: Sequence[Box], tracks: Tracks) -> list[tuple[Any, ...]]:
    """One tuple of `COLUMNS` a box; an object that the tracks lack has no class and score 0."""
    known = {track.object_id: (track.class_name, round(track.score, 4)) for track in tracks.tracks}
    return [
        (
            *(box.frame_index, round(box.time_seconds, 6), box.object_id),
            *known.get(box.object_id, ("", 0.0)),
            *(round(float(side), 2) for side in box.xyxy),
            box.interpolated,
        )
        for box in boxes
    ]


def _classes(boxes: Sequence[Box], tracks: Tracks) -> list[str]:
    """The classes of the boxes, each once, in order."""
    return list(dict.fromkeys(row[3] for row in _rows(boxes, tracks)))
