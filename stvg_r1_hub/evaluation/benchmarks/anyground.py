"""AnyGroundBench: when and where, in five specialized domains.

Layout: `data/<domain>/meta-data/st_test.json`, an object of sample id to `video_name`, `text`,
`temporal_range` (`"start end"` in seconds) and `fps1_timestamp_0_1000_st_demonstration`, whose
`tubes` each have a `bbox` of seconds to `[left, top, right, bottom]` in thousandths of the frame,
one a second. Videos are `data/<domain>/videos/clips/<video_name>.mp4`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.fields import list_of, number, record_of, text_of
from stvg_r1_hub.evaluation.benchmarks.reading import Reading, reader
from stvg_r1_hub.evaluation.benchmarks.videos import VideoFacts, video_facts, video_path
from stvg_r1_hub.evaluation.samples import AnnotatedSample

SOURCE = (
    "AnyGroundBench is at https://huggingface.co/datasets/rinost081/AnyGroundBench (CC BY-NC-SA "
    "4.0); most videos have to be rebuilt from other datasets, each with its own terms, see "
    "https://github.com/rinost081/anygroundbench. Name a domain's meta-data/st_test.json and its "
    "videos/clips."
)
_LABEL = "fps1_timestamp_0_1000_st_demonstration"


@reader
def read_anyground(reading: Reading, folder: Path) -> None:
    """Every sample of a domain's `st_test.json`; sizes and rates are the videos' own."""
    for name, record in reading.values_by_name(SOURCE).items():
        with reading.record(name):
            reading.add(_sample(name, record_of(record, "it"), reading, folder))


def _sample(name: str, record: dict[str, Any], reading: Reading, folder: Path) -> AnnotatedSample:
    video = video_path(folder, f"{text_of(record, 'video_name')}.mp4")
    facts = video_facts(video)
    try:
        start, end = map(float, text_of(record, "temporal_range").split())
    except ValueError as error:
        raise AnnotationError(
            f"temporal_range is {record['temporal_range']!r:.60}; 'start end' is needed."
        ) from error
    listed = _boxes(record, facts)
    frames, boxes = reading.boxes(name, listed, frames=(0, 2**31), size=(facts.width, facts.height))
    step = max(1, round(facts.fps))
    return AnnotatedSample(
        sample_id=name,
        video=video,
        query=text_of(record, "text"),
        start_seconds=start,
        end_seconds=end,
        frame_indices=frames,
        boxes=boxes,
        box_step=step,
        annotated_frames=(int(frames[0]), int(frames[-1]) + step),
        fps=facts.fps,
        width=facts.width,
        height=facts.height,
    )


def _boxes(record: dict[str, Any], facts: VideoFacts) -> list[tuple[int, Any]]:
    """Frame and `[x, y, width, height]` in pixels; of several tubes in a frame the first one's."""
    label = record_of(record.get(_LABEL), _LABEL)
    found: dict[int, Any] = {}
    for tube in list_of(label.get("tubes"), "tubes"):
        entries = record_of(record_of(tube, "a tube").get("bbox"), "bbox")
        for seconds, box in entries.items():
            try:
                frame = round(float(seconds) * facts.fps)
            except (ValueError, OverflowError) as error:
                raise AnnotationError(f"{seconds!r:.40} is no moment in seconds.") from error
            found.setdefault(frame, _in_pixels(box, facts))
    return sorted(found.items())


def _in_pixels(box: Any, facts: VideoFacts) -> Any:
    if not (isinstance(box, list) and len(box) == 4):
        return box
    left, top, right, bottom = (number({"bbox": value}, "bbox") / 1000 for value in box)
    size = facts.width, facts.height
    return [left * size[0], top * size[1], (right - left) * size[0], (bottom - top) * size[1]]
