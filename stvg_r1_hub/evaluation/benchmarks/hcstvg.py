"""HC-STVG v1 and v2 annotations: one sentence and one person's boxes a 20 s clip.

Layout: one JSON object of `"<id>.mkv"` or `"<id>.mp4"` to a record with `bbox` (a list of
`[x, y, width, height]`, one a frame), `st_frame` (number of the first box's frame), `st_time` and
`ed_time` (seconds), `img_num` (frames of the clip), the sentence in `caption` (v1) or `English`
(v2), and the size in `width` and `height` (v1) or `img_size` `[height, width]` (v2).
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

SOURCE = (
    "HC-STVG v1 and v2 are at https://github.com/tzhhhh123/HC-STVG (annotations and videos; "
    "for research, the videos belong to their owners): download them and name the JSON file of "
    "the split, such as test.json (v1) or val_v2.json."
)


def read_hcstvg(
    annotations: str | Path, videos: str | Path, *, first_frame_number: int = 1
) -> list[AnnotatedSample]:
    """Every record of an HC-STVG annotation file, in file order.

    Args:
        annotations: the JSON file of one split.
        videos: folder of the clips, also when they lie in its sub-folders.
        first_frame_number: what `st_frame` calls the first frame of a clip: 1 (a comment in
            TubeDETR says so, and STCAT and CGSTVG subtract 1) or 0 (how the official STVG-R1
            scripts use it). The samples' frames count from 0 in either case.

    Raises:
        AnnotationError: a missing file, or a record that contradicts itself; its name is said.
    """
    if first_frame_number not in (0, 1):
        raise AnnotationError(f"first_frame_number must be 0 or 1, got {first_frame_number}.")
    path, folder = Path(annotations), Path(videos)
    records = record_of(read_json(path, source=SOURCE), str(path))
    return check_unique(
        (
            _sample(name, record_of(record, f"{path}, record {name!r}"), path, folder,
                    first_frame_number)
            for name, record in records.items()
        ),
        path,
    )  # fmt: skip


def _sample(
    name: str, record: dict[str, Any], path: Path, folder: Path, base: int
) -> AnnotatedSample:
    where = f"{path}, record {name!r}"
    listed = list_of(record.get("bbox"), f"{where}: bbox")
    boxes = [xywh_box(box, f"{where}, bbox {i}") for i, box in enumerate(listed)]
    first = whole(record, "st_frame", where) - base
    n_frames = whole(record, "img_num", where)
    if first < 0 or first + len(boxes) > n_frames:
        raise AnnotationError(
            f"{where} has boxes for frames {first}..{first + len(boxes) - 1} (counted from 0, "
            f"st_frame from {base}) but img_num says {n_frames} frames; correct st_frame, or "
            "choose the other first_frame_number."
        )
    width, height = _size(record, where)
    try:
        return AnnotatedSample(
            sample_id=name,
            video=video_path(folder, name),
            query=text_of(record, ("English", "caption"), where),
            start_seconds=number(record, "st_time", where),
            end_seconds=number(record, "ed_time", where),
            frame_indices=np.arange(first, first + len(boxes), dtype=np.int64),
            boxes=np.array(boxes, dtype=np.float64),
            n_frames=n_frames,
            width=width,
            height=height,
            frame_base=base,
        )
    except AnnotationError as error:
        raise AnnotationError(f"{path}: {error}") from error


def _size(record: dict[str, Any], where: str) -> tuple[int | None, int | None]:
    """Width and height, where the record says them."""
    if "img_size" in record:
        size = record["img_size"]
        if not (isinstance(size, list) and len(size) >= 2):
            raise AnnotationError(f"{where} has img_size {size!r}; [height, width] is needed.")
        values = {"height": size[0], "width": size[1]}
        return whole(values, "width", where), whole(values, "height", where)
    if "width" in record and "height" in record:
        return whole(record, "width", where), whole(record, "height", where)
    return None, None
