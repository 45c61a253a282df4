"""A visitor's click instead of the model's answer: from what was tracked, without any model."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.clip import Clip
from stvg_r1_hub.config import CONFIG_NAME
from stvg_r1_hub.errors import STVGError, VideoError
from stvg_r1_hub.outputs import styled
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.structures import Answer, Box, Range, Track, Tracks, Tube
from stvg_r1_hub.tracking import load_tracks, save_tracks
from stvg_r1_hub.tube import build_tube
from stvg_r1_hub.video import VideoSource, open_video
from stvg_r1_hub.vlm.resizing import model_frames
from stvg_r1_hub.web.answers import (
    FRAMES,
    SAMPLED,
    SAMPLED_TRACKS,
    TRACKS,
    Answered,
    Seen,
    show,
)

GONE = "What was found in this video has been deleted by now; upload it and ask again."
STYLE_LABELS = {
    "trails": "trails",
    "blur": "background blurred",
    "plain": "no boxes",
    "moment": "only the moment",
}
"""What a visitor may change of a drawn answer, and how the page calls it."""


def keep_sample(clip: Clip, folder: Path) -> None:
    """Keep what a training sample needs besides the answer: the frames as the model sees them."""
    import cv2

    frames = clip.marked.frames
    pixels = model_frames(frames)
    tall = pixels.reshape(-1, *pixels.shape[2:])[..., ::-1]
    cv2.imwrite(str(folder / FRAMES), np.ascontiguousarray(tall))
    save_tracks(clip.tracks, folder / SAMPLED_TRACKS)
    sampled = {
        "sample_fps": frames.sample_fps,
        "n_frames": len(frames),
        "duration_seconds": clip.source.info.duration_seconds,
        "first_frame": 0 if clip.part is None else clip.part.first_frame,
    }
    (folder / SAMPLED).write_text(json.dumps(sampled), encoding="utf-8")
    clip.config.save(folder)


def correct(seen: Seen, answer: Answered, object_id: int) -> Answered:
    """The answer with another object, in the same time range where that object is seen in it.

    Args:
        seen: what was found in the video.
        answer: the one to correct.
        object_id: number of the right object.

    Raises:
        STVGError: there is no such object, or the files are gone.
    """
    original = answer.before or answer
    values: dict[str, Any] = original.values
    with _opened(seen) as (source, tracks):
        track = tracks.get(object_id)
        if track is None:
            known = ", ".join(map(str, sorted(tracks.object_ids)))
            raise STVGError(f"There is no object {object_id} in this video; there is {known}.")
        ranges, why = _ranges(values, track, tracks, seen.window[1])
        answered = Answer((object_id,), ranges[0][0], ranges[-1][1], ranges=ranges)
        tube = build_tube(answered, tracks, duration_seconds=source.info.duration_seconds)
        before = ", ".join(map(str, values["object_ids"])) or "nothing"
        note = f"Corrected by hand: object {object_id} instead of {before}, {why}."
        result = _result(values, tube, tracks, source)
        made = show(result, source, seen, answer.number, by_hand=note)
    sample = seen.folder / f"training-sample-{answer.number}-object-{object_id}.zip"
    write_sample(sample, seen, made)
    return replace(made, before=original, sample=sample if sample.is_file() else None)


def redraw(seen: Seen, answer: Answered, style: Collection[str]) -> Path | None:
    """The answer's video drawn in another way, made when it is first asked for.

    Args:
        seen: what was found in the video.
        answer: to draw.
        style: of `outputs.STYLES`.

    Returns:
        Where it is; None where nothing was found that could be drawn.

    Raises:
        STVGError: the files are gone.
    """
    chosen = [name for name in STYLE_LABELS if name in style]
    if answer.overlay is None or not chosen:
        return answer.overlay
    path = answer.overlay.with_stem("-".join([answer.overlay.stem, *chosen]))
    values: dict[str, Any] = answer.values
    with _opened(seen) as (source, tracks):
        if not path.is_file():
            result = _result(values, _tube(values), tracks, source)
            result.save_video(path, progress=False, **styled(chosen))
    return path


@contextmanager
def _opened(seen: Seen) -> Iterator[tuple[VideoSource, Tracks]]:
    """The upload and its objects.

    Raises:
        VideoError: they are deleted.
    """
    if not (seen.folder / TRACKS).is_file() or not seen.video.is_file():
        raise VideoError(GONE)
    with open_video(seen.video) as source:
        yield source, load_tracks(seen.folder / TRACKS)


def _result(
    values: Mapping[str, Any], tube: Tube, tracks: Tracks, source: VideoSource
) -> GroundingResult:
    """An answer that is known by its JSON values, with this tube."""
    part = values["part"]
    return GroundingResult(
        query=str(values["query"]),
        tube=tube,
        raw_text="",
        timings={},
        warnings=tube.warnings,
        model=str(values["model"]),
        info=source.info,
        tracks=tracks,
        video=source,
        notes=tuple(map(str, values["notes"])),
        part=part and (part["start_seconds"], part["end_seconds"]),
    )


def _tube(values: Mapping[str, Any]) -> Tube:
    """The answered boxes, of JSON values."""
    masks = values.get("masks") or [None] * len(values["boxes"])
    boxes = tuple(
        Box(**{**box, "xyxy": tuple(box["xyxy"])}, mask=mask)
        for box, mask in zip(values["boxes"], masks, strict=True)
    )
    return Tube(
        tuple(values["object_ids"]),
        values["start_seconds"],
        values["end_seconds"],
        boxes,
        has_masks="masks" in values,
        ranges=tuple((span["start_seconds"], span["end_seconds"]) for span in values["ranges"]),
    )


def _ranges(
    values: dict[str, Any], track: Track, tracks: Tracks, duration: float
) -> tuple[tuple[Range, ...], str]:
    """The answered moments where the object is seen in them, else all the time that it is seen."""
    times = np.append(tracks.frame_times, duration)
    seen = tracks.frame_times[track.frame_indices]
    ranges = tuple((span["start_seconds"], span["end_seconds"]) for span in values["ranges"])
    if any(((seen >= start) & (seen < end)).any() for start, end in ranges):
        return ranges, "in the answered time"
    first, last = track.frame_indices[[0, -1]]
    return ((float(times[first]), float(times[last + 1])),), "as long as it is seen"


def write_sample(path: Path, seen: Seen, made: Answered) -> None:
    """A prepared folder with one sample, as `train.data.samples` reads it, in a zip file.

    Nothing is written when the sampled frames are gone.
    """
    if not (seen.folder / SAMPLED).is_file():
        return
    values: dict[str, Any] = made.values
    name = f"000000-{path.stem}"
    # A sample knows nothing of the video around it.
    sampled = json.loads((seen.folder / SAMPLED).read_text(encoding="utf-8"))
    first, start = sampled.pop("first_frame"), seen.window[0]
    boxes = {
        str(int(frame) - first): [left, top, right, bottom]
        for frame, _, _, left, top, right, bottom in made.rows
    }
    record = {
        "folder": name,
        "sample_id": f"{seen.folder.name[:8]}-{path.stem}",
        "query": values["query"],
        "mirrored_query": values["query"],  # No mirrored frames are kept, so it is never asked.
        "object_ids": values["object_ids"],
        "start_seconds": values["start_seconds"] - start,
        "end_seconds": values["end_seconds"] - start,
        "boxes": boxes,
        **sampled,
    }
    about = {"dataset": "corrections made on the page", "version": 1}
    video = f"videos/{name}"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("prepare.json", json.dumps(about))
        archive.write(seen.folder / CONFIG_NAME, CONFIG_NAME)
        archive.writestr("samples.jsonl", json.dumps(record) + "\n")
        archive.write(seen.folder / FRAMES, f"{video}/{FRAMES}")
        archive.write(seen.folder / SAMPLED_TRACKS, f"{video}/{TRACKS}")
        archive.writestr(f"{video}/record.json", json.dumps({"samples": [record], "set_aside": []}))
