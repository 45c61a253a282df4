"""Tracks from files: our compact JSON, or a folder of the official scripts (`official_masks`).

Compact file: `{"fps", "width", "height", "tracks": [{"id", "class", "score", "frames": [0-based],
"boxes": [xyxy]}]}`, optionally `frame_times` (seconds of every native frame) and `class_names` (all
that the tracker tells apart) beside `tracks`, and in a track `interpolated` and `masks` (COCO RLE
or null).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.outputs import replacing
from stvg_r1_hub.structures import RLE, TimedFrame, Track, Tracks, VideoInfo
from stvg_r1_hub.tracking.file_checks import need, read_json, read_mask
from stvg_r1_hub.tracking.interfaces import Tracker
from stvg_r1_hub.tracking.official_masks import is_official_folder, read_official


class GivenTracks:
    """A tracker that knows its tracks before it sees the video; it is its own session."""

    class_names: tuple[str, ...] = ()

    def __init__(self, tracks: Tracks, *, name: str = "given tracks") -> None:
        """Keep the tracks."""
        self.name = name
        self._tracks = tracks

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """None: no pixel is needed."""
        return ()

    def start(self, info: VideoInfo, query: str | Sequence[str] | None = None) -> GivenTracks:
        """Nothing of one video has to be kept apart from the next."""
        return self

    def update(self, frame: TimedFrame) -> None:
        """Not called, since no frame is wanted."""

    def finish(self) -> Tracks:
        """The tracks."""
        return self._tracks


class PrecomputedTracks:
    """A tracker that reads its answer from a compact file or an official folder."""

    name = "precomputed"
    class_names: tuple[str, ...] = ()

    def __init__(self, path: str | Path) -> None:
        """Remember the path; it is read by `start`, when the video is known.

        Raises:
            TrackerError: nothing of either form is there.
        """
        self._path = Path(path)
        if not (self._path.is_file() or is_official_folder(self._path)):
            raise TrackerError(
                f"No precomputed tracks in {self._path}; give a JSON file, or a folder with "
                "mask_0.json, mask_1.json, ..."
            )

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """None: no pixel is needed."""
        return ()

    def start(self, info: VideoInfo, query: str | Sequence[str] | None = None) -> GivenTracks:
        """The stored tracks, checked against the video.

        Raises:
            TrackerError: a record contradicts itself or the video; the message names it.
        """
        read = read_official if self._path.is_dir() else _read_compact
        return GivenTracks(read(self._path, info), name=self.name)


class WholeVideoTracks:
    """A tracker that knows the whole video, asked about a part of it."""

    def __init__(self, tracker: Tracker, whole: VideoInfo, first_frame: int) -> None:
        """Wrap a tracker that needs no pixels, such as precomputed tracks."""
        self.name, self.class_names = tracker.name, tracker.class_names
        self._tracker = tracker
        self._whole = whole
        self._first = first_frame

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """No pixel is needed."""
        return ()

    def start(self, info: VideoInfo, query: str | Sequence[str] | None = None) -> GivenTracks:
        """The tracks, cut to the part and counted from its first frame."""
        tracks = self._tracker.start(self._whole, query).finish()
        cut = (_cut(track, self._first, info.n_frames) for track in tracks.tracks)
        kept = tuple(track for track in cut if track is not None)
        return GivenTracks(replace(tracks, frame_times=info.frame_times, tracks=kept))


def _cut(track: Track, first: int, n_frames: int) -> Track | None:
    inside = np.flatnonzero(
        (track.frame_indices >= first) & (track.frame_indices < first + n_frames)
    )
    if not len(inside):
        return None
    cut = track.at(inside)
    return replace(cut, frame_indices=cut.frame_indices - first)


def tracks_to_dict(tracks: Tracks) -> dict[str, Any]:
    """Plain JSON values of the compact file, with frame times, flags and masks."""
    records = []
    for track in tracks.tracks:
        record: dict[str, Any] = {
            "id": track.object_id,
            "class": track.class_name,
            "score": track.score,
            "frames": track.frame_indices.tolist(),
            "boxes": [[round(v, 2) for v in box] for box in track.boxes.tolist()],
            "interpolated": track.interpolated.tolist(),
        }
        if track.masks is not None:
            record["masks"] = list(track.masks)
        records.append(record)
    times = tracks.frame_times
    return {
        "fps": (len(times) - 1) / float(times[-1]) if len(times) > 1 else 1.0,
        "width": tracks.width,
        "height": tracks.height,
        "frame_times": times.tolist(),
        "class_names": list(tracks.class_names),
        "tracks": records,
    }


def save_tracks(tracks: Tracks, path: str | Path) -> None:
    """Write the compact file, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    text = json.dumps(tracks_to_dict(tracks), allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def load_tracks(path: str | Path) -> Tracks:
    """Read a compact file; without `frame_times` they are counted from `fps`.

    Raises:
        TrackerError: the file is not readable or a record contradicts itself.
    """
    return _read_compact(Path(path), None)


def _is_int(value: Any) -> bool:
    """A whole number that can count frames, pixels or objects."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**7


def _read_compact(path: Path, info: VideoInfo | None) -> Tracks:
    values = read_json(path)
    width, height, records = (values.get(key) for key in ("width", "height", "tracks"))
    where = str(path)
    is_size = all(_is_int(side) and cast(int, side) > 0 for side in (width, height))
    need(is_size, where, f"width and height are {width}x{height}; they must be positive pixels")
    need(isinstance(records, list), where, "it has no list of tracks")
    width, height, records = cast(tuple[int, int, list[Any]], (width, height, records))
    if info is not None:
        _check_size(where, width, height, info)
    if info is None:
        times = _frame_times(values, records, where)
    else:
        times = info.frame_times
        if values.get("frame_times") is not None:
            _check_times(where, _frame_times(values, records, where), info)
    tracks = []
    for number, record in enumerate(records):
        tracks.append(_read_record(record, f"{path}, track {number}", width, height, len(times)))
    ids = [track.object_id for track in tracks]
    repeated = sorted({i for i in ids if ids.count(i) > 1})
    need(not repeated, where, f"the ids {repeated} occur twice; every track needs its own")
    names = values.get("class_names", [])
    are_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
    need(are_names, where, "class_names must be a list of names")
    return Tracks(width, height, times, tuple(tracks), class_names=tuple(names))


def _check_size(where: str, width: int, height: int, info: VideoInfo) -> None:
    need(
        (width, height) == (info.width, info.height),
        where,
        f"the tracks are for {width}x{height} pixels but the video has "
        f"{info.width}x{info.height}; use the tracks of this video",
    )


def _check_times(where: str, times: NDArray[np.float64], info: VideoInfo) -> None:
    same = len(times) == info.n_frames and bool(np.all(np.abs(times - info.frame_times) < 0.01))
    need(
        same,
        where,
        f"the tracks are for {len(times)} frames until {times[-1]:.2f} s but the video has "
        f"{info.n_frames} until {info.frame_times[-1]:.2f} s; use the tracks of this video",
    )


def _frame_times(values: dict[str, Any], records: list[Any], where: str) -> NDArray[np.float64]:
    times, fps = values.get("frame_times"), values.get("fps")
    if times is not None:
        array = _floats(times, where, "frame_times")
        ascending = array.ndim == 1 and len(array) > 0 and bool(np.all(np.diff(array) > 0))
        need(ascending, where, "frame_times must be ascending seconds")
        return array
    is_rate = isinstance(fps, int | float) and not isinstance(fps, bool) and 0 < fps < 1e6
    need(is_rate, where, f"fps is {fps!r}; it must be a positive number")
    last = 0
    for record in records:
        frames = record.get("frames") if isinstance(record, dict) else None
        if isinstance(frames, list):
            last = max([last, *(f for f in frames if _is_int(f))])
    return np.arange(last + 1) / float(cast(float, fps))


def _floats(values: Any, where: str, name: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TrackerError(f"{where}: {name} must hold numbers only") from error
    need(bool(np.isfinite(array).all()), where, f"{name} must be finite")
    return array


def _read_record(record: Any, where: str, width: int, height: int, n_frames: int) -> Track:
    need(isinstance(record, dict), where, "it must be an object with id, frames and boxes")
    object_id, frames = record.get("id"), record.get("frames")
    need(_is_int(object_id) and object_id > 0, where, f"id {object_id!r} is no positive integer")
    where = f"{where} (id {object_id})"
    listed = isinstance(frames, list) and len(frames) > 0 and all(_is_int(f) for f in frames)
    need(listed, where, "frames must be a list of whole numbers with at least one entry")
    indices = np.array(frames, dtype=np.int64)
    need(bool(np.all(np.diff(indices) > 0)), where, "frames must ascend")
    inside = 0 <= indices[0] and indices[-1] < n_frames
    need(
        bool(inside),
        where,
        f"it has frames {indices[0]}..{indices[-1]} but the video has frames 0..{n_frames - 1}",
    )
    boxes = _floats(record.get("boxes"), where, "boxes")
    need(
        boxes.shape == (len(indices), 4),
        where,
        f"boxes must be {len(indices)} lists of 4 numbers, got shape {boxes.shape}",
    )
    need(bool((boxes[:, 2:] > boxes[:, :2]).all()), where, "boxes must be xyxy with x1<x2, y1<y2")
    score = record.get("score", 1.0)
    is_share = isinstance(score, int | float) and 0 <= score <= 1
    need(is_share, where, f"score {score!r} is not in 0..1")
    flags = record.get("interpolated", [False] * len(indices))
    of_flags = isinstance(flags, list) and all(isinstance(f, bool) for f in flags)
    need(of_flags and len(flags) == len(indices), where, "interpolated needs a bool per frame")
    return Track(
        object_id=object_id,
        class_name=str(record.get("class") or "object"),
        score=float(score),
        frame_indices=indices,
        boxes=boxes.astype(np.float32),
        interpolated=np.array(flags, dtype=bool),
        masks=_read_masks(record.get("masks"), where, len(indices), width, height),
    )


def _read_masks(
    masks: Any, where: str, n: int, width: int, height: int
) -> tuple[RLE | None, ...] | None:
    if masks is None:
        return None
    need(isinstance(masks, list) and len(masks) == n, where, f"masks must be {n} RLE or null")
    for mask in masks:
        if mask is not None:
            read_mask(mask, where, width, height)
    return tuple(masks)
