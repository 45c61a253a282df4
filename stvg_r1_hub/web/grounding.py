"""Descriptions asked of one upload -> an overlay video, files to keep and HTML to look at.

Everything a visitor sees is made here once, written into a folder of this question alone; what
stays in memory afterwards is text and paths.
"""

from __future__ import annotations

import hashlib
import io
import logging
import secrets
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.examples import bundled_examples
from stvg_r1_hub.geometry import decode_mask
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.result import GroundingResult, write_json
from stvg_r1_hub.structures import MarkedFrames, Pixels, Progress
from stvg_r1_hub.video import VideoSource, open_video, write_video
from stvg_r1_hub.visual.overlay import draw_objects
from stvg_r1_hub.visual.pictures import keyframe_indices
from stvg_r1_hub.web import markup
from stvg_r1_hub.web.jobs import Line, free_memory_returned
from stvg_r1_hub.web.limits import Limits, check_video
from stvg_r1_hub.web.models import ModelRegistry, Settings

KEYFRAME_HEIGHT = 240
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """One description's answer, ready to be shown."""

    summary: str
    """A few words, as text."""
    shared: str
    """What is to be known of all answers of this call alike, where there are several."""
    card: str
    timeline: str
    keyframes: str
    reasoning: str
    """These five are HTML."""
    rows: list[list[float | int]]
    """The tube as a table: frame, seconds, number, and the box's four edges."""
    overlay: Path | None
    """The answer drawn; None where there is none to draw."""
    marked: Path
    """What the language model saw."""
    json: Path
    masks: Path | None
    values: dict[str, object]
    """The content of `json`: the result, and in its warnings all that the page says too."""

    def files_exist(self) -> bool:
        """Whether nothing has been deleted since."""
        files = (self.overlay, self.marked, self.json, self.masks)
        return all(path is None or path.is_file() for path in files)


@dataclass(frozen=True)
class _Remarks:
    """What must be known of every answer besides its own warnings."""

    notes: tuple[str, ...]
    """On what the visitor chose."""
    alike: tuple[str, ...] | None = None
    """Warnings that several answers all have, said once above them; None for a single answer."""


class Grounder:
    """Answers visitors with the models of a registry, one at a time on one machine."""

    def __init__(
        self,
        registry: ModelRegistry,
        limits: Limits,
        folder: Path,
        *,
        at_once: int = 1,
        most_waiting: int = 32,
    ) -> None:
        """Answer questions.

        Args:
            registry: the models.
            limits: what may be asked.
            folder: where results go, a new folder each.
            at_once: questions worked on side by side.
            most_waiting: visitors in line behind these.
        """
        self.registry = registry
        self.limits = limits
        self.folder = folder
        self.line = Line(at_once, most_waiting)
        self._examples: dict[tuple[bytes, tuple[str, ...], Settings], list[Answered]] = {}

    def ground(
        self,
        video: str | Path | None,
        queries: Sequence[str],
        settings: Settings,
        progress: Progress,
    ) -> list[Answered]:
        """Answer all descriptions about one video.

        Args:
            video: path of the upload.
            queries: as `limits.split_queries` gives them.
            settings: what the visitor chose.
            progress: called with the stages `"load"`, `"wait"`, those of the pipeline and
                `"writing"`; raise `errors.Cancelled` in it to stop.

        Raises:
            STVGError: a video, a description, a model or a setting that cannot be used.
        """
        check_video(video, self.limits)
        assert video is not None
        key = (_digest(video), tuple(queries), settings)
        known = self._examples.get(key)
        if known is not None and all(answer.files_exist() for answer in known):
            return known
        progress("load", 0, None)  # The model, or a tracker or masks that nobody chose before.
        pipeline, notes = self.registry.pipeline(settings)
        turn = self.line.turn(progress)
        remarks = _Remarks(tuple(notes))
        with turn, free_memory_returned(), _new_folder(self.folder) as folder:
            answers = _ask(pipeline, Path(video), queries, settings, remarks, folder, progress)
        if key in _example_questions(self.registry.names):
            self._examples[key] = answers
        return answers


@cache
def _example_questions(names: tuple[str, ...]) -> set[tuple[bytes, tuple[str, ...], Settings]]:
    """The questions that everybody asks: the bundled examples, with each model as it comes."""
    examples = [(_digest(clip), (query,)) for _, clip, query in bundled_examples()]
    return {(*example, Settings(name)) for example in examples for name in names}


def _digest(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _ask(
    pipeline: STVGPipeline,
    video: Path,
    queries: Sequence[str],
    settings: Settings,
    remarks: _Remarks,
    folder: Path,
    progress: Progress,
) -> list[Answered]:
    """Run the pipeline and make everything that is shown of its results."""
    with open_video(video) as source:
        with pipeline.open(
            source,
            query=queries,
            masks=settings.masks,
            max_objects=settings.max_objects,
            passes=settings.passes,
            progress=progress,
        ) as clip:
            results = clip.ground(list(queries), progress=progress)
            marked = folder / "what-the-model-saw.mp4"
            _write_marked(marked, clip.marked, source.info.duration_seconds)
        if len(results) > 1:
            alike = [w for w in results[0].warnings if all(w in r.warnings for r in results)]
            remarks = replace(remarks, alike=tuple(alike))
        return [
            _files(result, source, folder, number, marked, remarks, progress)
            for number, result in enumerate(results, start=1)
        ]


@contextmanager
def _new_folder(parent: Path) -> Iterator[Path]:
    """A folder that nobody can guess, gone again when the work in it fails or is stopped."""
    folder = parent / secrets.token_hex(16)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _files(
    result: GroundingResult,
    source: VideoSource,
    folder: Path,
    number: int,
    marked: Path,
    remarks: _Remarks,
    progress: Progress,
) -> Answered:
    """Everything of one answer that a visitor can see or keep."""
    overlay, text = folder / f"answer-{number}.mp4", folder / f"answer-{number}.json"
    if result.found:
        result.save_video(overlay, progress=progress)
    values = result.to_dict()
    values["warnings"] = [*remarks.notes, *values["warnings"]]
    write_json(values, text)
    if remarks.alike is None:
        card = markup.answer_card(result, remarks.notes)
        shared = ""
    else:
        card = markup.answer_card(result, elsewhere=remarks.alike)
        shared = markup.remarks([*remarks.notes, *remarks.alike])
    masks = None
    if any(box.mask for box in result.boxes):
        masks = folder / f"masks-{number}.zip"
        _write_masks(masks, result)
    info = source.info
    return Answered(
        summary=markup.short_answer(result),
        shared=shared,
        card=card,
        timeline=markup.timeline(result, info),
        keyframes=markup.keyframes(_keyframes(result, source)),
        reasoning=markup.reasoning(result),
        rows=[
            [b.frame_index, round(b.time_seconds, 3), b.object_id, *(round(v, 1) for v in b.xyxy)]
            for b in result.boxes
        ],
        overlay=overlay if result.found else None,
        marked=marked,
        json=text,
        masks=masks,
        values=values,
    )


def _write_marked(path: Path, marked: MarkedFrames, duration_seconds: float) -> None:
    """The numbered frames at their own times; one that is shown twice in a row is kept once."""
    times, first = np.unique(marked.frames.times_seconds, return_index=True)
    frames = (marked.frames.pixels[i] for i in first)
    write_video(path, frames, times.tolist(), duration_seconds=duration_seconds)


def _write_masks(path: Path, result: GroundingResult) -> None:
    """One PNG a frame, its pixels holding the object's number."""
    import imageio.v3 as imageio

    pictures: dict[int, Pixels] = {}
    for box in result.boxes:
        if box.mask is not None:
            inside = decode_mask(box.mask)
            picture = pictures.setdefault(box.frame_index, np.zeros(inside.shape, np.uint8))
            picture[inside] = box.object_id
    with zipfile.ZipFile(path, "w") as archive:
        for frame_index, picture in pictures.items():
            name = f"frame-{frame_index:06d}.png"
            archive.writestr(name, imageio.imwrite("<bytes>", picture, extension=".png"))


def _keyframes(result: GroundingResult, source: VideoSource) -> list[markup.Keyframe]:
    from PIL import Image

    names = {t.object_id: t.class_name for t in (result.tracks.tracks if result.tracks else ())}
    strip = []
    for frame in source.stream(keyframe_indices(source.info, result.tube)):
        image = Image.fromarray(frame.pixels)
        image.thumbnail((3 * KEYFRAME_HEIGHT, KEYFRAME_HEIGHT))
        scale = image.width / source.info.width
        # Small first, drawn on afterwards: the labels stay readable.
        boxes = [box.scaled(scale) for box in result.boxes if box.frame_index == frame.frame_index]
        picture = np.array(image)
        draw_objects(picture, boxes, names)
        data = io.BytesIO()
        Image.fromarray(picture).save(data, "JPEG", quality=82)
        inside = any(start <= frame.time_seconds < end for start, end in result.ranges)
        strip.append(markup.Keyframe(frame.time_seconds, data.getvalue(), inside))
    return strip


def sweep(folder: Path, keep_seconds: float) -> int:
    """Delete results that are older; returns how many."""
    deleted = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            old = time.time() - path.stat().st_mtime > keep_seconds
        except OSError:
            continue
        if old:
            shutil.rmtree(path, ignore_errors=True)
            deleted += 1
    return deleted


def sweep_forever(folder: Path, keep_seconds: float) -> threading.Thread:
    """Delete old results every now and then, in a thread that ends with the process."""

    def run() -> None:
        while True:
            time.sleep(max(1.0, min(60.0, keep_seconds / 4)))
            try:
                sweep(folder, keep_seconds)
            except (OSError, STVGError) as error:
                _LOG.warning("Cannot delete old results: %s", error)

    thread = threading.Thread(target=run, name="delete-old-results", daemon=True)
    thread.start()
    return thread
