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

import numpy as np

from stvg_r1_hub.errors import AnnotationError, VideoError
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
from stvg_r1_hub.video import open_video

SOURCE = (
    "ST-Align's stvg.json is at https://huggingface.co/datasets/appletea2333/ST-Align-Benchmark "
    "(see its card for the licence); its videos are VidOR's, for research."
)
_NOMINAL_FPS = 30.0
_PLACEHOLDER = re.compile(r"<(?:video|image|bboxes|s|e)>")


def read_stalign(annotations: str | Path, videos: str | Path) -> list[AnnotatedSample]:
    """Every record of ST-Align's `stvg.json`, in file order.

    The file counts in frames; seconds come from `meta.fps` or else from the video itself.

    Raises:
        AnnotationError: a missing file, or a record that contradicts itself; its number is said.
    """
    path, folder = Path(annotations), Path(videos)
    records = list_of(read_json(path, source=SOURCE), str(path))
    rates: dict[Path, float] = {}
    return check_unique(
        (
            _sample(i, record_of(record, f"{path}, record {i}"), f"{path}, record {i}", folder,
                    rates)
            for i, record in enumerate(records)
        ),
        path,
    )  # fmt: skip


def _sample(
    index: int, record: dict[str, Any], where: str, folder: Path, rates: dict[Path, float]
) -> AnnotatedSample:
    meta = record_of(record.get("meta"), f"{where}: meta")
    times = record_of(meta.get("time_token"), f"{where}: meta.time_token")
    spatial = record_of(meta.get("spatial_token"), f"{where}: meta.spatial_token")
    entries = record_of(spatial.get("<bboxes>"), f'{where}: meta.spatial_token["<bboxes>"]')
    first, last = whole(times, "<s>", where), whole(times, "<e>", where)
    split = list_of(meta.get("split"), f"{where}: meta.split")
    shown = whole({"first": split[0]}, "first", where), whole({"last": split[-1]}, "last", where)
    if not shown[0] <= first <= last <= shown[1]:
        raise AnnotationError(
            f"{where} has an event in frames {first}..{last} of a clip in frames "
            f"{shown[0]}..{shown[1]}; the event must be inside."
        )
    boxes = {
        int(frame): xywh_box(box, f"{where}, frame {frame}")
        for frame, box in sorted(entries.items(), key=lambda item: int(item[0]))
        if first <= int(frame) <= last
    }
    if not boxes:
        raise AnnotationError(f"{where} has no box in its frames {first}..{last}.")
    video = video_path(folder, text_of(record, ("video_path", "video"), where))
    fps = number(meta, "fps", where) if "fps" in meta else _rate(video, rates)
    return AnnotatedSample(
        sample_id=str(record.get("id", index)),
        video=video,
        query=_query(record, where),
        start_seconds=first / fps,
        end_seconds=(last + 1) / fps,
        frame_indices=np.array(list(boxes), dtype=np.int64),
        boxes=np.array(list(boxes.values()), dtype=np.float64),
        fps=fps,
        width=whole(meta, "width", where),
        height=whole(meta, "height", where),
        clip_seconds=(shown[0] / fps, (shown[1] + 1) / fps),
    )


def _rate(video: Path, rates: dict[Path, float]) -> float:
    """Frames per second of a video; of a missing one any value does, since it cannot be asked."""
    if video not in rates:
        try:
            with open_video(video) as source:
                rates[video] = source.info.fps
        except VideoError:
            rates[video] = _NOMINAL_FPS
    return rates[video]


def _query(record: dict[str, Any], where: str) -> str:
    if isinstance(record.get("caption"), str):
        return text_of(record, ("caption",), where)
    turns = list_of(record.get("conversations"), f"{where}: conversations")
    question = text_of(record_of(turns[0], f"{where}: conversations[0]"), ("value",), where)
    return " ".join(_PLACEHOLDER.sub(" ", question).split())
