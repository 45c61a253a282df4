"""Pictures of the worst answers: true and answered boxes on frames, true and answered times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.evaluation.lines import Line
from stvg_r1_hub.outputs import replacing
from stvg_r1_hub.structures import Pixels, TimedFrame
from stvg_r1_hub.video import open_video
from stvg_r1_hub.visual import drawing

TRUE_COLOR: drawing.Color = (40, 200, 90)
ANSWER_COLOR: drawing.Color = (250, 170, 30)
GROUND: drawing.Color = (24, 26, 32)
TILE_HEIGHT = 200
FRAMES = 4


def draw_case(line: Line, path: Path, *, image_folder_fps: float | None = None) -> str | None:
    """Save one sample's picture.

    Args:
        line: its result.
        path: PNG to write.
        image_folder_fps: frames per second when its video is a folder of pictures.

    Returns:
        None, or why there is no picture (the video is gone, for example).

    Raises:
        OutputError: the file cannot be written.
    """
    from PIL import Image

    try:
        with open_video(line["video"], fps=image_folder_fps) as source:
            info = source.info
            picked = _frames(line, info.frame_times)
            frames = list(source.stream(picked))
    except STVGError as error:
        return str(error)
    tiles = [_tile(frame, line) for frame in frames]
    strip = np.concatenate(tiles, axis=1)
    strip = np.concatenate([strip, _timeline(line, strip.shape[1], info.duration_seconds)])
    with replacing(path) as temporary:
        Image.fromarray(strip).save(temporary, format="PNG", optimize=True)
    return None


def _frames(line: Line, times: np.ndarray) -> list[int]:
    """Some frames of the true and of the answered tube; of the clip when there is neither."""
    tubes = [line["truth"]["boxes"], line["tube"]]
    shares = (0.15, 0.85) if all(tubes) else (0.1, 0.35, 0.65, 0.9)
    picked = [int(tube[int(share * (len(tube) - 1))][0]) for tube in tubes if tube
              for share in shares]  # fmt: skip
    if not picked:
        picked = [int(share * (len(times) - 1)) for share in (0.1, 0.4, 0.6, 0.9)]
    return sorted({min(frame, len(times) - 1) for frame in picked})[:FRAMES]


def _tile(frame: TimedFrame, line: Line) -> Pixels:
    import cv2

    height, width = frame.pixels.shape[:2]
    scale = TILE_HEIGHT / height
    size = max(1, round(width * scale)), TILE_HEIGHT
    picture = np.asarray(cv2.resize(frame.pixels, size, interpolation=cv2.INTER_AREA))
    # The truth is drawn wider, so that it shows on both sides of an answer that is right.
    for rows, color, stroke in (
        (line["truth"]["boxes"], TRUE_COLOR, 4),
        (line["tube"], ANSWER_COLOR, 1),
    ):
        box = _box_at(rows, frame.frame_index)
        if box is not None:
            left, top, right, bottom = (round(v * scale) for v in box)
            cv2.rectangle(picture, (left, top), (right, bottom), color, stroke, cv2.LINE_AA)
    caption = np.full((24, size[0], 3), GROUND, dtype=np.uint8)
    drawing.draw_text(caption, f"{frame.time_seconds:.2f} s", 6, 2, 14, drawing.WHITE)
    tile = np.concatenate([picture, caption])
    return np.pad(tile, ((4, 0), (2, 2), (0, 0)), constant_values=GROUND[0]).astype(np.uint8)


def _box_at(rows: Sequence[Sequence[float]], frame: int) -> list[float] | None:
    """Box between the two kept ones around a frame; None outside the tube."""
    if not rows or not rows[0][0] <= frame <= rows[-1][0]:
        return None
    table = np.array(rows)
    return [float(np.interp(frame, table[:, 0], table[:, i])) for i in range(1, 5)]


def _timeline(line: Line, width: int, duration: float) -> Pixels:
    """Two bars under the frames: the true and the answered range."""
    canvas = np.full((52, width, 3), GROUND, dtype=np.uint8)
    left, right = 78, width - 12
    rows = (("true", line["truth"], TRUE_COLOR), ("answer", line["answer"], ANSWER_COLOR))
    for i, (name, values, color) in enumerate(rows):
        top = 6 + 22 * i
        drawing.draw_text(canvas, name, 8, top - 2, 14, color)
        canvas[top + 5 : top + 11, left:right] = (62, 66, 76)
        start, end = values["start_seconds"], values["end_seconds"]
        if start is None or end is None:
            drawing.draw_text(canvas, "nothing", left + 4, top - 2, 13, (170, 175, 185))
            continue
        first, last = (left + round((right - left) * min(t / duration, 1)) for t in (start, end))
        canvas[top + 3 : top + 13, first : max(last, first + 2)] = color
    return canvas
