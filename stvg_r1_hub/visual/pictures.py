"""Frames, tracks and an answer -> still pictures: a keyframe strip and a timeline plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stvg_r1_hub.geometry import box_area, frames_in_range
from stvg_r1_hub.outputs import replacing
from stvg_r1_hub.structures import (
    Frames,
    Pixels,
    Range,
    TimedFrame,
    Track,
    Tracks,
    Tube,
    VideoInfo,
)
from stvg_r1_hub.visual import drawing
from stvg_r1_hub.visual.overlay import draw_objects

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILE_HEIGHT = 240
MAX_ROWS = 24
OBJECT_SIDE = 72
"""Longest side of an object's picture, in pixels."""


def keyframe_indices(
    info: VideoInfo, tube: Tube | None, count: int = 6, *, part: Range | None = None
) -> list[int]:
    """Native frames spread evenly over the clip, at least two of them in the answered range.

    Args:
        info: the video.
        tube: the answer, or None.
        count: most frames returned; a shorter video gives all its frames.
        part: what of the video is meant; None means all of it.

    Returns:
        Ascending frame indices.
    """
    start, end = part or (0.0, info.duration_seconds)
    frames = frames_in_range(info.frame_times, start, end)
    count = min(count, len(frames))
    middles = start + (np.arange(count) + 0.5) / count * (end - start)
    chosen = np.searchsorted(info.frame_times, middles, side="right") - 1
    picks = sorted({int(i) for i in np.clip(chosen, frames.start, frames.stop - 1)})
    if tube is None:
        return picks
    longest = max(tube.ranges, key=lambda given: given[1] - given[0])
    inside = frames_in_range(info.frame_times, *longest)
    for share in (1 / 3, 2 / 3):
        missing = 2 - sum(i in inside for i in picks)
        wanted = inside.start + int(share * len(inside))
        outside = [i for i in picks if i not in inside]
        if missing > 0 and wanted in inside and wanted not in picks and outside:
            picks.remove(min(outside, key=lambda i: abs(i - wanted)))
            picks.append(wanted)
    return sorted(picks)


def object_pictures(frames: Frames, tracks: Tracks) -> dict[int, Pixels]:
    """A small picture of every object, from the sampled frame in which it is largest.

    Args:
        frames: the sample, before numbers are drawn on it.
        tracks: the objects, in the frames of the sample's video.

    Returns:
        ID to `(h, w, 3)` uint8 RGB; objects that the sample does not show are left out.
    """
    from PIL import Image

    height, width = frames.pixels.shape[1:3]
    scale = width / tracks.width
    pictures = {}
    for track in tracks.tracks:
        boxes = ((i, track.box_at(frame)) for i, frame in enumerate(frames.frame_indices.tolist()))
        places = [(i, box * scale) for i, box in boxes if box is not None]
        if not places:
            continue
        i, box = max(places, key=lambda p: float(box_area(p[1])))
        left, top, right, bottom = np.clip(np.round(box), 0, [width, height] * 2).astype(int)
        if right - left < 2 or bottom - top < 2:
            continue
        picture = Image.fromarray(frames.pixels[i, top:bottom, left:right])
        picture.thumbnail((OBJECT_SIDE, OBJECT_SIDE))
        pictures[track.object_id] = np.array(picture)
    return pictures


def keyframe_strip(
    frames: Sequence[TimedFrame],
    tube: Tube | None,
    *,
    query: str,
    class_names: dict[int, str],
) -> Pixels:
    """One row of frames with the answer drawn; those inside the answered range are framed.

    Args:
        frames: frames in order, all of one size.
        tube: the answer, or None when nothing was found.
        query: written above the row.
        class_names: ID -> name.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    tiles = [tile_of(frame, tube, class_names) for frame in frames]
    gap, size = 10, 20
    row_width = sum(tile.shape[1] for tile in tiles) + gap * (len(tiles) + 1)
    header = drawing.line_height(size) * 2 + 14
    width = max(row_width, 560)
    canvas = np.full((header + tiles[0].shape[0] + gap, width, 3), 24, dtype=np.uint8)
    title = drawing.fit_text(f"“{query}”", size, width - 2 * gap)
    drawing.draw_text(canvas, title, gap, 6, size, drawing.WHITE)
    summary, color = answer_line(tube)
    second = 6 + drawing.line_height(size)
    drawing.draw_text(canvas, summary, gap, second, size - 3, color)
    left = gap
    for tile in tiles:
        canvas[header : header + tile.shape[0], left : left + tile.shape[1]] = tile
        left += tile.shape[1] + gap
    return canvas


def answer_line(tube: Tube | None) -> tuple[str, drawing.Color]:
    """The answer in a few words, and the colour to write it in."""
    if tube is None:
        return "not found", (170, 175, 185)
    times = ", ".join(f"{start:.2f} s to {end:.2f} s" for start, end in tube.ranges)
    if not tube.object_ids:
        return times, drawing.WHITE
    ids = ", ".join(str(i) for i in tube.object_ids)
    noun = "object" if len(tube.object_ids) == 1 else "objects"
    return f"{noun} {ids}   {times}", drawing.object_color(tube.object_ids[0])


def tile_of(frame: TimedFrame, tube: Tube | None, class_names: dict[int, str]) -> Pixels:
    """A frame with the answer drawn and its time below, framed inside the answered range."""
    import cv2

    height, width = frame.pixels.shape[:2]
    scale = min(TILE_HEIGHT / height, 2 * TILE_HEIGHT / width)
    tile_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(frame.pixels, tile_size, interpolation=interpolation)
    picture: Pixels = np.asarray(resized, dtype=np.uint8)
    ranges = tube.ranges if tube is not None else ()
    inside = any(start <= frame.time_seconds < end for start, end in ranges)
    color: drawing.Color = (60, 64, 72)
    if tube is not None and inside:
        color = answer_line(tube)[1]
        boxes = [box.scaled(scale) for box in tube.boxes if box.frame_index == frame.frame_index]
        draw_objects(picture, boxes, class_names)
    elif tube is not None:
        picture = (picture * np.float32(0.6)).astype(np.uint8)
    border, size = 4, 16
    caption = drawing.line_height(size) + 4
    tile = np.full(
        (tile_size[1] + 2 * border + caption, tile_size[0] + 2 * border, 3), 24, np.uint8
    )
    tile[: tile_size[1] + 2 * border] = color
    tile[border : border + tile_size[1], border : border + tile_size[0]] = picture
    ink = drawing.WHITE if inside else (150, 155, 165)
    text = f"{frame.time_seconds:.2f} s"
    left = max(0, (tile.shape[1] - drawing.text_width(text, size)) // 2)
    drawing.draw_text(tile, text, left, tile_size[1] + 2 * border + 2, size, ink)
    return tile


def timeline_plot(
    tracks: Tracks, tube: Tube | None, *, title: str, path: str | Path | None = None
) -> Figure:
    """A figure with one row per object: when it is visible, and the answered range shaded.

    A video with many objects shows the answered and the longest ones.

    Args:
        tracks: the objects of the video.
        tube: the answer, or None.
        title: written above, such as the query.
        path: a PNG to write as well; it appears whole or not at all.

    Returns:
        A matplotlib figure that a notebook shows once, with or without pyplot.

    Raises:
        OutputError: the file cannot be written.
    """
    from stvg_r1_hub.visual.figure import ShownFigure

    answered = tube.object_ids if tube else ()
    rows = timeline_rows(tracks, answered)
    height = 1.5 + 0.32 * max(1, len(rows))
    figure = ShownFigure(figsize=(9, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for position, track in enumerate(rows):
        _draw_row(axes, position, track, tracks.frame_times, track.object_id in answered)
    if tube is not None:
        color = _rgb(answer_line(tube)[1])
        for given in tube.ranges:
            axes.axvspan(*given, color=color, alpha=0.16, lw=0)
            for edge in given:
                axes.axvline(edge, color=color, lw=1.2)
    axes.set_yticks(range(len(rows)), [f"{t.object_id} {t.class_name}".strip() for t in rows])
    for text, track in zip(axes.get_yticklabels(), rows, strict=True):
        text.set_parse_math(False)
        text.set_fontweight("bold" if track.object_id in answered else "normal")
    axes.set_xlim(0, timeline_end(tracks, tube))
    axes.set_ylim(max(1, len(rows)) - 0.4, -0.6)
    axes.set_xlabel("seconds")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.25)
    hidden = len(tracks) - len(rows)
    more = f"   ({hidden} more objects not shown)" if hidden else ""
    heading = drawing.fit_text(title, 13, 900)
    axes.set_title(
        f"{heading}\n{answer_line(tube)[0]}{more}", loc="left", fontsize=10, parse_math=False
    )
    if path is not None:
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png")
    return figure


def timeline_rows(tracks: Tracks, answered: tuple[int, ...], most: int = MAX_ROWS) -> list[Track]:
    """The tracks that a timeline shows, by ID: the answered and the longest ones."""
    order = sorted(
        tracks.tracks, key=lambda t: (t.object_id not in answered, -len(t.frame_indices))
    )
    return sorted(order[:most], key=lambda t: t.object_id)


def timeline_end(tracks: Tracks, tube: Tube | None) -> float:
    """The last second that a timeline shows."""
    return max(float(_frame_ends(tracks.frame_times)[-1]), tube.end_seconds if tube else 0.0)


def stretches(track: Track, times: Any) -> list[tuple[float, float]]:
    """Start and length in seconds of every stretch in which a track has no gap."""
    indices = track.frame_indices
    breaks = np.flatnonzero(np.diff(indices) > 1) + 1
    ends = _frame_ends(times)
    return [
        (float(times[part[0]]), float(ends[part[-1]] - times[part[0]]))
        for part in np.split(indices, breaks)
    ]


def _frame_ends(times: Any) -> Any:
    """When each frame gives way to the next; the last one is shown as long as the one before it."""
    return np.append(times[1:], 2 * times[-1] - times[-2] if len(times) > 1 else times[-1] + 1)


def _draw_row(axes: Any, position: int, track: Track, times: Any, answered: bool) -> None:
    color = _rgb(drawing.object_color(track.object_id))
    axes.broken_barh(
        stretches(track, times),
        (position - 0.3, 0.6),
        facecolors=color,
        alpha=1.0 if answered else 0.45,
        edgecolor="#14161a" if answered else "none",
        linewidth=1.2 if answered else 0,
    )


def _rgb(color: drawing.Color) -> tuple[float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255
