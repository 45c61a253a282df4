"""Tracks from files: our compact JSON, and the folders of the official STVG-R1 scripts.

Compact file: `{"fps", "width", "height", "tracks": [{"id", "class", "score", "frames": [0-based],
"boxes": [xyxy]}]}`, optionally `frame_times` (seconds of every native frame) beside `tracks`, and
`interpolated` and `masks` (COCO RLE or null) in a track.

Official folder: one `mask_<i>.json` a native frame, `{"height", "width", "objects": {"<id>":
{"rle": {"size": [h, w], "counts"}, "class_name", "box"}}}`; `objects` may be null. Boxes are taken
from the masks, since the official `box` is usually null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.geometry import decode_mask, encode_mask
from stvg_r1_hub.outputs import replacing
from stvg_r1_hub.structures import RLE, Progress, TimedFrame, Track, Tracks, VideoInfo

_MASK_FILE = re.compile(r"mask_(\d+)\.json")


def is_official_folder(folder: Path) -> bool:
    """Whether a folder, or its `mask_data`, holds official mask files."""
    return bool(_mask_files(folder))


class PrecomputedTracks:
    """A tracker that reads its answer from a compact file or an official folder."""

    def __init__(self, path: str | Path) -> None:
        """Remember the path; it is read by `track`, when the video is known.

        Raises:
            TrackerError: nothing of either form is there.
        """
        self.name = "precomputed"
        self._path = Path(path)
        if not (self._path.is_file() or is_official_folder(self._path)):
            raise TrackerError(
                f"No precomputed tracks in {self._path}; give a JSON file, or a folder with "
                "mask_0.json, mask_1.json, ..."
            )

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """None: no pixel is needed."""
        return ()

    def track(
        self,
        stream: Iterable[TimedFrame],
        info: VideoInfo,
        *,
        query: str | Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> Tracks:
        """The stored tracks, checked against the video.

        Raises:
            TrackerError: a record contradicts itself or the video; the message names it.
        """
        if self._path.is_dir():
            return _read_official(self._path, info)
        return _read_compact(self._path, info)


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


def save_official(tracks: Tracks, folder: str | Path) -> None:
    """Write one official `mask_<i>.json` for every native frame.

    An object without a mask is written as its filled box, rounded to whole pixels.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for frame in range(len(tracks.frame_times)):
        objects = {}
        for track in tracks.tracks:
            position = track.position(frame)
            if position is None:
                continue
            mask = None if track.masks is None else track.masks[position]
            objects[str(track.object_id)] = {
                "rle": mask or _filled_box(track.boxes[position], tracks.width, tracks.height),
                "class_name": track.class_name,
                "box": None,
            }
        values = {"height": tracks.height, "width": tracks.width, "objects": objects}
        (folder / f"mask_{frame}.json").write_text(json.dumps(values), encoding="utf-8")


def _filled_box(box: NDArray[np.float32], width: int, height: int) -> RLE:
    left, top, right, bottom = np.round(box).astype(int).tolist()
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    mask = np.zeros((height, width), dtype=bool)
    mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return encode_mask(mask)


def _need(condition: bool, where: str, message: str) -> None:
    if not condition:
        raise TrackerError(f"{where}: {message}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrackerError(f"Cannot read tracks from {path}: {error}") from error
    _need(isinstance(values, dict), str(path), "it must hold a JSON object with tracks")
    return cast(dict[str, Any], values)


def _is_int(value: Any) -> bool:
    """A whole number that can count frames, pixels or objects."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**7


def _read_compact(path: Path, info: VideoInfo | None) -> Tracks:
    values = _read_json(path)
    width, height, records = (values.get(key) for key in ("width", "height", "tracks"))
    where = str(path)
    is_size = all(_is_int(side) and cast(int, side) > 0 for side in (width, height))
    _need(is_size, where, f"width and height are {width}x{height}; they must be positive pixels")
    _need(isinstance(records, list), where, "it has no list of tracks")
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
    _need(not repeated, where, f"the ids {repeated} occur twice; every track needs its own")
    return Tracks(width, height, times, tuple(tracks))


def _check_size(where: str, width: int, height: int, info: VideoInfo) -> None:
    _need(
        (width, height) == (info.width, info.height),
        where,
        f"the tracks are for {width}x{height} pixels but the video has "
        f"{info.width}x{info.height}; use the tracks of this video",
    )


def _check_times(where: str, times: NDArray[np.float64], info: VideoInfo) -> None:
    same = len(times) == info.n_frames and bool(np.all(np.abs(times - info.frame_times) < 0.01))
    _need(
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
        _need(ascending, where, "frame_times must be ascending seconds")
        return array
    is_rate = isinstance(fps, int | float) and not isinstance(fps, bool) and 0 < fps < 1e6
    _need(is_rate, where, f"fps is {fps!r}; it must be a positive number")
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
    _need(bool(np.isfinite(array).all()), where, f"{name} must be finite")
    return array


def _read_record(record: Any, where: str, width: int, height: int, n_frames: int) -> Track:
    _need(isinstance(record, dict), where, "it must be an object with id, frames and boxes")
    object_id, frames = record.get("id"), record.get("frames")
    _need(_is_int(object_id) and object_id > 0, where, f"id {object_id!r} is no positive integer")
    where = f"{where} (id {object_id})"
    listed = isinstance(frames, list) and len(frames) > 0 and all(_is_int(f) for f in frames)
    _need(listed, where, "frames must be a list of whole numbers with at least one entry")
    indices = np.array(frames, dtype=np.int64)
    _need(bool(np.all(np.diff(indices) > 0)), where, "frames must ascend")
    inside = 0 <= indices[0] and indices[-1] < n_frames
    _need(
        bool(inside),
        where,
        f"it has frames {indices[0]}..{indices[-1]} but the video has frames 0..{n_frames - 1}",
    )
    boxes = _floats(record.get("boxes"), where, "boxes")
    _need(
        boxes.shape == (len(indices), 4),
        where,
        f"boxes must be {len(indices)} lists of 4 numbers, got shape {boxes.shape}",
    )
    _need(bool((boxes[:, 2:] > boxes[:, :2]).all()), where, "boxes must be xyxy with x1<x2, y1<y2")
    score = record.get("score", 1.0)
    is_share = isinstance(score, int | float) and 0 <= score <= 1
    _need(is_share, where, f"score {score!r} is not in 0..1")
    flags = record.get("interpolated", [False] * len(indices))
    of_flags = isinstance(flags, list) and all(isinstance(f, bool) for f in flags)
    _need(of_flags and len(flags) == len(indices), where, "interpolated needs a bool per frame")
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
    _need(isinstance(masks, list) and len(masks) == n, where, f"masks must be {n} RLE or null")
    for mask in masks:
        if mask is not None:
            _decode(mask, where, width, height)
    return tuple(masks)


def _decode(rle: Any, where: str, width: int, height: int) -> NDArray[np.bool_]:
    formed = isinstance(rle, dict) and isinstance(rle.get("counts"), str)
    _need(formed, where, "a mask must be an RLE with size and counts")
    size = rle.get("size")
    _need(size == [height, width], where, f"a mask has size {size}, not [{height}, {width}]")
    try:
        return decode_mask(cast(RLE, rle))
    except (ValueError, IndexError, UnicodeEncodeError) as error:
        raise TrackerError(f"{where}: a mask cannot be decoded: {error}") from error


def _mask_files(folder: Path) -> dict[int, Path]:
    """Frame number -> official mask file, of the folder or its `mask_data`, ascending."""
    if not folder.is_dir():
        return {}
    found = {
        int(match[1]): path
        for path in folder.iterdir()
        if (match := _MASK_FILE.fullmatch(path.name))
    }
    if not found and (folder / "mask_data").is_dir():
        return _mask_files(folder / "mask_data")
    return dict(sorted(found.items()))


def _read_official(folder: Path, info: VideoInfo) -> Tracks:
    seen: dict[int, list[tuple[int, RLE, NDArray[np.float32]]]] = {}
    names: dict[int, str] = {}
    for frame, path in _mask_files(folder).items():
        values = _read_json(path)
        where = str(path)
        _need(
            frame < info.n_frames,
            where,
            f"it is for frame {frame} but the video has frames 0..{info.n_frames - 1}",
        )
        objects = values.get("objects") or {}
        _need(isinstance(objects, dict), where, "objects must map ids to masks")
        for key, entry in objects.items():
            is_id = key.isascii() and key.isdigit() and len(key) < 8 and int(key) > 0
            _need(is_id, where, f"id {key!r} is no positive integer")
            if not isinstance(entry, dict) or entry.get("rle") is None:
                continue
            # The mask's own size is checked, because a frame without objects may have none.
            mask = _decode(entry["rle"], f"{where}, id {key}", info.width, info.height)
            box = _mask_box(mask)
            if box is not None:
                seen.setdefault(int(key), []).append((frame, entry["rle"], box))
            if entry.get("class_name"):
                names.setdefault(int(key), str(entry["class_name"]))
    tracks = [
        Track(
            object_id=object_id,
            class_name=names.get(object_id, "object"),
            score=1.0,
            frame_indices=np.array([frame for frame, _, _ in rows], dtype=np.int64),
            boxes=np.array([box for _, _, box in rows], dtype=np.float32),
            interpolated=np.zeros(len(rows), dtype=bool),
            masks=tuple(rle for _, rle, _ in rows),
        )
        for object_id, rows in sorted(seen.items())
    ]
    return Tracks(info.width, info.height, info.frame_times, tuple(tracks))


def _mask_box(mask: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """Smallest box around a mask, `(4,)`, right and bottom exclusive; None when empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float32)
