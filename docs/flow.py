"""Draws the README's figure from a real answer of the bundled model: `python docs/flow.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.examples import find_example
from stvg_r1_hub.structures import Pixels
from stvg_r1_hub.video import open_video
from stvg_r1_hub.visual.drawing import WHITE, draw_text, fit_text, line_height, wrap_text
from stvg_r1_hub.visual.overlay import draw_objects

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "stvg_r1_hub"
PART = np.s_[120:420, 305:605]
"""Rows and columns of the street that are shown: where the answered person is."""
SIDE, GAP, SIZE = 300, 46, 17
GROUND = (24, 26, 31)
QUIET = (165, 170, 182)


def panel(pixels: Pixels) -> Pixels:
    picture = Image.fromarray(pixels[PART])
    picture.thumbnail((SIDE, SIDE))
    canvas = np.full((SIDE, SIDE, 3), 40, np.uint8)
    top, left = (SIDE - picture.height) // 2, (SIDE - picture.width) // 2
    canvas[top : top + picture.height, left : left + picture.width] = picture
    return canvas


def words(text: str, query: str) -> Pixels:
    canvas = np.full((SIDE, SIDE, 3), 40, np.uint8)
    y = 12
    for line in wrap_text(f"“{query}”", SIZE, SIDE - 24, 2):
        draw_text(canvas, line, 12, y, SIZE, (255, 120, 120))
        y += line_height(SIZE)
    y += 8
    for line in wrap_text(text, 14, SIDE - 24, 14):
        draw_text(canvas, line, 12, y, 14, WHITE)
        y += line_height(14)
    return canvas


def main() -> None:
    _, street, query = find_example("street")
    pipeline = STVGPipeline.from_pretrained("tiny")
    with open_video(street) as source, pipeline.open(source) as clip:
        result = clip.ground(query)
        assert result.found and result.start_seconds is not None
        middle = (result.start_seconds + (result.end_seconds or 0)) / 2
        frames = clip.marked.frames
        seen = int(np.argmin(np.abs(frames.times_seconds - middle)))
        index = int(frames.frame_indices[seen])
        (frame,) = source.stream([index])
        answered = frame.pixels.copy()
        names = {track.object_id: track.class_name for track in clip.tracks.tracks}
        boxes = [box for box in result.boxes if box.frame_index == index]
        draw_objects(answered, boxes, names)
        pictures = [
            (panel(frame.pixels), "a frame of the video"),
            (panel(frames.pixels[seen]), "every object gets a number"),
            (words(result.raw_text, query), "the model names one of them"),
            (panel(answered), f"{result.start_seconds:.2f} to {result.end_seconds:.2f} s"),
        ]
    width = len(pictures) * SIDE + (len(pictures) + 1) * GAP
    canvas = np.full((SIDE + 2 * GAP, width, 3), GROUND, np.uint8)
    for i, (picture, caption) in enumerate(pictures):
        left = GAP + i * (SIDE + GAP)
        canvas[GAP // 2 : GAP // 2 + SIDE, left : left + SIDE] = picture
        text = fit_text(caption, SIZE, SIDE)
        draw_text(canvas, text, left, GAP // 2 + SIDE + 12, SIZE, QUIET)
        if i:
            draw_text(canvas, "→", left - GAP + 9, GAP // 2 + SIDE // 2 - 18, 30, WHITE)
    Image.fromarray(canvas).save(PACKAGE / "web" / "flow.webp", quality=85, method=6)


if __name__ == "__main__":
    main()
