"""Frames + what was found -> frames for people: the overlay video, drawn in one pass.

`draw_answer` shows one question's answer, `draw_tracks` every object. Both take the native
frames in order and yield drawn copies; the caller decodes and encodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import box_area, decode_mask
from stvg_r1_hub.structures import Box, Pixels, TimedFrame, Track, Tracks, Tube, VideoInfo
from stvg_r1_hub.visual import drawing
from stvg_r1_hub.visual.drawing import Color

TRAIL_SECONDS = 2.0


@dataclass(frozen=True)
class DrawStyle:
    """How an answer is drawn."""

    boxes: bool = True
    """Boxes or masks with their labels, and the strip at the bottom."""
    trails: bool = False
    """The way that each answered object has come in the last seconds."""
    blur: bool = False
    """All but the answered objects out of focus, as long as the answer lasts."""


def draw_answer(
    frames: Iterable[TimedFrame],
    info: VideoInfo,
    tube: Tube | None,
    *,
    query: str,
    class_names: dict[int, str],
    style: DrawStyle = DrawStyle(),
) -> Iterator[Pixels]:
    """Draw the answered boxes or masks, the query, and a time bar with the answered ranges.

    Args:
        frames: native frames in order.
        info: the video they come from.
        tube: the answer, or None when nothing was found.
        query: shown at the bottom.
        class_names: ID -> name shown beside the number.
        style: what is drawn.

    Yields:
        A drawn copy of each frame, `(H, W, 3)` uint8 RGB.
    """
    boxes: dict[int, list[Box]] = {}
    for box in tube.boxes if tube else ():
        boxes.setdefault(box.frame_index, []).append(box)
    spans = list(tube.ranges) if tube else []
    color = drawing.object_color(tube.object_ids[0]) if tube and tube.object_ids else drawing.WHITE
    title = query if tube else f"not found: {query}"
    footer = Footer(info, title, spans, color)
    stroke = drawing.stroke_width(info.width, info.height)
    trails: dict[int, list[Box]] = {}
    for frame in frames:
        picture = frame.pixels.copy()
        here = boxes.get(frame.frame_index, [])
        if style.blur and any(start <= frame.time_seconds < end for start, end in spans):
            drawing.blur_around(picture, [_inside(box, picture.shape) for box in here])
        if style.trails:
            for box in here:
                trail = trails.setdefault(box.object_id, [])
                trail[:] = [b for b in trail if box.time_seconds - b.time_seconds < TRAIL_SECONDS]
                trail.append(box)
                places = [((b.xyxy[0] + b.xyxy[2]) / 2, b.xyxy[3]) for b in trail]
                drawing.draw_trail(picture, places, drawing.object_color(box.object_id), stroke)
        if style.boxes:
            draw_objects(picture, here, class_names)
            footer.draw(picture, frame.time_seconds)
        yield picture


def _inside(box: Box, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels of an object, `(H, W)`."""
    if box.mask is not None:
        return decode_mask(box.mask)
    inside = np.zeros(shape[:2], dtype=bool)
    left, top, right, bottom = (max(0, round(v)) for v in box.xyxy)
    inside[top:bottom, left:right] = True
    return inside


def draw_tracks(frames: Iterable[TimedFrame], info: VideoInfo, tracks: Tracks) -> Iterator[Pixels]:
    """Draw every tracked object with its ID and class name, and a time bar.

    Args:
        frames: native frames in order.
        info: the video they come from.
        tracks: its objects.

    Yields:
        A drawn copy of each frame, `(H, W, 3)` uint8 RGB.
    """
    names = {track.object_id: track.class_name for track in tracks.tracks}
    count = len(tracks)
    footer = Footer(info, f"{count} object{'' if count == 1 else 's'}", [], drawing.WHITE)
    for frame in frames:
        picture = frame.pixels.copy()
        boxes = [_box_at(track, frame.frame_index) for track in tracks.tracks]
        draw_objects(picture, [box for box in boxes if box is not None], names)
        footer.draw(picture, frame.time_seconds)
        yield picture


def _box_at(track: Track, frame_index: int) -> Box | None:
    i = track.position(frame_index)
    if i is None:
        return None
    x1, y1, x2, y2 = (float(v) for v in track.boxes[i])
    mask = None if track.masks is None else track.masks[i]
    xyxy = (x1, y1, x2, y2)
    return Box(frame_index, 0.0, xyxy, bool(track.interpolated[i]), track.object_id, mask)


def draw_objects(picture: Pixels, boxes: list[Box], class_names: dict[int, str]) -> None:
    """Draw boxes, or masks where there are any, then all labels on top, in place.

    Args:
        picture: `(H, W, 3)` uint8 RGB.
        boxes: what to draw, in pixels of the picture.
        class_names: ID -> name; an object without one gets its number alone.
    """
    height, width = picture.shape[:2]
    stroke = drawing.stroke_width(width, height)
    size = drawing.text_size(width, height)
    # Large ones first, so that a small object in front of a large one stays visible.
    for box in sorted(boxes, key=lambda box: -float(box_area(box.xyxy))):
        color = drawing.object_color(box.object_id)
        if box.mask is None:
            drawing.draw_box(picture, box.xyxy, color, stroke)
        else:
            drawing.draw_mask(picture, decode_mask(box.mask), color, stroke)
    taken: list[tuple[int, int, int, int]] = []
    for box in sorted(boxes, key=lambda box: box.xyxy[1]):
        _draw_object_label(picture, box, class_names.get(box.object_id, ""), size, stroke, taken)


def _draw_object_label(
    picture: Pixels,
    box: Box,
    name: str,
    size: int,
    stroke: int,
    taken: list[tuple[int, int, int, int]],
) -> None:
    """Above the box where there is room, else inside; where labels collide, one line lower."""
    text = f"{box.object_id} {name}".strip()
    # In a crowd the name would hide the neighbours: a small box shows its number alone.
    if drawing.label_size(text, size)[0] > 1.6 * (box.xyxy[2] - box.xyxy[0]):
        text = str(box.object_id)
    width, height = drawing.label_size(text, size)
    x = round(box.xyxy[0]) - stroke // 2
    y = round(box.xyxy[1]) - height - stroke // 2
    x = min(max(0, x), max(0, picture.shape[1] - width))
    if y < 0:
        y = max(0, round(box.xyxy[1]) + stroke)
    for _ in range(3):
        if not any(_overlap((x, y, x + width, y + height), other) for other in taken):
            break
        y += height + 1
    taken.append((x, y, x + width, y + height))
    drawing.draw_label(picture, text, x, y, size, drawing.object_color(box.object_id))


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


class Footer:
    """The shaded strip at the bottom of each frame: title, clock, time bar, playhead."""

    def __init__(
        self,
        info: VideoInfo,
        title: str,
        spans: list[tuple[float, float]],
        color: Color,
    ) -> None:
        """Args: the video, the text, highlighted `(start, end)` seconds and their colour."""
        self._duration = info.duration_seconds
        self._spans = spans
        self._color = color
        self._size = drawing.text_size(info.width, info.height)
        self._margin = max(4, self._size * 2 // 3)
        self._bar = max(3, self._size // 4)
        self._width, self._height = info.width, info.height
        clock = drawing.text_width(self._clock(self._duration), self._size)
        room = self._width - 3 * self._margin - clock
        max_lines = 2 if self._height >= 10 * self._size else 1
        self._title = drawing.wrap_text(title, self._size, room, max_lines)
        self._line = drawing.line_height(self._size)
        text_height = self._line * max(1, len(self._title))
        self._strip = text_height + self._bar + 2 * self._margin
        shade = np.linspace(0.45, 0.85, self._strip, dtype=np.float32)
        shade[: self._margin // 2] *= np.linspace(0, 1, self._margin // 2, dtype=np.float32)
        self._shade = np.repeat(shade[:, None], self._width, axis=1)

    def _clock(self, seconds: float) -> str:
        return f"{seconds:.1f} / {self._duration:.1f} s"

    def _x(self, seconds: float) -> int:
        inner = self._width - 2 * self._margin
        share = min(1.0, max(0.0, seconds / self._duration))
        return self._margin + round(inner * share)

    def draw(self, picture: Pixels, time_seconds: float) -> None:
        """Draw onto a frame, in place."""
        top = self._height - self._strip
        drawing.blend(picture, self._shade, 0, top, drawing.INK)
        text_top = top + self._margin // 2
        for i, line in enumerate(self._title):
            y = text_top + i * self._line
            drawing.draw_text(picture, line, self._margin, y, self._size, drawing.WHITE)
        clock = self._clock(time_seconds)
        clock_left = self._width - self._margin - drawing.text_width(clock, self._size)
        drawing.draw_text(picture, clock, clock_left, text_top, self._size, drawing.WHITE)

        bar_top = self._height - self._margin - self._bar
        inner = self._width - 2 * self._margin
        drawing.draw_bar(picture, self._margin, bar_top, inner, self._bar, drawing.WHITE, 0.3)
        for start, end in self._spans:
            left = self._x(start)
            width = max(self._bar, self._x(end) - left)
            drawing.draw_bar(picture, left, bar_top, width, self._bar, self._color)
        knob = 2 * self._bar + 2
        knob_left = self._x(time_seconds) - knob // 2
        knob_top = bar_top + self._bar // 2 - knob // 2
        drawing.draw_bar(picture, knob_left, knob_top, knob, knob, drawing.WHITE)
