"""Descriptions asked of one upload: tracked and shown, then each answer as soon as it stands."""

from __future__ import annotations

import hashlib
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.examples import bundled_examples
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.structures import Progress
from stvg_r1_hub.video import open_video
from stvg_r1_hub.web.answers import Answered, Seen, own_copy, see, show
from stvg_r1_hub.web.correcting import keep_sample
from stvg_r1_hub.web.jobs import WaitingLine, free_memory_returned
from stvg_r1_hub.web.limits import Limits, check_video
from stvg_r1_hub.web.models import ModelRegistry, Settings

_LOG = logging.getLogger(__name__)


class Asked(NamedTuple):
    """All that was made of one question."""

    seen: Seen
    answers: list[Answered]


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
        self.line = WaitingLine(at_once, most_waiting)
        self._examples: dict[tuple[bytes, tuple[str, ...], Settings], Asked] = {}

    def ground(
        self,
        video: str | Path | None,
        queries: Sequence[str],
        settings: Settings,
        progress: Progress,
        made: Callable[[Seen | Answered], None] = lambda what: None,
    ) -> list[Answered]:
        """Answer all descriptions about one video.

        Args:
            video: path of the upload.
            queries: as `limits.split_queries` gives them; none only tracks.
            settings: what the visitor chose.
            progress: called with the stages `"load"`, `"wait"`, those of the pipeline and
                `"writing"`; raise `errors.Cancelled` in it to stop.
            made: called with the objects as soon as they are tracked, then with each answer, the
                first that stands first.

        Raises:
            STVGError: a video, a description, a model or a setting that cannot be used.
        """
        info = check_video(video, self.limits)
        assert video is not None
        settings = settings.within(info.duration_seconds)
        key = (_digest(video), tuple(queries), settings)
        known = self._examples.get(key)
        if known is not None and all(answer.files_exist() for answer in known.answers):
            with _new_folder(self.folder) as folder:
                known = Asked(*own_copy(*known, folder))
            made(known.seen)
            for answer in known.answers:
                made(answer)
            return known.answers
        progress("load", 0, None)  # The model, or a tracker or masks that nobody chose before.
        pipeline, notes = self.registry.pipeline(settings)
        turn = self.line.turn(progress)
        with turn, free_memory_returned(), _new_folder(self.folder) as folder:
            asked = _ask(
                pipeline,
                Path(video),
                queries,
                settings,
                tuple(notes),
                folder,
                progress,
                made,
            )
        if key in _example_questions(self.registry.names):
            with _new_folder(self.folder) as folder:
                self._examples[key] = Asked(*own_copy(*asked, folder))
        return asked.answers


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
    notes: tuple[str, ...],
    folder: Path,
    progress: Progress,
    made: Callable[[Seen | Answered], None],
) -> Asked:
    """Run the pipeline and make everything that is shown of what it finds."""
    with (
        open_video(video) as source,
        pipeline.open(
            source,
            query=queries or None,
            start=settings.start_seconds,
            end=settings.end_seconds,
            masks=settings.masks,
            max_objects=settings.max_objects,
            passes=settings.passes,
            progress=progress,
        ) as clip,
    ):
        seen = see(clip, video, folder, notes)
        made(seen)
        answers: dict[int, Answered] = {}

        def answered(i: int, result: GroundingResult) -> None:
            answers[i] = show(result, source, seen, i + 1, progress)
            made(answers[i])

        if queries:
            clip.ground(list(queries), progress=progress, on_result=answered)
        keep_sample(clip, folder)
    return Asked(seen, [answers[i] for i in sorted(answers)])


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
