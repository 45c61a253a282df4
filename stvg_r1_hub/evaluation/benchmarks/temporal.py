"""Charades-STA and TVGBench: when, without where."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.reading import (
    Reading,
    check_start,
    list_of,
    number,
    read_json,
    record_of,
    text_of,
    video_path,
)
from stvg_r1_hub.evaluation.samples import AnnotatedSample, Annotations

CHARADES_SOURCE = (
    "Charades-STA's charades_sta_test.txt is at https://github.com/jiyanggao/TALL; the videos "
    "(Charades, 480p) are at https://prior.allenai.org/projects/charades, for non-commercial use."
)
TVGBENCH_SOURCE = (
    "TVGBench's tvgbench.json is at https://github.com/www-Ye/Time-R1 (and "
    "https://github.com/xiaomi-research/time-r1); its videos come from Charades, ActivityNet and "
    "others, each with its own terms."
)
_LINE = re.compile(r"(\S+) (\d+(?:\.\d*)?) (\d+(?:\.\d*)?)##(.+)")
_RANGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*")


def read_charades(
    annotations: str | Path, videos: str | Path, *, strict: bool = False
) -> Annotations:
    """Every sentence of a Charades-STA file, in file order.

    Args:
        annotations: the text file (`<video> <start> <end>##<sentence>` a line), or Time-R1's JSON
            (`{video: {duration, timestamps, sentences}}`), which ActivityNet Captions shares.
        videos: folder of the videos.
        strict: refuse the file for its first wrong line or record.

    Raises:
        AnnotationError: a missing file, one of another layout, or, if strict, a wrong one.
    """
    path, folder = Path(annotations), Path(videos)
    reading = Reading(path, strict=strict)
    if path.suffix == ".json":
        records = record_of(read_json(path, source=CHARADES_SOURCE), str(path))
        for name, record in records.items():
            with reading.record(name):
                _read_sentences(name, record_of(record, "it"), reading, folder)
    else:
        for i, line in enumerate(_lines(path), start=1):
            if line.strip():
                with reading.record(f"line {i}"):
                    reading.add(_of_line(i, line.strip(), folder))
    return reading.finished()


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise AnnotationError(f"There is no annotation file {path}. {CHARADES_SOURCE}")
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise AnnotationError(f"Cannot read the annotation file {path}: {error}") from error


def _of_line(line_number: int, line: str, folder: Path) -> AnnotatedSample:
    found = _LINE.fullmatch(line)
    if found is None:
        raise AnnotationError(
            f"it is {line[:60]!r}; '<video> <start> <end>##<sentence>' is needed."
        )
    start, end = float(found[2]), float(found[3])
    video = video_path(folder, f"{found[1]}.mp4")
    return AnnotatedSample(f"{found[1]}:{line_number}", video, found[4], start, end)


def _read_sentences(name: str, record: dict[str, Any], reading: Reading, folder: Path) -> None:
    sentences = list_of(record.get("sentences"), "sentences")
    ranges = list_of(record.get("timestamps"), "timestamps")
    if len(sentences) != len(ranges):
        raise AnnotationError(f"it has {len(sentences)} sentences, {len(ranges)} timestamps.")
    video = video_path(folder, f"{name}.mp4")
    for i, (sentence, span) in enumerate(zip(sentences, ranges, strict=True)):
        with reading.record(f"{name}:{i}"):
            if not (isinstance(span, list) and len(span) == 2):
                raise AnnotationError(f"its time is {span!r:.60}; [start, end] is needed.")
            start, end = (number({"time": value}, "time") for value in span)
            check_start(start, record)
            text = text_of({"sentence": sentence}, "sentence")
            reading.add(AnnotatedSample(f"{name}:{i}", video, text, start, end))


def read_tvgbench(
    annotations: str | Path, videos: str | Path, *, strict: bool = False
) -> Annotations:
    """Every item of TVGBench, in file order.

    Args:
        annotations: a JSON list of `path`, `question`, `answer` (`"start-end"` in seconds of the
            shown clip), `duration`, and for clips of longer videos their `start` and `end`.
        videos: folder that `path` is relative to.
        strict: refuse the file for its first wrong item.

    Raises:
        AnnotationError: a missing file, one of another layout, or, if strict, a wrong one.
    """
    path, folder = Path(annotations), Path(videos)
    reading = Reading(path, strict=strict)
    for i, item in enumerate(list_of(read_json(path, source=TVGBENCH_SOURCE), str(path))):
        with reading.record(f"item {i}"):
            reading.add(_tvg_item(i, record_of(item, "it"), folder))
    return reading.finished()


def _tvg_item(index: int, item: dict[str, Any], folder: Path) -> AnnotatedSample:
    found = _RANGE.fullmatch(str(item.get("answer", "")))
    if found is None:
        raise AnnotationError(f"answer is {item.get('answer')!r:.60}; 'start-end' is needed.")
    check_start(float(found[1]), item)
    clip = None
    if item.get("start") is not None and item.get("end") is not None:
        clip = number(item, "start"), number(item, "end")
        if not 0 <= clip[0] < clip[1]:
            raise AnnotationError(f"it has the clip {clip[0]:g} to {clip[1]:g} s.")
    shown = clip[0] if clip else 0.0
    return AnnotatedSample(
        sample_id=str(item.get("qid", index)),
        video=video_path(folder, text_of(item, "path")),
        query=text_of(item, "question"),
        start_seconds=float(found[1]) + shown,
        end_seconds=float(found[2]) + shown,
        clip_seconds=clip,
        groups={"source": str(item["source"])} if "source" in item else {},
    )
