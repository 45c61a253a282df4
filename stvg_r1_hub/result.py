"""What the pipeline answers, with everything to save and to show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stvg_r1_hub import exports
from stvg_r1_hub.errors import ConfigError, OutputError, VideoError
from stvg_r1_hub.geometry import frames_in_range, ranges_text, union_of_masks
from stvg_r1_hub.outputs import PICTURE_SUFFIXES, VIDEO_SUFFIXES, check_output, replacing
from stvg_r1_hub.progress_bars import callback_of, in_notebook
from stvg_r1_hub.structures import (
    RLE,
    Alternative,
    Answer,
    Box,
    ByValue,
    Look,
    Pixels,
    Progress,
    Range,
    Tracks,
    Tube,
    VideoInfo,
)
from stvg_r1_hub.video import VideoInput, VideoSource, opened, write_video
from stvg_r1_hub.visual import overlay, pictures

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]
    import supervision
    from matplotlib.figure import Figure

_SHOWN_FRAMES = 4
"""Key frames in a notebook, where every output is kept in the file."""


@dataclass(frozen=True, eq=False)
class GroundingResult(ByValue):
    """Where and when in the video is what the query describes.

    Two are equal that say the same, however long they took and wherever the video now lies.
    """

    query: str
    tube: Tube | None
    """The answered objects through the answered time range; None when not found."""
    raw_text: str
    """The model's whole output; empty when it was not asked."""
    timings: dict[str, float] = field(compare=False)
    """Seconds spent in each stage; `total` is their sum."""
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = field(default=(), repr=False)
    """What was measured of every object, one line each; see `notes.take_notes`."""
    model: str = ""
    """Name of the model that was asked, as it was given."""
    server_input: str = ""
    """How a server was sent the frames: `"video"`, `"frames"` or `"images"`; empty without one."""
    info: VideoInfo | None = field(default=None, repr=False)
    """What is known of the video."""
    answer: Answer | None = field(default=None, repr=False)
    """What was read from the text, before it was held against the tracks."""
    tracks: Tracks | None = field(default=None, repr=False)
    video: VideoInput = field(default=(), repr=False, compare=False)
    """What the pipeline was given, read again for `save_video` and `keyframes`."""
    confidence: float | None = None
    """How sure the model was of the answered objects, 0..1; None where it cannot say."""
    alternatives: tuple[Alternative, ...] = ()
    """The other objects that it might have meant, most likely first, at most five."""
    looks: tuple[Look, ...] = field(default=(), repr=False)
    """What each look at the video saw and changed; empty where it was looked at once."""
    part: Range | None = None
    """All of the video that was looked at, where that is a part; what the model says in words
    (`reasoning`, `raw_text`) counts from its start, everything else from the video's."""

    @property
    def found(self) -> bool:
        """False when the answer cannot be used; `warnings` then holds the reason."""
        return self.tube is not None

    @property
    def object_ids(self) -> tuple[int, ...]:
        """IDs of the answered objects; empty when not found."""
        return self.tube.object_ids if self.tube else ()

    @property
    def start_seconds(self) -> float | None:
        """First moment of the answered ranges, in seconds from the video's start."""
        return self.tube.start_seconds if self.tube else None

    @property
    def end_seconds(self) -> float | None:
        """End of the last half-open range."""
        return self.tube.end_seconds if self.tube else None

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The answered ranges, `(start, end)` in seconds: usually one, empty when not found."""
        return self.tube.ranges if self.tube else ()

    @property
    def boxes(self) -> tuple[Box, ...]:
        """One a native frame of the ranges and object, in pixels of the original frame."""
        return self.tube.boxes if self.tube else ()

    @property
    def masks(self) -> tuple[RLE | None, ...] | None:
        """One a box, when asked for; None stands for an empty mask."""
        if self.tube is None or not self.tube.has_masks:
            return None
        return tuple(box.mask for box in self.tube.boxes)

    @property
    def reasoning(self) -> str:
        """What the model thought before it answered."""
        return self.answer.reasoning if self.answer else ""

    def __repr__(self) -> str:
        if self.tube is None:
            return f"GroundingResult({self.query!r}, not found: {' '.join(self.warnings[-1:])})"
        return f"GroundingResult({self.query!r}, {self._in_words()})"

    def _in_words(self) -> str:
        if self.tube is None:
            return "not found"
        ids = ", ".join(map(str, self.object_ids))
        return f"object {ids}, {ranges_text(self.ranges)}, {len(self.boxes)} boxes"

    def at_least(self, confidence: float) -> GroundingResult:
        """The same where the model was so sure, else one that is not found and says why.

        Args:
            confidence: 0..1. A result without a confidence stays as it is.

        Raises:
            ConfigError: not in 0..1.
        """
        if not 0 <= confidence <= 1:
            raise ConfigError(f"Got the least confidence {confidence:g}; it must be in 0..1.")
        if self.tube is None or self.confidence is None or self.confidence >= confidence:
            return self
        ids = ", ".join(map(str, self.object_ids))
        reason = (
            f"The answer, object {ids} in {ranges_text(self.ranges)}, is withdrawn: its confidence "
            f"is {self.confidence:.2f}, and at least {confidence:g} was asked for."
        )
        return replace(self, tube=None, warnings=(*self.warnings, reason))

    @property
    def union_masks(self) -> dict[int, RLE] | None:
        """One mask a native frame that covers all answered objects, or None without masks."""
        if self.masks is None:
            return None
        by_frame: dict[int, list[RLE]] = {}
        for box in self.boxes:
            if box.mask is not None:
                by_frame.setdefault(box.frame_index, []).append(box.mask)
        return {frame: union_of_masks(masks) for frame, masks in by_frame.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that tell a reader who has nothing else what was found in what.

        `video` is None in a result that was put together without `info`, `tracker` is empty where
        nothing was tracked.
        """
        values: dict[str, Any] = {
            "query": self.query,
            "video": None if self.info is None else _video_values(self.info),
            "part": None if self.part is None else _range_values(self.part),
            "model": self.model,
            "server_input": self.server_input,
            "tracker": self.tracks.tracker if self.tracks else "",
            "found": self.found,
            "object_ids": list(self.object_ids),
            "objects": self._objects(),
            "start_seconds": self.start_seconds,
            "end_seconds": self.end_seconds,
            "ranges": [_range_values(given) for given in self.ranges],
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "alternatives": [asdict(other) for other in self.alternatives],
            "boxes": [_box_values(box) for box in self.boxes],
            "reasoning": self.reasoning,
            "raw_text": self.raw_text,
            "notes": list(self.notes),
            "looks": [asdict(look) for look in self.looks],
            "timings": {stage: round(seconds, 4) for stage, seconds in self.timings.items()},
            "warnings": list(self.warnings),
        }
        if self.masks is not None:
            values["masks"] = list(self.masks)
        return values

    def _objects(self) -> list[dict[str, Any]]:
        """The answered objects, as the tracker knows them."""
        found = [self.tracks.get(i) for i in self.object_ids] if self.tracks else []
        return [
            {"id": track.object_id, "class": track.class_name, "score": round(track.score, 4)}
            for track in found
            if track is not None
        ]

    def to_json(self, path: str | Path | None = None) -> str:
        """The dict of `to_dict` as JSON text, also written to a file when a path is given.

        Raises:
            OutputError: the file cannot be written.
        """
        return write_json(self.to_dict(), path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """The boxes as CSV with a header, also written to a file when a path is given.

        Raises:
            OutputError: the file cannot be written.
        """
        return write_text(exports.csv_text(self.boxes, self._known_tracks()), path)

    def to_mot(self, path: str | Path | None = None) -> str:
        """The boxes as MOTChallenge text, whose frames and pixels count from 1; as `to_csv`."""
        return write_text(exports.mot_text(self.boxes, self._known_tracks()), path)

    def to_coco(self, path: str | Path | None = None) -> str:
        """The boxes, and masks where there are, as the JSON of COCO; as `to_csv`."""
        return write_text(exports.coco_text(self.boxes, self._known_tracks(), self.info), path)

    def to_pandas(self) -> pandas.DataFrame:
        """The boxes as a table, a row a box: frame, seconds, object, class, score and sides.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return exports.data_frame(self.boxes, self._known_tracks())

    def to_supervision(self) -> dict[int, supervision.Detections]:
        """Frame index -> `supervision.Detections`, for every frame with a box.

        Raises:
            MissingPackageError: supervision is not installed.
        """
        return exports.supervision_detections(self.boxes, self._known_tracks())

    def _known_tracks(self) -> Tracks:
        assert self.tracks is not None
        return self.tracks

    def save_video(
        self,
        path: str | Path,
        *,
        boxes: bool = True,
        trails: bool = False,
        blur: bool = False,
        only_moment: bool = False,
        progress: Progress | bool = True,
    ) -> None:
        """Write the video with the answer drawn: real timing, sound kept, `.mp4` or `.gif`.

        Of a video of which a part was looked at, that part.

        Args:
            path: of the file.
            boxes: draw boxes or masks, labels and the strip at the bottom; False leaves these out.
            trails: draw the way that the object has come in the last seconds.
            blur: put everything else out of focus as long as the answer lasts.
            only_moment: write the answered time alone, from its first moment to its last.
            progress: as of `STVGPipeline.__call__`.

        Raises:
            OutputError: the file cannot be written, or there is no moment in it.
            VideoError: the video that was grounded is gone.
        """
        path = check_output(path, VIDEO_SUFFIXES)
        shown = self.part
        if only_moment:
            if self.tube is None:
                raise OutputError("Got only_moment=True, but nothing was found: leave it out.")
            shown = self.tube.start_seconds, self.tube.end_seconds
        with opened(self.video) as source, callback_of(progress) as callback:
            frames = range(source.info.n_frames)
            if shown is not None:
                frames = frames_in_range(source.info.frame_times, *shown)
            drawn = overlay.draw_answer(
                source.stream(frames),
                source.info,
                self.tube,
                query=self.query,
                class_names=self._class_names(),
                style=overlay.DrawStyle(boxes=boxes, trails=trails, blur=blur),
            )
            _write(path, source, drawn, callback, frames)

    def keyframes(self, path: str | Path | None = None) -> Pixels:
        """About six frames in a row, those in the answered range framed.

        Args:
            path: a `.png` to write as well.

        Returns:
            `(H, W, 3)` uint8 RGB.

        Raises:
            OutputError: the file cannot be written.
            VideoError: the video that was grounded is gone.
        """
        if path is not None:
            path = check_output(path, PICTURE_SUFFIXES)
        with opened(self.video) as source:
            chosen = pictures.keyframe_indices(source.info, self.tube, part=self.part)
            frames = list(source.stream(chosen))
        strip = pictures.keyframe_strip(
            frames, self.tube, query=self.query, class_names=self._class_names()
        )
        if path is not None:
            write_png(strip, path)
        return strip

    def plot(self, path: str | Path | None = None) -> Figure:
        """The timeline as a matplotlib figure: one bar an object, the answered range shaded.

        Args:
            path: a `.png` to write as well.

        Raises:
            OutputError: the file cannot be written.
        """
        if path is not None:
            path = check_output(path, PICTURE_SUFFIXES)
        assert self.tracks is not None
        return pictures.timeline_plot(self.tracks, self.tube, title=self.query, path=path)

    def show(self) -> None:
        """Show the answer: as HTML in a notebook, else the key frames in a picture viewer."""
        if in_notebook():
            from IPython.display import display

            display(self)  # type: ignore[no-untyped-call]
        else:
            from PIL import Image

            Image.fromarray(self.keyframes()).show(title=self.query)

    def _repr_html_(self) -> str:
        """What a notebook shows; a video that is gone leaves its frames out and says so."""
        from stvg_r1_hub.visual.notebook import answer_html

        drawn, warnings = [], list(self.warnings)
        try:
            with opened(self.video) as source:
                chosen = pictures.keyframe_indices(
                    source.info, self.tube, _SHOWN_FRAMES, part=self.part
                )
                for frame in source.stream(chosen):
                    drawn.append(pictures.tile_of(frame, self.tube, self._class_names()))
        except VideoError as error:
            warnings.append(f"The key frames are left out: {error}")
        return answer_html(
            self.query,
            self._in_words(),
            pictures=drawn,
            tracks=self.tracks,
            tube=self.tube,
            warnings=warnings,
        )

    def _class_names(self) -> dict[int, str]:
        tracks = self.tracks.tracks if self.tracks else ()
        return {track.object_id: track.class_name for track in tracks}


def _box_values(box: Box) -> dict[str, Any]:
    return {
        "frame_index": box.frame_index,
        "time_seconds": round(box.time_seconds, 6),
        "object_id": box.object_id,
        "xyxy": [round(v, 2) for v in box.xyxy],
        "interpolated": box.interpolated,
    }


def _range_values(given: Range) -> dict[str, float]:
    start, end = given
    return {"start_seconds": start, "end_seconds": end}


def _video_values(info: VideoInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "width": info.width,
        "height": info.height,
        "fps": round(info.fps, 4),
        "duration_seconds": round(info.duration_seconds, 6),
    }


def save_tracks_video(
    path: str | Path, source: VideoSource, tracks: Tracks, *, progress: Progress | None = None
) -> None:
    """Write the video with every track drawn, like `GroundingResult.save_video`."""
    path = check_output(path, VIDEO_SUFFIXES)
    drawn = overlay.draw_tracks(source.stream(), source.info, tracks)
    _write(path, source, drawn, progress)


def write_json(values: Any, path: str | Path | None = None) -> str:
    """Values as JSON text without NaN, also written whole or not at all to a path.

    Raises:
        OutputError: the file cannot be written.
    """
    return write_text(
        json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path
    )


def write_text(text: str, path: str | Path | None = None) -> str:
    """The text, also written whole or not at all to a path.

    Raises:
        OutputError: the file cannot be written.
    """
    if path is not None:
        with replacing(check_output(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return text


def write_png(picture: Pixels, path: str | Path) -> None:
    """Write `(H, W, 3)` uint8 RGB as a PNG, whole or not at all."""
    import imageio.v3 as imageio

    with replacing(path) as temporary:
        imageio.imwrite(temporary, picture, extension=".png")


def _write(
    path: Path,
    source: VideoSource,
    drawn: Iterator[Pixels],
    progress: Progress | None,
    frames: range | None = None,
) -> None:
    """Write drawn frames, all or some in a row, at their own times."""
    info = source.info
    frames = range(info.n_frames) if frames is None else frames
    times = np.append(info.frame_times, info.duration_seconds)
    first = float(times[frames.start])
    write_video(
        path,
        drawn,
        (times[frames.start : frames.stop] - first).tolist(),
        duration_seconds=float(times[frames.stop]) - first,
        audio_from=source,
        audio_start_seconds=first,
        progress=progress,
    )
