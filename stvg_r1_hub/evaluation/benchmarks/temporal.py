"""Charades-STA and TVGBench: when, without where."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.reading import (
    check_unique,
    list_of,
    number,
    read_json,
    record_of,
    text_of,
    video_path,
)
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
_LINE = re.compile(r"(\S+) (\S+) (\S+)##(.+)")
_RANGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*")


def read_charades(annotations: str | Path, videos: str | Path) -> list[AnnotatedSample]:
    """Every sentence of a Charades-STA file, in file order.

    Args:
        annotations: the text file (`<video> <start> <end>##<sentence>` a line), or Time-R1's JSON
            (`{video: {duration, timestamps, sentences}}`), which ActivityNet Captions shares.
        videos: folder of the videos.

    Raises:
        AnnotationError: a missing file, or a line or record that is wrong; it is named.
    """
    path, folder = Path(annotations), Path(videos)
    if path.suffix == ".json":
        records = record_of(read_json(path, source=CHARADES_SOURCE), str(path))
        rows = [
            row
            for name, record in records.items()
            for row in _sentences(name, record, f"{path}, record {name!r}")
        ]
    else:
        rows = _lines(path)
    return check_unique((_timed(row, path, folder) for row in rows), path)


Row = tuple[str, str, float, float, str]
"""Sample id, video name, start, end, sentence."""


def _lines(path: Path) -> list[Row]:
    if not path.is_file():
        raise AnnotationError(f"There is no annotation file {path}. {CHARADES_SOURCE}")
    rows: list[Row] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise AnnotationError(f"Cannot read the annotation file {path}: {error}") from error
    for i, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        try:
            if found is None:
                raise ValueError
            start, end = float(found[2]), float(found[3])
        except ValueError as error:
            raise AnnotationError(
                f"{path}, line {i} is {line[:60]!r}; '<video> <start> <end>##<sentence>' is needed."
            ) from error
        rows.append((f"{found[1]}:{i}", f"{found[1]}.mp4", start, end, found[4]))
    return rows


def _sentences(name: str, record: Any, where: str) -> list[Row]:
    record = record_of(record, where)
    sentences = list_of(record.get("sentences"), f"{where}: sentences")
    ranges = list_of(record.get("timestamps"), f"{where}: timestamps")
    if len(sentences) != len(ranges):
        raise AnnotationError(f"{where} has {len(sentences)} sentences, {len(ranges)} timestamps.")
    rows: list[Row] = []
    for i, (sentence, span) in enumerate(zip(sentences, ranges, strict=True)):
        if not (isinstance(span, list) and len(span) == 2):
            raise AnnotationError(f"{where}, timestamps[{i}] is {span!r}; [start, end] is needed.")
        bounds = {"start": span[0], "end": span[1]}
        start, end = (number(bounds, key, f"{where}, timestamps[{i}]") for key in bounds)
        rows.append((f"{name}:{i}", f"{name}.mp4", start, end, str(sentence)))
    return rows


def _timed(row: Row, path: Path, folder: Path) -> AnnotatedSample:
    sample_id, name, start, end, sentence = row
    try:
        return AnnotatedSample(sample_id, video_path(folder, name), sentence, start, end)
    except AnnotationError as error:
        raise AnnotationError(f"{path}: {error}") from error


def read_tvgbench(annotations: str | Path, videos: str | Path) -> list[AnnotatedSample]:
    """Every item of TVGBench, in file order.

    Args:
        annotations: a JSON list of `path`, `question`, `answer` (`"start-end"` in seconds of the
            shown clip), `duration`, and for clips of longer videos their `start` and `end`.
        videos: folder that `path` is relative to.

    Raises:
        AnnotationError: a missing file, or an item that is wrong; its number is said.
    """
    path, folder = Path(annotations), Path(videos)
    items = list_of(read_json(path, source=TVGBENCH_SOURCE), str(path))
    return check_unique(
        (
            _tvg_item(i, record_of(item, f"{path}, item {i}"), f"{path}, item {i}", folder)
            for i, item in enumerate(items)
        ),
        path,
    )


def _tvg_item(index: int, item: dict[str, Any], where: str, folder: Path) -> AnnotatedSample:
    found = _RANGE.fullmatch(str(item.get("answer", "")))
    if found is None:
        raise AnnotationError(f"{where} has answer {item.get('answer')!r}; 'start-end' is needed.")
    clip = None
    if item.get("start") is not None and item.get("end") is not None:
        clip = number(item, "start", where), number(item, "end", where)
        if not 0 <= clip[0] < clip[1]:
            raise AnnotationError(f"{where} has the clip {clip[0]:g} to {clip[1]:g} s.")
    shown = clip[0] if clip else 0.0
    try:
        return AnnotatedSample(
            sample_id=str(item.get("qid", index)),
            video=video_path(folder, text_of(item, ("path",), where)),
            query=text_of(item, ("question",), where),
            start_seconds=float(found[1]) + shown,
            end_seconds=float(found[2]) + shown,
            clip_seconds=clip,
            groups={"source": str(item["source"])} if "source" in item else {},
        )
    except AnnotationError as error:
        raise AnnotationError(f"{where}: {error}") from error
