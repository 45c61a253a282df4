"""What was found in a video -> files to keep and HTML to look at.

Everything a visitor sees is made here once, in a folder of this question alone; what stays in
memory afterwards is text and paths.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stvg_r1_hub.clip import Clip
from stvg_r1_hub.config import CONFIG_NAME
from stvg_r1_hub.geometry import decode_mask
from stvg_r1_hub.result import GroundingResult, write_json
from stvg_r1_hub.structures import MarkedFrames, Pixels, Progress, Range
from stvg_r1_hub.tracking import save_tracks
from stvg_r1_hub.video import VideoSource, thin_sample, write_video
from stvg_r1_hub.visual.overlay import draw_objects
from stvg_r1_hub.visual.pictures import keyframe_indices
from stvg_r1_hub.web import markup, objects

KEYFRAME_HEIGHT = 240
MARKED, TRACKS = "what-the-model-saw.mp4", "tracks.json"
FRAMES, SAMPLED, SAMPLED_TRACKS = "frames.png", "sampled.json", "sampled-tracks.json"
SAMPLE_FILES = (FRAMES, SAMPLED, SAMPLED_TRACKS, CONFIG_NAME)
"""What a training sample needs besides the answer; its tracks count from the window's start."""


@dataclass(frozen=True)
class Seen:
    """What there is in a video, ready to be shown before any question about it is answered."""

    folder: Path
    """Holds all files of this visit; its name cannot be guessed."""
    video: Path
    """The upload."""
    marked: Path
    """What the language model saw."""
    messages: tuple[str, ...]
    """What is to be known of all answers alike."""
    remarks: str
    objects: str
    timeline: str
    """These three are HTML."""
    asks: tuple[str, ...]
    """What can be asked of these objects."""
    window: Range
    """What of the video was looked at, in seconds of the whole."""


@dataclass(frozen=True)
class Answered:
    """One description's answer, ready to be shown."""

    number: int
    """Its place among the descriptions, from 1."""
    summary: str
    """A few words, as text."""
    card: str
    timeline: str
    keyframes: str
    reasoning: str
    """These four are HTML."""
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
    before: Answered | None = None
    """The model's answer, where a visitor has corrected it."""
    sample: Path | None = None
    """The correction as a training sample."""

    def files_exist(self) -> bool:
        """Whether nothing has been deleted since."""
        files = (self.overlay, self.marked, self.json, self.masks)
        return all(path is None or path.is_file() for path in files)


def see(clip: Clip, video: Path, folder: Path, notes: tuple[str, ...]) -> Seen:
    """Write and show what tracking has found.

    Args:
        clip: tracked, not asked yet.
        video: the upload.
        folder: where files go.
        notes: sentences about what the visitor chose.
    """
    part, duration = clip.part, clip.source.info.duration_seconds
    tracks, noted = clip.tracks, clip.marked.notes
    if part is not None:
        tracks, noted = part.in_whole(tracks), noted and part.in_whole(noted)
    window = (0.0, duration) if part is None else part.range_seconds
    _write_marked(folder / MARKED, clip.marked, duration)
    save_tracks(tracks, folder / TRACKS)
    thin = thin_sample(clip.marked.frames, clip.source.info)
    messages = tuple(dict.fromkeys([*notes, *thin, *clip.source.warnings, *tracks.warnings]))
    return Seen(
        folder=folder,
        video=video,
        marked=folder / MARKED,
        messages=messages,
        remarks=markup.remarks(messages),
        objects=objects.object_list(tracks, () if noted is None else noted.lines, clip.pictures),
        timeline=markup.timeline(tracks, None, window),
        asks=() if noted is None else objects.questions(noted),
        window=window,
    )


def show(
    result: GroundingResult,
    source: VideoSource,
    seen: Seen,
    number: int,
    progress: Progress | None = None,
    *,
    by_hand: str = "",
) -> Answered:
    """Everything of one answer that a visitor can see or keep.

    Args:
        result: of one description.
        source: its video, open.
        seen: of the same video.
        number: its place among the descriptions, from 1.
        progress: called with the stages of writing.
        by_hand: says what a visitor has corrected; empty for an answer of the model.
    """
    name = f"{number}-object-{result.object_ids[0]}" if by_hand else str(number)
    overlay, text = seen.folder / f"answer-{name}.mp4", seen.folder / f"answer-{name}.json"
    if result.found:
        result.save_video(overlay, progress=progress or False)
    values = result.to_dict()
    values["warnings"] = list(dict.fromkeys([*seen.messages, by_hand, *values["warnings"]]))
    values["warnings"] = [sentence for sentence in values["warnings"] if sentence]
    if by_hand:
        values["corrected"] = True
    write_json(values, text)
    masks = None
    if any(box.mask for box in result.boxes):
        masks = seen.folder / f"masks-{name}.zip"
        _write_masks(masks, result)
    tracks = result.tracks
    assert tracks is not None
    return Answered(
        number=number,
        summary=markup.short_answer(result),
        card=markup.answer_card(result, elsewhere=seen.messages, asks=seen.asks, by_hand=by_hand),
        timeline=markup.timeline(tracks, result.tube, seen.window),
        keyframes=markup.keyframes(_keyframes(result, source)),
        reasoning=markup.reasoning(result),
        rows=[
            [b.frame_index, round(b.time_seconds, 3), b.object_id, *(round(v, 1) for v in b.xyxy)]
            for b in result.boxes
        ],
        overlay=overlay if result.found else None,
        marked=seen.marked,
        json=text,
        masks=masks,
        values=values,
    )


def own_copy(seen: Seen, answers: Sequence[Answered], folder: Path) -> tuple[Seen, list[Answered]]:
    """The same in a folder of its own, so that what one visitor corrects is nobody else's.

    Args:
        seen: the objects.
        answers: of the model, none corrected.
        folder: a new one.
    """
    kept = [seen.folder / name for name in (TRACKS, *SAMPLE_FILES)]
    paths = [path for a in answers for path in (a.overlay, a.json, a.masks) if path is not None]
    for path in {seen.marked, *kept, *paths}:
        if path.is_file():
            shutil.copyfile(path, folder / path.name)

    def moved(path: Path | None) -> Path | None:
        return None if path is None else folder / path.name

    marked = folder / seen.marked.name
    return replace(seen, folder=folder, marked=marked), [
        replace(
            a,
            marked=marked,
            json=folder / a.json.name,
            overlay=moved(a.overlay),
            masks=moved(a.masks),
        )
        for a in answers
    ]


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
    for frame in source.stream(keyframe_indices(source.info, result.tube, part=result.part)):
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
