"""HC-STVG v1 and v2 annotations: one sentence and one person's boxes a 20 s clip.

Layout: one JSON object of `"<id>.mkv"` or `"<id>.mp4"` to a record with `bbox` (a list of
`[x, y, width, height]`, one a frame), `st_frame` (number of the first box's frame), `st_time` and
`ed_time` (seconds), `img_num` (frames of the clip), the sentence in `caption` (v1) or `English`
(v2), and the size in `width` and `height` (v1) or `img_size` `[height, width]` (v2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.fields import (
    list_of,
    number,
    record_of,
    text_of,
    whole,
)
from stvg_r1_hub.evaluation.benchmarks.reading import Reading, reader
from stvg_r1_hub.evaluation.benchmarks.videos import video_path
from stvg_r1_hub.evaluation.samples import AnnotatedSample

SOURCE = (
    "HC-STVG v1 and v2 are at https://github.com/tzhhhh123/HC-STVG (annotations and videos; "
    "for research, the videos belong to their owners): download them and name the JSON file of "
    "the split, such as test.json (v1) or val_v2.json."
)


@reader
def read_hcstvg(
    reading: Reading, folder: Path, *, version: int | None = None, first_frame_number: int = 1
) -> None:
    """Every record of an HC-STVG annotation file.

    Args:
        reading: of the JSON file of one split.
        folder: of the clips.
        version: 1 or 2, where a record of the other one is refused; None takes both.
        first_frame_number: what `st_frame` calls the first frame of a clip: 1 (a comment in
            TubeDETR says so, and STCAT and CGSTVG subtract 1) or 0 (how the official STVG-R1
            scripts use it). The samples' frames count from 0 in either case.
    """
    if first_frame_number not in (0, 1):
        raise AnnotationError(f"first_frame_number must be 0 or 1, got {first_frame_number}.")
    for name, record in reading.values_by_name(SOURCE).items():
        with reading.record(name):
            record = record_of(record, f"the record of {name!r}")
            _check_version(record, version)
            reading.add(_sample(name, record, reading, folder, first_frame_number))


def _sample(
    name: str, record: dict[str, Any], reading: Reading, folder: Path, base: int
) -> AnnotatedSample:
    listed = list_of(record.get("bbox"), "bbox")
    first = whole(record, "st_frame") - base
    n_frames = whole(record, "img_num")
    if first < 0:
        raise AnnotationError(
            f"st_frame is {first + base}, but the first frame of a clip is taken to be number "
            f"{base}; if the file counts otherwise, choose the other first_frame_number."
        )
    stop = min(first + len(listed), n_frames)
    width, height = _size(record)
    frame_indices, boxes = reading.boxes(
        name, enumerate(listed, first), frames=(0, n_frames), size=(width, height)
    )
    return AnnotatedSample(
        sample_id=name,
        video=video_path(folder, name),
        query=text_of(record, "English", "caption"),
        start_seconds=number(record, "st_time"),
        end_seconds=number(record, "ed_time"),
        frame_indices=frame_indices,
        boxes=boxes,
        annotated_frames=None if len(boxes) == len(listed) else (first, stop),
        n_frames=n_frames,
        width=width,
        height=height,
        frame_base=base,
    )


def _check_version(record: dict[str, Any], version: int | None) -> None:
    """Refuse a record of the other version, whose figures would stand under the wrong name."""
    keys = {1: "caption", 2: "English"}
    if version is None or keys[version] in record:
        return
    other = 3 - version
    if keys[other] in record:
        raise AnnotationError(
            f"it is of HC-STVG v{other} (it has {keys[other]!r}), and v{version} was asked for; "
            f"name hcstvg-v{other}, and do not mix the two in a file."
        )


def _size(record: dict[str, Any]) -> tuple[int | None, int | None]:
    """Width and height, where the record says them."""
    if "img_size" in record:
        size = record["img_size"]
        if not (isinstance(size, list) and len(size) >= 2):
            raise AnnotationError(f"img_size is {size!r:.60}; [height, width] is needed.")
        values = {"height": size[0], "width": size[1]}
        return whole(values, "width"), whole(values, "height")
    if "width" in record and "height" in record:
        return whole(record, "width"), whole(record, "height")
    return None, None
