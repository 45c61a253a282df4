"""Small objects of a stretch in, a view of them side by side, each enlarged, out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from stvg_r1_hub.config import MarkerStyle
from stvg_r1_hub.geometry import box_area
from stvg_r1_hub.looking.views import Stretch, View
from stvg_r1_hub.marking import mark_frames
from stvg_r1_hub.structures import Track, Tracks
from stvg_r1_hub.track_selection import fit_to_sample
from stvg_r1_hub.video.source import resize

MOST = 4
"""Objects side by side, in two rows and columns."""
_SMALL = 0.15
_ENLARGED = 0.3
"""Side of an object as a share of the picture's: below the first it is small, and close-ups show it
as large as the second."""
_ROOM = 0.5
"""Least room around all places of an object, as a share of its side."""
_GREY = 110


def are_small(tracks: Tracks, object_ids: Iterable[int]) -> bool:
    """Whether most of some objects, at least one, are small in the picture."""
    wanted = set(object_ids)
    return bool(
        np.median([_side(t, tracks) for t in tracks.tracks if t.object_id in wanted]) < _SMALL
    )


def side_by_side(
    stretch: Stretch, tracks: Tracks, object_ids: Sequence[int], style: MarkerStyle
) -> View:
    """The stretch as close-ups of some objects, numbered from 1, each in a place of its own.

    A close-up stands still and shows all places of its object, so one that goes far is shown
    smaller.

    Args:
        stretch: of `read_stretch`.
        tracks: all objects of the video.
        object_ids: those that are shown, at most `MOST`.
        style: how numbers are drawn.
    """
    chosen = replace(tracks, tracks=tuple(t for t in tracks.tracks if t.object_id in object_ids))
    shown = fit_to_sample(chosen, stretch.frames)
    pixels = np.full_like(stretch.frames.pixels, _GREY)
    height, width = pixels.shape[1:3]
    columns = 1 if len(shown) == 1 else 2
    h, w = height // columns, width // columns
    top = (height - h * math.ceil(len(shown) / columns)) // 2
    placed = []
    for place, track in enumerate(shown.tracks):
        x, y = place % columns * w, top + place // columns * h
        left, above, share = _window(track, shown, columns)
        across, down = max(1, round(share * width)), max(1, round(share * height))
        for frame, picture in zip(stretch.frames.pixels, pixels, strict=True):
            part = frame[above : above + down, left : left + across]
            picture[y : y + h, x : x + w] = resize(np.ascontiguousarray(part), h, w)
        scale = np.array([w / across, h / down] * 2, dtype=np.float32)
        moved = (track.boxes - np.array([left, above] * 2, dtype=np.float32)) * scale
        moved += np.array([x, y] * 2, dtype=np.float32)
        placed.append(replace(track, boxes=moved, masks=None))
    numbers = {track.object_id: number for number, track in enumerate(placed, start=1)}
    frames = replace(stretch.frames, pixels=pixels)
    marked = mark_frames(
        frames, replace(shown, tracks=tuple(placed)), style, numbers=numbers, in_place=True
    )
    return View(stretch, marked)


def _side(track: Track, tracks: Tracks) -> float:
    """Usual side of an object, as a share of the picture's."""
    side = float(np.median(np.sqrt(box_area(track.boxes))))
    return side / math.sqrt(tracks.width * tracks.height)


def _window(track: Track, tracks: Tracks, columns: int) -> tuple[int, int, float]:
    """Left and top pixel of what a close-up shows of the picture, and its share of its sides."""
    size = np.array([tracks.width, tracks.height])
    low, high = track.boxes[:, :2].min(axis=0) / size, track.boxes[:, 2:].max(axis=0) / size
    side = _side(track, tracks)
    share = max(side / (_ENLARGED * columns), float((high - low).max()) + _ROOM * side)
    share = min(share, 1.0)
    left, top = np.round(np.clip((low + high - share) / 2, 0, 1 - share) * size).astype(int)
    return int(left), int(top), share
