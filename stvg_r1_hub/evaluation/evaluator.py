"""A sample and a model in, a `Prediction` out; every clip is read, tracked and encoded once."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from stvg_r1_hub.clip import Clip
from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.sprites import true_tracker
from stvg_r1_hub.evaluation.prediction import Prediction, prediction_of
from stvg_r1_hub.evaluation.samples import AnnotatedSample
from stvg_r1_hub.evaluation.window import WindowSource
from stvg_r1_hub.evaluation.written_tube import parse_written_tube
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.prompting import build_prompt, clean_query
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.structures import RLE
from stvg_r1_hub.tracking import Tracker
from stvg_r1_hub.tracking.official_masks import is_official_folder
from stvg_r1_hub.tracking.precomputed import PrecomputedTracks, WholeVideoTracks
from stvg_r1_hub.video import VideoSource, open_video

ANSWERS = ("ids", "boxes")
"""How a model answers: with an object's ID, or by writing boxes as text."""
OWN_STAGES = ("answer", "look")
"""Stages that every question pays; the others are shared by the questions about a clip."""


@dataclass(frozen=True)
class Reply:
    """A prediction with what is worth keeping beside it."""

    prediction: Prediction
    timings: dict[str, float]
    notes: tuple[str, ...]
    tokens: dict[str, int] = field(default_factory=dict)
    """`seen` (of the video) and `written`, as far as they are known."""


@dataclass(eq=False)
class Evaluator:
    """Asks a pipeline about the samples of one clip after the other."""

    pipeline: STVGPipeline
    task: str
    """`"tube"`, `"time"` or `"mask"`."""
    benchmark: str = ""
    """Its name, which decides by which protocols answers are scored."""
    answers: str = "ids"
    """One of `ANSWERS`."""
    tracks: Path | None = None
    """Folder of prepared tracks: `<sample id>.json`, `<video name>.json`, or a folder of official
    mask files of one of these names."""
    true_tracks: bool = False
    """The true tracks instead; the samples are sprite-world clips."""
    seed: int = 0
    """Of the model's sampling, mixed with each sample's id."""
    passes: int | str = 1
    """Looks at each clip, as `STVGPipeline.__call__` takes it."""
    renders: bool = False
    """The videos are sprite-world clips that are made when they are asked about."""
    submission: Path | None = None
    """Folder to write MeViS' submission into."""

    @contextmanager
    def open(self, sample: AnnotatedSample, queries: Sequence[str]) -> Iterator[OpenClip]:
        """Read and track the clip of a sample; ask it about this and others of its group.

        Args:
            sample: any of the group.
            queries: of the whole group, answered or not, so that a run that is taken up again
                tracks the same.

        Raises:
            STVGError: the video, the tracks or the annotation cannot be used.
        """
        if not sample.video.exists():
            raise AnnotationError(f"There is no video {sample.video}.")
        markers = self.task != "time" and self.answers == "ids"
        with open_video(sample.video, fps=sample.image_folder_fps) as whole:
            notes = sample.check_video(whole.info)
            shown = WindowSource(whole, *sample.clip_seconds) if sample.clip_seconds else whole
            pipeline = self._with_given_tracks(sample, whole, shown)
            masks = markers and self.task == "mask"
            with pipeline.open(
                shown,
                query=queries,
                masks=masks,
                markers=markers,
                passes=self.passes,
                progress=False,
            ) as clip:
                # Masks are made of the whole clip, not of the answered range.
                yield OpenClip(self, replace(clip, masks=False), shown, tuple(notes))

    def _with_given_tracks(
        self, sample: AnnotatedSample, whole: VideoSource, shown: VideoSource
    ) -> STVGPipeline:
        tracker: Tracker
        if self.true_tracks:
            tracker = true_tracker(sample)
        elif self.tracks is not None:
            tracker = PrecomputedTracks(prepared_tracks(self.tracks, sample))
        else:
            return self.pipeline
        if isinstance(shown, WindowSource):
            tracker = WholeVideoTracks(tracker, whole.info, shown.first_frame)
        return self.pipeline.replace(tracker=tracker)


def prepared_tracks(folder: Path, sample: AnnotatedSample) -> Path:
    """Where the tracks of a sample lie.

    Raises:
        AnnotationError: nowhere; the names that were looked for are said.
    """
    names = dict.fromkeys([sample.sample_id, Path(sample.sample_id).stem, sample.video.stem])
    for name in names:
        for path in (folder / f"{name}.json", folder / name):
            if path.is_file() or is_official_folder(path):
                return path
    raise AnnotationError(
        f"There are no prepared tracks for sample {sample.sample_id} in {folder}; looked for "
        f"{', '.join(f'{name}.json' for name in names)} and folders of mask files."
    )


@dataclass(eq=False)
class OpenClip:
    """A clip that is ready for the questions of its group; see `Evaluator.open`."""

    _evaluator: Evaluator
    _clip: Clip
    _shown: VideoSource
    _notes: tuple[str, ...]
    _asked: bool = False

    def ask(self, sample: AnnotatedSample) -> Reply:
        """The model's answer to one sample; the same however often and in whatever order asked."""
        import torch

        torch.manual_seed(zlib.crc32(f"{self._evaluator.seed} {sample.sample_id}".encode()))
        if self._evaluator.answers == "boxes":
            reply = self._ask_for_boxes(sample)
        else:
            reply = self._as_reply(self._clip.ground(sample.query, progress=False))
        self._asked = True
        return reply

    def _as_reply(self, result: GroundingResult) -> Reply:
        own = sum(result.timings.get(stage, 0.0) for stage in OWN_STAGES)
        shared = {} if not self._asked else {"total": own}
        timings = {**result.timings, **shared}
        if self._asked:
            timings = {k: v for k, v in timings.items() if k in (*OWN_STAGES, "total")}
        _, first, offset = self._clock()
        masks = self._masks(result) if self._evaluator.task == "mask" else None
        prediction = prediction_of(result, first_frame=first, offset_seconds=offset, masks=masks)
        notes = (*self._notes, *result.warnings)
        return Reply(prediction, timings, notes, self._tokens(result.raw_text))

    def _tokens(self, text: str) -> dict[str, int]:
        """What a Qwen-VL model sees of the clip, and how long its text is; nothing of notes."""
        pipeline, frames = self._evaluator.pipeline, self._clip.marked.frames
        if pipeline.config.reads_notes:
            return {}
        side = pipeline.config.sampling.size_factor
        seen = -(-len(frames) // 2) * (frames.model_width // side) * (frames.model_height // side)
        tokenizer = getattr(getattr(pipeline.vlm, "processor", None), "tokenizer", None)
        written = {"written": len(tokenizer(text).input_ids)} if tokenizer is not None else {}
        return {"seen": seen, **written}

    def _clock(self) -> tuple[np.ndarray, int, float]:
        """Frame times on the file's clock, and the first shown frame and moment."""
        if isinstance(self._shown, WindowSource):
            offset = self._shown.offset_seconds
            return self._shown.info.frame_times + offset, self._shown.first_frame, offset
        return self._shown.info.frame_times, 0, 0.0

    def _masks(self, result: GroundingResult) -> dict[int, RLE] | None:
        """Union masks of the answered objects in the whole clip, whatever time was answered.

        Mask benchmarks ask which objects, not when. Masks are the tracks' or the segmenter's.
        """
        if result.answer is None or not result.found:
            return None
        end = self._shown.info.duration_seconds
        answer = replace(result.answer, start_seconds=0.0, end_seconds=end)
        tube = self._clip.fill_masks(self._clip.build_tube(answer, masks=True))
        return replace(result, tube=tube).union_masks

    def _ask_for_boxes(self, sample: AnnotatedSample) -> Reply:
        own: dict[str, float] = {}
        prompt = build_prompt(clean_query(sample.query), "boxes")
        (text,) = self._clip.ask([prompt], timings=own)
        frames = self._clip.marked.frames
        times, first, offset = self._clock()
        written = parse_written_tube(text)
        prediction = Prediction(text=text, frame_times=times, first_frame=first)
        if written is not None:
            end = self._shown.info.duration_seconds
            info = self._shown.info
            scale = info.width / frames.model_width, info.height / frames.model_height
            indices, boxes = written.spread(info.frame_times, scale)
            prediction = Prediction(
                text=text,
                start_seconds=min(written.start_seconds, end) + offset,
                end_seconds=min(written.end_seconds, end) + offset,
                frame_times=times,
                first_frame=first,
                frame_indices=indices + first,
                boxes=boxes,
            )
        shared = {} if self._asked else self._clip.timings
        timings = {**shared, **own}
        timings["total"] = sum(timings.values())
        reason = () if written else ("The text holds no time range with boxes.",)
        return Reply(prediction, timings, (*self._notes, *reason), self._tokens(text))
