"""ST-Align's STVG split (LLaVA-ST): one JSON list, frames and boxes of VidOR videos.

Layout of a record: `video_path`; `conversations`, whose first value is the question (or a plain
`caption`); `meta` with `width`, `height`, `split` `[first, last]` (the shown frames, both
included), `time_token` `{"<s>": frame, "<e>": frame}` and `spatial_token`
`{"<bboxes>": {frame: [x, y, width, height]}}`; optionally `meta.fps`. LLaVA-ST's own script scores
the first 2,000 records.
"""

from __future__ import annotations

import re
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
from stvg_r1_hub.evaluation.benchmarks.videos import video_facts, video_path
from stvg_r1_hub.evaluation.samples import AnnotatedSample

SOURCE = (
    "ST-Align's stvg.json is at https://huggingface.co/datasets/appletea2333/ST-Align-Benchmark "
    "(see its card for the licence); its videos are VidOR's, for research."
)
_PLACEHOLDER = re.compile(r"<(?:video|image|bboxes|s|e)>")


@reader
def read_stalign(reading: Reading, folder: Path) -> None:
    """Every record of ST-Align's `stvg.json`.

    The file counts in frames; seconds come from `meta.fps` or else from the video itself.
    """
    for i, record in enumerate(reading.values(SOURCE)):
        with reading.record(f"record {i}"):
            reading.add(_sample(i, record_of(record, "it"), reading, folder))


def _sample(index: int, record: dict[str, Any], reading: Reading, folder: Path) -> AnnotatedSample:
    meta = record_of(record.get("meta"), "meta")
    times = record_of(meta.get("time_token"), "meta.time_token")
    spatial = record_of(meta.get("spatial_token"), "meta.spatial_token")
    entries = record_of(spatial.get("<bboxes>"), 'meta.spatial_token["<bboxes>"]')
    first, last = whole(times, "<s>"), whole(times, "<e>")
    split = list_of(meta.get("split"), "meta.split")
    shown = whole({"first": split[0]}, "first"), whole({"last": split[-1]}, "last")
    if not shown[0] <= first <= last <= shown[1]:
        raise AnnotationError(
            f"it has an event in frames {first}..{last} of a clip in frames "
            f"{shown[0]}..{shown[1]}; the event must be inside."
        )
    event = first, last + 1
    width, height = whole(meta, "width"), whole(meta, "height")
    listed = frames_within(entries, *event)
    frame_indices, boxes = reading.boxes(
        f"record {index}", listed, frames=event, size=(width, height)
    )
    video = video_path(folder, text_of(record, "video_path", "video"))
    fps = positive(meta, "fps") if "fps" in meta else video_facts(video).fps
    return AnnotatedSample(
        sample_id=str(record.get("id", index)),
        video=video,
        query=_query(record),
        start_seconds=first / fps,
        end_seconds=(last + 1) / fps,
        frame_indices=frame_indices,
        boxes=boxes,
        annotated_frames=annotated_range(listed, boxes),
        fps=fps,
        width=width,
        height=height,
        clip_seconds=(shown[0] / fps, (shown[1] + 1) / fps),
    )


def _query(record: dict[str, Any]) -> str:
    if isinstance(record.get("caption"), str):
        return text_of(record, "caption")
    turns = list_of(record.get("conversations"), "conversations")
    question = text_of(record_of(turns[0], "conversations[0]"), "value")
    return " ".join(_PLACEHOLDER.sub(" ", question).split())
