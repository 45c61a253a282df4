"""What the pipeline answers, with everything to save and to show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stvg_r1_hub import video
from stvg_r1_hub.geometry import union_of_masks
from stvg_r1_hub.outputs import PICTURE_SUFFIXES, VIDEO_SUFFIXES, check_output, replacing
from stvg_r1_hub.structures import (
    RLE,
    Answer,
    Box,
    Pixels,
    Progress,
    Tracks,
    Tube,
    VideoInfo,
)
from stvg_r1_hub.video import VideoSource
from stvg_r1_hub.visual import overlay, pictures


@dataclass(frozen=True, eq=False)
class GroundingResult:
    """Where and when in the video is what the query describes."""

    query: str
    found: bool
    """False when the answer cannot be used; `warnings` then holds the reason."""
    object_ids: tuple[int, ...]
    """IDs of the answered objects; empty when not found."""
    start_seconds: float | None
    """First moment of the answered range, in seconds from the video's start."""
    end_seconds: float | None
    """End of the half-open range."""
    boxes: tuple[Box, ...]
    """One a native frame of the range and object, in pixels of the original frame."""
    masks: tuple[RLE | None, ...] | None
    """One a box, when asked for."""
    reasoning: str
    """What the model thought before it answered."""
    raw_text: str
    """The model's whole output; empty when it was not asked."""
    timings: dict[str, float]
    """Seconds spent in each stage; `total` is their sum."""
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = field(default=(), repr=False)
    """What was measured of every object, one line each; see `notes.take_notes`."""
    model: str = ""
    """Name of the model that was asked, as it was given."""
    info: VideoInfo | None = field(default=None, repr=False)
    """What is known of the video."""
    answer: Answer | None = field(default=None, repr=False)
    """What was read from the text, before it was held against the tracks."""
    tracks: Tracks | None = field(default=None, repr=False)
    video: Any = field(default=None, repr=False)
    """What the pipeline was given, read again for `save_video` and `keyframes`."""

    def __repr__(self) -> str:
        if not self.found:
            return f"GroundingResult({self.query!r}, not found: {' '.join(self.warnings)})"
        ids = ", ".join(map(str, self.object_ids))
        return (
            f"GroundingResult({self.query!r}, object {ids}, "
            f"{self.start_seconds:.2f} to {self.end_seconds:.2f} s, {len(self.boxes)} boxes)"
        )

    @property
    def tube(self) -> Tube | None:
        """The answer as a tube, or None when not found."""
        if not self.found or self.start_seconds is None or self.end_seconds is None:
            return None
        return Tube(self.object_ids, self.start_seconds, self.end_seconds, self.boxes, self.masks)

    @property
    def union_masks(self) -> dict[int, RLE] | None:
        """One mask a native frame that covers all answered objects, or None without masks."""
        if self.masks is None:
            return None
        by_frame: dict[int, list[RLE]] = {}
        for box, mask in zip(self.boxes, self.masks, strict=True):
            if mask is not None:
                by_frame.setdefault(box.frame_index, []).append(mask)
        return {frame: union_of_masks(masks) for frame, masks in by_frame.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that tell a reader who has nothing else what was found in what.

        `video` is None in a result that was put together without `info`, `tracker` is empty where
        nothing was tracked.
        """
        values: dict[str, Any] = {
            "query": self.query,
            "video": None if self.info is None else _video_values(self.info),
            "model": self.model,
            "tracker": self.tracks.tracker if self.tracks else "",
            "found": self.found,
            "object_ids": list(self.object_ids),
            "objects": self._objects(),
            "start_seconds": self.start_seconds,
            "end_seconds": self.end_seconds,
            "boxes": [_box_values(box) for box in self.boxes],
            "reasoning": self.reasoning,
            "raw_text": self.raw_text,
            "notes": list(self.notes),
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

    def save_video(self, path: str | Path, *, progress: Progress | None = None) -> None:
        """Write the video with the answer drawn: real timing, sound kept, `.mp4` or `.gif`.

        Raises:
            OutputError: the file cannot be written.
            VideoError: the video that was grounded is gone.
        """
        path = check_output(path, VIDEO_SUFFIXES)
        with _reopened(self.video) as source:
            pictures_drawn = overlay.draw_answer(
                source.stream(),
                source.info,
                self.tube,
                query=self.query,
                class_names=self._class_names(),
            )
            _write(path, source, pictures_drawn, progress)

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
        with _reopened(self.video) as source:
            frames = list(source.stream(pictures.keyframe_indices(source.info, self.tube)))
        strip = pictures.keyframe_strip(
            frames, self.tube, query=self.query, class_names=self._class_names()
        )
        if path is not None:
            write_png(strip, path)
        return strip

    def plot(self, path: str | Path) -> None:
        """Write a `.png` timeline: one bar an object, the answered range shaded.

        Raises:
            OutputError: the file cannot be written.
        """
        path = check_output(path, PICTURE_SUFFIXES)
        assert self.tracks is not None
        pictures.timeline_plot(path, self.tracks, self.tube, title=self.query)

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
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
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
    path: Path, source: VideoSource, drawn: Iterator[Pixels], progress: Progress | None
) -> None:
    info = source.info
    video.write_video(
        path,
        drawn,
        info.frame_times.tolist(),
        duration_seconds=info.duration_seconds,
        audio_from=source,
        progress=progress,
    )


@contextmanager
def _reopened(given: Any) -> Iterator[VideoSource]:
    """The video once more: a source of the caller's as it is, anything else opened anew."""
    if isinstance(given, VideoSource):
        yield given
        return
    with video.open_video(given) as source:
        yield source
