"""One clip and the sentences about it to training samples: `Preparer`."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import AnnotationError, ConfigError, OutputError, STVGError, first_line
from stvg_r1_hub.evaluation.metrics import best_track
from stvg_r1_hub.evaluation.samples import AnnotatedSample, SetAside, group_by_video
from stvg_r1_hub.evaluation.window import WindowSource
from stvg_r1_hub.geometry import decode_mask, encode_mask
from stvg_r1_hub.marking import mark_frames
from stvg_r1_hub.outputs import make_folder, replacing
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.structures import Frames, MarkedFrames, Track, Tracks, VideoInfo
from stvg_r1_hub.track_selection import fit_to_sample
from stvg_r1_hub.tracking import (
    PrecomputedTracks,
    Tracker,
    WholeVideoTracks,
    load_tracks,
    save_tracks,
)
from stvg_r1_hub.video import VideoSource, open_video
from stvg_r1_hub.vlm.resizing import model_frames
from stvg_r1_hub.vlm.scripted import ScriptedVLM
from train.data.ground_truth import boxes_by_frame, official_object_id
from train.data.samples import (
    FORMAT_VERSION,
    FRAMES,
    MIRRORED,
    RECORD,
    TRACKS,
    read_frames,
    write_frames,
)
from train.rewards import mirrored_query

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation:
    """How samples are made; kept in `prepare.json`, and a folder holds one kind only."""

    dataset: str
    annotations: str
    """Digest of the annotation file's content."""
    tracker: str
    classes: str
    """What is tracked, as `TrackingConfig.class_mode` says it."""
    match: Literal["mean-iou", "official"]
    """How the annotated object's track is found: see `train/data/ground_truth.py`."""
    minimum_iou: float
    """For `"mean-iou"`: a worse track is none."""
    mirror: bool
    """Also keep the clip flipped left to right."""
    first_frame_number: int
    version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if not 0 < self.minimum_iou <= 1:
            raise ConfigError(f"minimum_iou must be in (0, 1], got {self.minimum_iou}.")


@dataclass(frozen=True)
class Work:
    """The sentences about one clip, and where they go."""

    name: str
    samples: tuple[AnnotatedSample, ...]

    def folder(self, out: Path) -> Path:
        """Where the finished clip lies."""
        return out / "videos" / self.name

    def failure(self, out: Path) -> Path:
        """The file that says why the clip could not be used."""
        return out / "failed" / f"{self.name}.json"

    def is_done(self, out: Path) -> bool:
        """Whether an earlier run has finished it, well or not."""
        return (self.folder(out) / RECORD).is_file() or self.failure(out).is_file()

    def discard_unusable(self, out: Path) -> None:
        """Forget that the clip failed, or what was made of it when that cannot be read."""
        self.failure(out).unlink(missing_ok=True)
        folder = self.folder(out)
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            for sample in record["samples"][:1]:
                for name in (FRAMES, MIRRORED):
                    if name == FRAMES or (folder / name).exists():
                        read_frames(folder / name, sample["n_frames"])
                load_tracks(folder / TRACKS)
        except FileNotFoundError:
            return  # not made yet
        except (OSError, ValueError, STVGError) as error:
            _log.warning("Clip %s is made anew: %s", self.name, error)
            shutil.rmtree(folder)


def divide(samples: Sequence[AnnotatedSample]) -> list[Work]:
    """Sentences about the same part of the same video together, in order of first mention."""
    return [
        Work(f"{i:06d}-{re.sub(r'[^A-Za-z0-9_.-]', '_', group[0].video.stem)[:80]}", tuple(group))
        for i, group in enumerate(group_by_video(samples))
    ]


@dataclass(eq=False)
class Preparer:
    """Makes the samples of one clip after the other."""

    preparation: Preparation
    config: STVGConfig
    """Sampling, marker style and prompt of the checkpoint to train."""
    tracker: Tracker | None
    """Finds the objects; None where `tracks` has them."""
    out: Path
    """The prepared folder."""
    tracks: Path | None = None
    """Folder with `<video>.json` or official mask folders of the videos' names."""

    def prepare(self, work: Work) -> None:
        """Make one clip's folder, or note why it cannot be made.

        Whatever goes wrong with one clip is noted and does not stop the others.

        Raises:
            OutputError: the folder cannot be written, as when the disk is full.
        """
        temporary = self.out / "videos" / f".{work.name}.partial"
        shutil.rmtree(temporary, ignore_errors=True)
        make_folder(temporary)
        try:
            self._write(work, temporary)
        except OutputError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        except Exception as error:
            shutil.rmtree(temporary)
            reason = str(error)
            if not isinstance(error, STVGError):
                _log.exception("Clip %s", work.name)
                reason = f"{type(error).__name__}: {first_line(error)}"
            names = [sample.sample_id for sample in work.samples]
            note = {"video": str(work.samples[0].video), "samples": names, "reason": reason}
            write_json(work.failure(self.out), note)
            return
        os.replace(temporary, work.folder(self.out))

    def _write(self, work: Work, folder: Path) -> None:
        first = work.samples[0]
        if not first.video.exists():
            raise AnnotationError(f"There is no video {first.video}.")
        with open_video(first.video) as whole:
            refused = refusals(work, whole.info)
            if len(refused) == len(work.samples):
                write_record(folder, [], refused.values())
                return
            source = WindowSource(whole, *first.clip_seconds) if first.clip_seconds else whole
            tracker = self._tracker_of(first, whole, source)
            pipeline = STVGPipeline(self.config, tracker, ScriptedVLM(["unused"]))
            asked = [sample.query for sample in work.samples]
            frames, tracks = pipeline.read(source, query=asked)
            info, shift, offset = source.info, 0, 0.0
            if isinstance(source, WindowSource):
                shift, offset = source.first_frame, source.offset_seconds
        fitted = fit_to_sample(tracks, frames)
        marked = mark_frames(frames, fitted, self.config.marker)
        write_frames(folder / FRAMES, model_frames(marked.frames))
        if self.preparation.mirror:
            flipped = mark_frames(*mirrored(frames, fitted), self.config.marker)
            write_frames(folder / MIRRORED, model_frames(flipped.frames))
        save_tracks(tracks, folder / TRACKS)
        usable, aside = [], list(refused.values())
        for sample in work.samples:
            if sample.sample_id in refused:
                continue
            found = self._object_id(sample, tracks, marked, shift)
            if isinstance(found, str):
                aside.append(SetAside(sample.sample_id, found))
                continue
            sample, beyond = within(sample, shift, shift + info.n_frames)
            aside += beyond
            usable.append(
                {
                    "folder": work.name,
                    **_record(sample, found, shift, offset),
                    "duration_seconds": info.duration_seconds,
                    "sample_fps": frames.sample_fps,
                    "n_frames": len(frames),
                }
            )
        write_record(folder, usable, aside)

    def _tracker_of(
        self, sample: AnnotatedSample, whole: VideoSource, shown: VideoSource
    ) -> Tracker:
        """The detector's, or ready tracks, which are those of the whole file."""
        if self.tracks is None:
            assert self.tracker is not None
            return self.tracker
        for name in (sample.video.stem, Path(sample.sample_id).stem):
            for path in (self.tracks / f"{name}.json", self.tracks / name):
                if path.exists():
                    ready = PrecomputedTracks(path)
                    if isinstance(shown, WindowSource):
                        return WholeVideoTracks(ready, whole.info, shown.first_frame)
                    return ready
        raise AnnotationError(f"There are no tracks of {sample.video.stem} in {self.tracks}.")

    def _object_id(
        self, sample: AnnotatedSample, tracks: Tracks, marked: MarkedFrames, shift: int
    ) -> int | str:
        """The number of the annotated object, or why there is none."""
        if not sample.answerable or not sample.has_boxes:
            return "it has no annotated boxes"
        frames = sample.frame_indices - shift
        if self.preparation.match == "official":
            sizes = sample.boxes[:, 2:] - sample.boxes[:, :2]
            xywh = np.concatenate([sample.boxes[:, :2], sizes], axis=1)
            objects = boxes_by_frame(tracks, min_area_ratio=self.config.marker.min_area_ratio)
            found = official_object_id(xywh.tolist(), frames.tolist(), objects)
        else:
            found = best_track(
                tracks, frames, sample.boxes, minimum_iou=self.preparation.minimum_iou
            )
        if found is None:
            return f"none of {len(tracks)} tracks follows the annotated object"
        if found not in marked.visible_ids:
            return f"the annotated object's number {found} is drawn in no sampled frame"
        return found


def within(
    sample: AnnotatedSample, first: int, stop: int
) -> tuple[AnnotatedSample, list[SetAside]]:
    """A sample with its boxes in a half-open range of frames alone, and what is then left out."""
    inside = (sample.frame_indices >= first) & (sample.frame_indices < stop)
    count = int((~inside).sum())
    if not count:
        return sample, []
    kept = dataclasses.replace(
        sample, frame_indices=sample.frame_indices[inside], boxes=sample.boxes[inside]
    )
    reason = f"they are not in the frames {first}..{stop - 1} of the video"
    return kept, [SetAside(sample.sample_id, reason, n_boxes=count)]


def refusals(work: Work, info: VideoInfo) -> dict[str, SetAside]:
    """Why the annotation of a sentence cannot be of this video, by sample; doubts are logged."""
    refused = {}
    for sample in work.samples:
        try:
            for note in sample.check_video(info):
                _log.warning("%s", note)
        except AnnotationError as error:
            refused[sample.sample_id] = SetAside(sample.sample_id, str(error))
    return refused


def write_record(folder: Path, usable: list[dict[str, Any]], aside: Iterable[SetAside]) -> None:
    """What came of a clip's sentences: samples, and why others are none."""
    lines = [aside_line(fault) for fault in aside]
    write_json(folder / RECORD, {"samples": usable, "set_aside": lines})


def aside_line(fault: SetAside) -> dict[str, Any]:
    """A line of `set_aside.jsonl`."""
    return {"sample_id": fault.record, "reason": fault.reason, "n_boxes": fault.n_boxes}


def normalize_query(sentence: str) -> str:
    """A sentence as in training: stripped, lower case, without one final period.

    A blank before that period stays. Evaluation inserts sentences unchanged. Source:
    `load_json_dataset` of grpo_video.py, XiaowZhang00/stvg-r1 @ 0bea9e5.
    """
    return sentence.strip().lower().removesuffix(".")


def _record(sample: AnnotatedSample, object_id: int, shift: int, offset: float) -> dict[str, Any]:
    """A sample's line; frames and seconds count from the first shown frame."""
    assert sample.start_seconds is not None and sample.end_seconds is not None
    return {
        "sample_id": sample.sample_id,
        "query": normalize_query(sample.query),
        "mirrored_query": mirrored_query(normalize_query(sample.query)),
        "object_ids": [object_id],
        "start_seconds": sample.start_seconds - offset,
        "end_seconds": sample.end_seconds - offset,
        "boxes": {
            str(frame - shift): [round(float(v), 2) for v in box]
            for frame, box in sample.tube.items()
        },
    }


def mirrored(frames: Frames, tracks: Tracks) -> tuple[Frames, Tracks]:
    """Sample and tracks flipped left to right; numbers are drawn afterwards, so they read well."""
    flipped = dataclasses.replace(frames, pixels=np.ascontiguousarray(frames.pixels[:, :, ::-1]))
    return flipped, dataclasses.replace(
        tracks, tracks=tuple(_mirrored(track, tracks.width) for track in tracks.tracks)
    )


def _mirrored(track: Track, width: int) -> Track:
    boxes = track.boxes.copy()
    boxes[:, 0], boxes[:, 2] = width - track.boxes[:, 2], width - track.boxes[:, 0]
    masks = track.masks and tuple(
        encode_mask(decode_mask(mask)[:, ::-1]) if mask else None for mask in track.masks
    )
    return dataclasses.replace(track, boxes=boxes, masks=masks)


def write_json(path: Path, values: Any) -> None:
    """A JSON file that is there whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")
