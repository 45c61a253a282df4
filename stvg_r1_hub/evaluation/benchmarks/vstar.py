"""V-STaR: when and where something is, each asked in two orders.

Layout: a JSON list of records with `vid`, `domain`, `fps`, `width`, `height`, `frame_count`,
`temporal_question`, `timestamps` `[start, end]`, `spatial_question` (which names the time),
`spatial_question_2` (which does not) and `bboxes`, a list of `timestamp`, `frame_index`, `xmin`,
`ymin`, `xmax`, `ymax`, one a second. A record gives four samples: chain 1 asks when, then where;
chain 2 asks where, then when with the boxes given in the question. The question what it is, whose
answers a language model judges, is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.fields import (
    list_of,
    number,
    positive,
    record_of,
    spans_of,
    text_of,
    whole,
)
from stvg_r1_hub.evaluation.benchmarks.reading import Reading, reader
from stvg_r1_hub.evaluation.benchmarks.videos import video_path
from stvg_r1_hub.evaluation.samples import AnnotatedSample

SOURCE = (
    "V-STaR's annotations and videos are at https://huggingface.co/datasets/V-STaR-Bench/V-STaR "
    "(see its card for the licence; the videos have their datasets' own terms)."
)
_MOST_BOXES_IN_A_QUESTION = 40


@reader
def read_vstar(reading: Reading, folder: Path) -> None:
    """The questions when and where of every record."""
    for i, record in enumerate(reading.values(SOURCE)):
        with reading.record(f"record {i}"):
            for sample in _samples(i, record_of(record, "it"), reading, folder):
                reading.add(sample)


def _samples(
    index: int, record: dict[str, Any], reading: Reading, folder: Path
) -> list[AnnotatedSample]:
    fps, n_frames = positive(record, "fps"), whole(record, "frame_count")
    width, height = whole(record, "width"), whole(record, "height")
    ((start, end),) = spans_of([record.get("timestamps")], {"duration": n_frames / fps})
    listed = _boxes(record, fps)
    frames, boxes = reading.boxes(
        f"record {index}", listed, frames=(0, n_frames), size=(width, height)
    )
    step = max(1, round(float(np.median(np.diff(frames))))) if len(frames) > 1 else round(fps)
    when, given = text_of(record, "temporal_question"), boxes[:_MOST_BOXES_IN_A_QUESTION]
    with_boxes = (
        f"{when} The object is at some time in each of these boxes, given as left, top, "
        f"right and bottom: {', '.join(str([round(v) for v in box]) for box in given.tolist())}."
    )
    video = video_path(folder, f"{text_of(record, 'vid')}.mp4")
    groups = {"domain": str(record["domain"])} if "domain" in record else {}
    questions = {
        "when": when,
        "where": text_of(record, "spatial_question"),
        "where, chain 2": text_of(record, "spatial_question_2"),
        "when, chain 2": with_boxes,
    }
    return [
        AnnotatedSample(
            sample_id=f"{index}:{qtype.replace(', chain ', '')}",
            video=video,
            query=query,
            start_seconds=start,
            end_seconds=end,
            qtype=qtype,
            fps=fps,
            n_frames=n_frames,
            width=width,
            height=height,
            groups=groups,
            **_tube(frames, boxes, step) if qtype.startswith("where") else {},
        )
        for qtype, query in questions.items()
    ]


def _tube(frames: Any, boxes: Any, step: int) -> dict[str, Any]:
    reaches = int(frames[0]), int(frames[-1]) + step
    return {
        "frame_indices": frames, "boxes": boxes, "box_step": step, "annotated_frames": reaches,
    }  # fmt: skip


def _boxes(record: dict[str, Any], fps: float) -> list[tuple[int, Any]]:
    """Frame and `[x, y, width, height]` of each annotated second."""
    listed = []
    for entry in list_of(record.get("bboxes"), "bboxes"):
        box = record_of(entry, "a box")
        left, top, right, bottom = (number(box, key) for key in ("xmin", "ymin", "xmax", "ymax"))
        if "frame_index" in box:
            frame = whole(box, "frame_index")
        else:
            frame = round(number(box, "timestamp") * fps)
        listed.append((frame, [left, top, right - left, bottom - top]))
    if len({frame for frame, _ in listed}) < len(listed):
        raise AnnotationError("it has two boxes in one frame; only one object can be asked for.")
    return sorted(listed)
