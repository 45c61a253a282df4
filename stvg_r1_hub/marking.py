"""Sampled frames and tracks in, frames with a red number on every object out.

The digits are the strokes of the public-domain Hershey simplex font, drawn with
`cv2.polylines`, because `cv2.putText` draws other glyphs in every major OpenCV version while
a checkpoint only knows the ones it was trained on. The result equals `putText` of OpenCV 4
(`FONT_HERSHEY_SIMPLEX`, `LINE_AA`) to the pixel.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stvg_r1_hub.config import MarkerStyle
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.geometry import mask_runs
from stvg_r1_hub.structures import RLE, Frames, MarkedFrames, Pixels, Track, Tracks

_SHIFT = 16
"""Stroke points are given to OpenCV in 1/65536 pixel."""
_BASELINE = 9
"""y of the baseline in glyph units, downwards."""
_REFERENCE_SIZE = 336
"""Longer side in pixels at which `MarkerStyle.font_scale` holds as it is."""


def marker_center(mask: NDArray[Any] | RLE) -> tuple[int, int] | None:
    """Where the official pipeline anchors an object's number, or None for an empty mask.

    y is the middle of the mask's vertical extent, rounded down; x is the mean column of the
    mask in that row, cut to an integer, or the middle of the horizontal extent when that row
    is empty. For a U shape the point lies off the object, as in the official code
    (`get_mask_center` of mask2marker.py).

    Args:
        mask: `(H, W)` array, or a run-length mask, which is not decoded.

    Returns:
        `(x, y)` in pixels.
    """
    if isinstance(mask, Mapping):
        return _center_of_runs(mask_runs(mask), mask["size"][0])
    foreground = np.asarray(mask, dtype=bool)
    rows = np.flatnonzero(foreground.any(axis=1))
    if not len(rows):
        return None
    y = int(rows[0] + rows[-1]) // 2
    columns = np.flatnonzero(foreground[y])
    if len(columns):
        return int(columns.mean()), y
    columns = np.flatnonzero(foreground.any(axis=0))
    return int(columns[0] + columns[-1]) // 2, y


def _center_of_runs(runs: NDArray[np.int64], height: int) -> tuple[int, int] | None:
    """`marker_center` on column-major runs: a run is a piece of one or several columns."""
    edges = np.cumsum(runs)
    starts, stops = edges[:-1:2], edges[1::2]
    starts = starts[: len(stops)]
    filled = stops > starts
    starts, stops = starts[filled], stops[filled]
    if not len(starts):
        return None
    first_columns, last_columns = starts // height, (stops - 1) // height
    # A run that goes on into the next column touches both the bottom and the top row.
    wraps = bool(np.any(last_columns > first_columns))
    top = 0 if wraps else int((starts % height).min())
    bottom = height - 1 if wraps else int(((stops - 1) % height).max())
    y = (top + bottom) // 2
    # Columns first..last-1 of each run hold a pixel of row y.
    first = -((y - starts) // height)
    last = -((y - stops) // height)
    count = int((last - first).sum())
    if count:
        total = int(((first + last - 1) * (last - first) // 2).sum())
        return int(total / count), y
    return int(first_columns.min() + last_columns.max()) // 2, y


def box_center(xyxy: ArrayLike) -> tuple[int, int]:
    """`marker_center` of a filled box, for objects without a mask.

    Args:
        xyxy: `(4,)` pixels, right and bottom exclusive; rounded to whole pixels.

    Returns:
        `(x, y)` in pixels.
    """
    left, top, right, bottom = (round(float(v)) for v in np.asarray(xyxy, dtype=np.float64))
    return (left + max(left + 1, right) - 1) // 2, (top + max(top + 1, bottom) - 1) // 2


def marker_font(width: int, height: int, style: MarkerStyle) -> tuple[float, int]:
    """Font scale and line thickness in pixels for a frame of this size."""
    scale = style.font_scale * (max(width, height) / _REFERENCE_SIZE)
    return scale, max(2, int(style.thickness_factor * scale))


def kept_by_size(
    areas: Mapping[int, float], ratio: float, kinds: Mapping[int, str] | None = None
) -> list[int]:
    """IDs large enough to be marked in one frame, in the order of `areas`.

    An object is dropped when its area is below `ratio` times the largest area of the frame;
    when all areas are 0 nothing is dropped (`filter_masks_by_size` of mask2marker.py).

    Args:
        areas: pixels of each object in this frame.
        ratio: share of the largest object, 0..1.
        kinds: what each object is compared with, those of its kind (`size_kind`); None compares
            all, as the official code does.
    """
    largest: dict[str, float] = {}
    kinds = kinds or dict.fromkeys(areas, "")
    for object_id, area in areas.items():
        largest[kinds[object_id]] = max(area, largest.get(kinds[object_id], 0))
    return [i for i, area in areas.items() if area >= ratio * largest[kinds[i]]]


def size_kind(track: Track, position: int) -> str:
    """What an object's size is compared with: all masks, or only boxes of its own class.

    The official filter compares the pixels of masks, and with its usual setting of persons alone.
    A box says less: beside that of a sofa a person's is small, however large the person is, and
    would lose its number. So boxes of different classes are not compared.

    Args:
        track: of the object.
        position: index into its arrays.
    """
    has_mask = track.masks is not None and track.masks[position] is not None
    return "masks" if has_mask else f"boxes of {track.class_name}"


def draw_number(
    frame: Pixels,
    text: str,
    origin_xy: tuple[int, int],
    font_scale: float,
    thickness: int,
    color_rgb: tuple[int, int, int],
) -> bool:
    """Draw digits into `frame` in place, their bottom left corner at `origin_xy`.

    Args:
        frame: `(H, W, 3)` uint8 RGB, C-contiguous; changed.
        text: decimal digits.
        origin_xy: `(x, y)` in pixels; may lie outside of the frame.
        font_scale: size, 1.0 is a digit 21 pixels high.
        thickness: line width in pixels.
        color_rgb: three values in 0..255.

    Returns:
        Whether any part of the number lies within the frame.

    Raises:
        ValueError: `text` is not made of the digits 0 to 9.
    """
    import cv2

    strokes = _strokes(text, round(font_scale * (1 << _SHIFT)))
    offset = np.array([origin_xy[0] << _SHIFT, origin_xy[1] << _SHIFT], dtype=np.int64)
    moved = [(stroke + offset).astype(np.int32) for stroke in strokes]
    cv2.polylines(frame, moved, False, color_rgb, thickness, cv2.LINE_AA, _SHIFT)
    return _touches(frame.shape[0], frame.shape[1], moved, thickness)


@functools.lru_cache(maxsize=512)
def _strokes(text: str, scale: int) -> tuple[NDArray[np.int64], ...]:
    """Stroke points of a number at origin (0, 0), each `(P, 2)` in 1/65536 pixel."""
    if not text or any(digit not in _glyphs() for digit in text):
        raise ValueError(f"a marker must be made of the digits 0 to 9, got {text!r}")
    strokes = []
    x0 = 0
    for digit in text:
        glyph = _glyphs()[digit]
        for line in glyph["polylines"]:
            points = np.array(line, dtype=np.int64) - [glyph["left"], _BASELINE]
            strokes.append(points * scale + [x0, 0])
        x0 += (glyph["right"] - glyph["left"]) * scale
    return tuple(strokes)


@functools.cache
def _glyphs() -> dict[str, Any]:
    path = resources.files("stvg_r1_hub") / "hershey_digits.json"
    glyphs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["glyphs"]
    return glyphs


def _touches(height: int, width: int, strokes: list[NDArray[np.int32]], thickness: int) -> bool:
    """Whether strokes of this thickness reach a frame of this size."""
    points = np.concatenate(strokes) / (1 << _SHIFT)
    last = np.array([width - 1, height - 1])
    if np.any(np.all((points >= 0) & (points <= last), axis=1)):
        return True
    if np.any(points.max(axis=0) < -thickness) or np.any(points.min(axis=0) > last + thickness):
        return False
    # Only a line between two outside points, or its width, may still reach in: draw and look.
    import cv2

    canvas = np.zeros((height, width), dtype=np.uint8)
    cv2.polylines(canvas, strokes, False, 255, thickness, cv2.LINE_AA, _SHIFT)
    return bool(canvas.any())


def draw_markers(
    frame: Pixels, centers: Mapping[int, tuple[int, int]], style: MarkerStyle
) -> Pixels:
    """A copy of `frame` with each object's number drawn at its centre, in the given order.

    Args:
        frame: `(H, W, 3)` uint8 RGB.
        centers: object ID to `(x, y)`; the number's bottom left corner goes there.
        style: size and colour.
    """
    marked = np.ascontiguousarray(frame).copy()
    _draw_into(marked, centers, style)
    return marked


def _draw_into(
    frame: Pixels,
    centers: Mapping[int, tuple[int, int]],
    style: MarkerStyle,
    numbers: Mapping[int, int] | None = None,
) -> frozenset[int]:
    """Draw the numbers in place; the IDs of which something can be seen."""
    font_scale, thickness = marker_font(frame.shape[1], frame.shape[0], style)
    numbers = numbers or {}
    return frozenset(
        i
        for i, center in centers.items()
        if draw_number(
            frame, str(numbers.get(i, i)), center, font_scale, thickness, style.color_rgb
        )
    )


def mark_frames(
    frames: Frames,
    tracks: Tracks,
    style: MarkerStyle,
    *,
    numbers: Mapping[int, int] | None = None,
    in_place: bool = False,
) -> MarkedFrames:
    """Draw the numbers of all tracked objects on copies of the sampled frames.

    In each frame the objects that are too small beside the largest of their kind are left out
    (`kept_by_size`, `size_kind`), so a number may come and go. The anchor is the centre of the
    object's mask, or of its box when it has no mask.

    Args:
        frames: the sample.
        tracks: the objects to mark.
        style: how numbers are drawn.
        numbers: ID to the number drawn in its place; None draws the IDs.
        in_place: draw on the sample itself: a second one can be hundreds of megabytes, and asking
            for them takes longer than drawing.

    Raises:
        TrackerError: the tracks were made for frames of another size.
    """
    height, width = frames.pixels.shape[1:3]
    if (tracks.width, tracks.height) != (width, height):
        raise TrackerError(
            f"Got tracks of a {tracks.width}x{tracks.height} video for frames of "
            f"{width}x{height}; make the tracks from this video at its original size."
        )
    pixels = frames.pixels if in_place else frames.pixels.copy()
    drawn = []
    for sample, frame_index in zip(pixels, frames.frame_indices.tolist(), strict=True):
        areas: dict[int, float] = {}
        kinds: dict[int, str] = {}
        centers: dict[int, tuple[int, int]] = {}
        for track in tracks.tracks:
            i = track.position(frame_index)
            place = None if i is None else _area_and_center(track, i, width, height)
            if i is not None and place is not None:
                kinds[track.object_id] = size_kind(track, i)
                areas[track.object_id], center = place
                if center is not None:
                    centers[track.object_id] = center
        kept = kept_by_size(areas, style.min_area_ratio, kinds)
        placed = {i: centers[i] for i in kept if i in centers}
        drawn.append(_draw_into(sample, placed, style, numbers))
    marked = Frames(
        pixels,
        frames.frame_indices,
        frames.times_seconds,
        frames.sample_fps,
        frames.model_height,
        frames.model_width,
    )
    return MarkedFrames(marked, tuple(drawn), numbers=numbers or {})


def _area_and_center(
    track: Track, i: int, width: int, height: int
) -> tuple[float, tuple[int, int] | None] | None:
    """Pixels and anchor of an object's i-th place; None when that is outside the frame."""
    mask = track.masks[i] if track.masks is not None else None
    if mask is not None:
        if list(mask["size"]) != [height, width]:
            raise TrackerError(
                f"Got a mask of size {mask['size']} (height, width) for object "
                f"{track.object_id} in a video of [{height}, {width}]; masks must have the "
                "video's original size."
            )
        runs = mask_runs(mask)
        return float(runs[1::2].sum()), _center_of_runs(runs, height)
    left, top, right, bottom = track.boxes[i].astype(np.float64).tolist()
    if not all(map(math.isfinite, (left, top, right, bottom))):
        return None
    left, right = max(0, round(left)), min(width, round(right))
    top, bottom = max(0, round(top)), min(height, round(bottom))
    if right <= left or bottom <= top:
        return None
    return float((right - left) * (bottom - top)), box_center((left, top, right, bottom))
