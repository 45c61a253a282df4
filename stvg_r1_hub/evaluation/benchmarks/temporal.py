"""Charades-STA, TimeLens-Bench, QVHighlights and TVGBench: when, without where."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.fields import (
    check_start,
    list_of,
    number,
    parse_json,
    record_of,
    spans_of,
    text_of,
)
from stvg_r1_hub.evaluation.benchmarks.reading import Reading, reader
from stvg_r1_hub.evaluation.benchmarks.videos import video_path
from stvg_r1_hub.evaluation.samples import AnnotatedSample

CHARADES_SOURCE = (
    "Charades-STA's charades_sta_test.txt is at https://github.com/jiyanggao/TALL; the videos "
    "(Charades, 480p) are at https://prior.allenai.org/projects/charades, for non-commercial use."
)
TVGBENCH_SOURCE = (
    "TVGBench's tvgbench.json is at https://github.com/www-Ye/Time-R1 (and "
    "https://github.com/xiaomi-research/time-r1); its videos come from Charades, ActivityNet and "
    "others, each with its own terms."
)
TIMELENS_SOURCE = (
    "TimeLens-Bench's {charades,activitynet,qvhighlights}-timelens.json and the videos are at "
    "https://huggingface.co/datasets/TencentARC/TimeLens-Bench (BSD-3-Clause; the videos have "
    "their datasets' own terms)."
)
QVHIGHLIGHTS_SOURCE = (
    "QVHighlights' highlight_val_release.jsonl is at https://github.com/jayleicn/moment_detr "
    "(annotations CC BY-NC-SA 4.0); its videos are parts of YouTube's, with their own terms."
)
_LINE = re.compile(r"(\S+) (\d+(?:\.\d*)?) (\d+(?:\.\d*)?)##(.+)")
_RANGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*")


@reader
def read_charades(reading: Reading, folder: Path) -> None:
    """Every sentence of a Charades-STA file.

    It is the text file (`<video> <start> <end>##<sentence>` a line), or Time-R1's JSON
    (`{video: {duration, timestamps, sentences}}`), which ActivityNet Captions shares.
    """
    if reading.path.suffix == ".json":
        for name, record in reading.values_by_name(CHARADES_SOURCE).items():
            with reading.record(name):
                _read_sentences(name, record_of(record, "it"), reading, folder)
    else:
        for i, line in enumerate(_lines(reading.path, CHARADES_SOURCE), start=1):
            if line.strip():
                with reading.record(f"line {i}"):
                    reading.add(_of_line(i, line.strip(), folder))


def _lines(path: Path, source: str) -> list[str]:
    if not path.is_file():
        raise AnnotationError(f"There is no annotation file {path}. {source}")
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


@reader
def read_timelens(reading: Reading, folder: Path) -> None:
    """Every query of a file of TimeLens-Bench, `{video: {duration, spans, queries}}`."""
    for name, record in reading.values_by_name(TIMELENS_SOURCE).items():
        with reading.record(name):
            record = record_of(record, "it")
            _read_sentences(name, record, reading, folder, keys=("queries", "spans"))


def _read_sentences(
    name: str,
    record: dict[str, Any],
    reading: Reading,
    folder: Path,
    keys: tuple[str, str] = ("sentences", "timestamps"),
) -> None:
    _check_spelling(record, keys[0])
    sentences, ranges = (list_of(record.get(key), key) for key in keys)
    if len(sentences) != len(ranges):
        raise AnnotationError(f"it has {len(sentences)} {keys[0]}, {len(ranges)} {keys[1]}.")
    video = video_path(folder, f"{name}.mp4")
    for i, (sentence, span) in enumerate(zip(sentences, ranges, strict=True)):
        with reading.record(f"{name}:{i}"):
            text = " ".join(text_of({keys[0]: sentence}, keys[0]).split())
            reading.add(_with_ranges(f"{name}:{i}", video, text, spans_of(span, record)))


def _check_spelling(record: dict[str, Any], sentences: str) -> None:
    """Refuse a file of the other Charades, whose times are others."""
    other = {
        "sentences": ("queries", "charades-timelens"),
        "queries": ("sentences", "charades-sta"),
    }
    key, benchmark = other[sentences]
    if sentences not in record and key in record:
        raise AnnotationError(
            f"it has {key!r} instead of {sentences!r}: it is of another benchmark, such as "
            f"{benchmark}; name that one, and do not mix the two in a file."
        )


def _with_ranges(
    sample_id: str, video: Path, query: str, spans: tuple[tuple[float, float], ...]
) -> AnnotatedSample:
    several = spans if len(spans) > 1 else ()
    return AnnotatedSample(sample_id, video, query, spans[0][0], spans[-1][1], ranges=several)


@reader
def read_qvhighlights(reading: Reading, folder: Path) -> None:
    """Every query of a QVHighlights split; many have several true windows.

    It is a JSON lines file of `qid`, `query`, `vid`, `duration`, `relevant_windows`.
    """
    for i, line in enumerate(_lines(reading.path, QVHIGHLIGHTS_SOURCE), start=1):
        if line.strip():
            with reading.record(f"line {i}"):
                record = record_of(parse_json(line), "it")
                video = video_path(folder, f"{text_of(record, 'vid')}.mp4")
                spans = spans_of(record.get("relevant_windows"), record)
                query = text_of(record, "query")
                reading.add(_with_ranges(str(record.get("qid", i)), video, query, spans))


@reader
def read_tvgbench(reading: Reading, folder: Path) -> None:
    """Every item of TVGBench.

    It is a JSON list of `path`, `question`, `answer` (`"start-end"` in seconds of the shown clip),
    `duration`, and for clips of longer videos their `start` and `end`.
    """
    for i, item in enumerate(reading.values(TVGBENCH_SOURCE)):
        with reading.record(f"item {i}"):
            reading.add(_tvg_item(i, record_of(item, "it"), folder))


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
