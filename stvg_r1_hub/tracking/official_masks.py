"""Tracks in the folders of the official STVG-R1 scripts.

One `mask_<i>.json` a native frame, `{"height", "width", "objects": {"<id>": {"rle": {"size":
[h, w], "counts"}, "class_name", "box"}}}`; `objects` may be null. Boxes are taken from the masks,
since the official `box` is usually null.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import box_of_mask
from stvg_r1_hub.structures import RLE, Track, Tracks, VideoInfo
from stvg_r1_hub.tracking.file_checks import need, read_json, read_mask

_MASK_FILE = re.compile(r"mask_(\d+)\.json")


def is_official_folder(folder: Path) -> bool:
    """Whether a folder, or its `mask_data`, holds official mask files."""
    return bool(_mask_files(folder))


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


def read_official(folder: Path, info: VideoInfo) -> Tracks:
    """The tracks of a folder, checked against the video.

    Raises:
        TrackerError: a file contradicts itself or the video; the message names it.
    """
    seen: dict[int, list[tuple[int, RLE, NDArray[np.float32]]]] = {}
    names: dict[int, str] = {}
    for frame, path in _mask_files(folder).items():
        values = read_json(path)
        where = str(path)
        need(
            frame < info.n_frames,
            where,
            f"it is for frame {frame} but the video has frames 0..{info.n_frames - 1}",
        )
        objects = values.get("objects") or {}
        need(isinstance(objects, dict), where, "objects must map ids to masks")
        for key, entry in objects.items():
            is_id = key.isascii() and key.isdigit() and len(key) < 8 and int(key) > 0
            need(is_id, where, f"id {key!r} is no positive integer")
            if not isinstance(entry, dict) or entry.get("rle") is None:
                continue
            # The mask's own size is checked, because a frame without objects may have none.
            mask = read_mask(entry["rle"], f"{where}, id {key}", info.width, info.height)
            box = box_of_mask(mask)
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
