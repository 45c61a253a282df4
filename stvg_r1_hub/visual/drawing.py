"""Text, labels and colours for people: what the overlay video and the pictures are drawn with.

Nothing here touches what the language model sees; its markers are drawn by `marking.py`. All
frames are `(H, W, 3)` uint8 RGB and are changed in place; whatever reaches over the border is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.structures import Pixels

Color = tuple[int, int, int]

# Told apart on dark and on light ground, neighbours in the list far from each other. No pure red:
# the markers are red.
PALETTE: tuple[Color, ...] = (
    (54, 145, 255),
    (255, 159, 10),
    (52, 199, 89),
    (196, 94, 240),
    (240, 200, 20),
    (20, 200, 205),
    (255, 105, 150),
    (150, 220, 60),
    (140, 130, 255),
    (185, 145, 95),
    (255, 125, 70),
    (120, 175, 200),
)
WHITE: Color = (255, 255, 255)
INK: Color = (18, 20, 24)


def object_color(object_id: int) -> Color:
    """The colour of an object: the same in every picture; 36 objects differ."""
    lap, place = divmod(object_id - 1, len(PALETTE))
    color = PALETTE[place]
    if lap % 3 == 0:
        return color
    toward, share = (255, 0.5) if lap % 3 == 1 else (0, 0.4)
    red, green, blue = (round(c + (toward - c) * share) for c in color)
    return red, green, blue


def css_color(object_id: int) -> str:
    """The same colour for style sheets."""
    return "rgb({},{},{})".format(*object_color(object_id))


def text_size(width: int, height: int) -> int:
    """Pixel height of text on a `width` x `height` frame: readable at 240p, modest at 4K."""
    return max(11, round(0.028 * min(width, height)))


def stroke_width(width: int, height: int) -> int:
    """Line width in pixels of a box on a `width` x `height` frame."""
    return max(2, round(min(width, height) / 270))


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    from PIL import ImageFont

    # The font lies in matplotlib's folder; importing matplotlib itself takes half a second.
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None
    fonts = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / "DejaVuSans-Bold.ttf"), size)


def text_width(text: str, size: int) -> int:
    """Width of one line of text in pixels."""
    width: float = _font(size).getlength(text)
    return round(width)


def fit_text(text: str, size: int, max_width: int) -> str:
    """The text, shortened with an ellipsis until it is at most `max_width` pixels wide."""
    text = " ".join(text.split())
    if text_width(text, size) <= max_width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + "…", size) <= max_width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…" if low else ""


def wrap_text(text: str, size: int, max_width: int, max_lines: int) -> list[str]:
    """The text in at most `max_lines` lines that fit, the last one shortened when need be."""
    words = text.split()
    lines: list[str] = []
    while words and len(lines) < max_lines - 1:
        count = 1
        while count < len(words) and text_width(" ".join(words[: count + 1]), size) <= max_width:
            count += 1
        lines.append(fit_text(" ".join(words[:count]), size, max_width))
        words = words[count:]
    if words:
        lines.append(fit_text(" ".join(words), size, max_width))
    return lines


@lru_cache(maxsize=512)
def _text_alpha(text: str, size: int) -> NDArray[np.float32]:
    """Coverage `(h, w)` in 0..1 of one line of text, all lines of a size equally high."""
    from PIL import Image, ImageDraw

    font = _font(size)
    ascent, descent = font.getmetrics()
    image = Image.new("L", (max(1, text_width(text, size) + 2), ascent + descent))
    ImageDraw.Draw(image).text((1, 0), text, font=font, fill=255)
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def line_height(size: int) -> int:
    """Height in pixels of a line of text as `draw_text` draws it."""
    return int(_text_alpha("0", size).shape[0])


def draw_text(frame: Pixels, text: str, x: int, y: int, size: int, color: Color) -> None:
    """Draw one line with its top left corner at `(x, y)`."""
    if text:
        blend(frame, _text_alpha(text, size), x, y, color)


def blend(frame: Pixels, alpha: NDArray[np.float32], x: int, y: int, color: Color) -> None:
    """Mix a colour into the frame where `alpha` `(h, w)` in 0..1 says, top left at `(x, y)`."""
    top, left = max(0, y), max(0, x)
    bottom = min(frame.shape[0], y + alpha.shape[0])
    right = min(frame.shape[1], x + alpha.shape[1])
    if top >= bottom or left >= right:
        return
    area = frame[top:bottom, left:right]
    share = alpha[top - y : bottom - y, left - x : right - x, None]
    area[...] = (area + (np.asarray(color, np.float32) - area) * share + 0.5).astype(np.uint8)


@lru_cache(maxsize=256)
def _rounded(width: int, height: int, radius: int) -> NDArray[np.float32]:
    """Coverage of a rounded rectangle, drawn 4x larger and reduced for smooth corners."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (width * 4, height * 4))
    corner = (width * 4 - 1, height * 4 - 1)
    ImageDraw.Draw(image).rounded_rectangle(((0, 0), corner), radius * 4, fill=255)
    reduced = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(reduced, dtype=np.float32) / np.float32(255)


def draw_bar(
    frame: Pixels, x: int, y: int, width: int, height: int, color: Color, opacity: float = 1.0
) -> None:
    """Draw a filled bar with round ends."""
    if width > 0 and height > 0:
        alpha = _rounded(width, height, min(width, height) // 2)
        blend(frame, alpha * np.float32(opacity), x, y, color)


def label_size(text: str, size: int) -> tuple[int, int]:
    """Width and height in pixels of a label with this text."""
    padding = max(3, size // 3)
    return text_width(text, size) + 2 + 2 * padding, line_height(size) + 2 * (padding // 3)


def draw_label(frame: Pixels, text: str, x: int, y: int, size: int, color: Color) -> None:
    """Draw text on a filled label, top left at `(x, y)`, in black or white as reads better."""
    width, height = label_size(text, size)
    padding = max(3, size // 3)
    blend(frame, _rounded(width, height, max(2, height // 4)), x, y, color)
    brightness = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = INK if brightness > 140 else WHITE
    draw_text(frame, text, x + padding, y + padding // 3, size, ink)


def draw_box(frame: Pixels, xyxy: tuple[float, ...], color: Color, stroke: int) -> None:
    """Outline a box, with a thin dark rim so that it shows on any ground."""
    import cv2

    x1, y1, x2, y2 = (round(v) for v in xyxy)
    corners = (x1, y1), (max(x1, x2 - 1), max(y1, y2 - 1))
    cv2.rectangle(frame, *corners, INK, stroke + 2)
    cv2.rectangle(frame, *corners, color, stroke)


def draw_mask(frame: Pixels, mask: NDArray[np.bool_], color: Color, stroke: int) -> None:
    """Tint a `(H, W)` mask and outline it."""
    import cv2

    tinted = frame[mask].astype(np.float32) * 0.55 + np.asarray(color, np.float32) * 0.45
    frame[mask] = tinted.astype(np.uint8)
    found = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(frame, found[-2], -1, color, stroke, cv2.LINE_AA)


def draw_trail(
    frame: Pixels, places: Sequence[tuple[float, float]], color: Color, stroke: int
) -> None:
    """Draw the way through `(x, y)` places, the oldest first, growing towards the last."""
    import cv2

    points = [(round(x), round(y)) for x, y in places]
    for i, (start, end) in enumerate(pairwise(points), start=1):
        width = max(1, round(stroke * i / len(points)))
        cv2.line(frame, start, end, color, width, cv2.LINE_AA)


def blur_around(frame: Pixels, objects: Sequence[NDArray[np.bool_]]) -> None:
    """Put all but some objects, each `(H, W)`, out of focus."""
    import cv2

    height, width = frame.shape[:2]
    # Blurred when small: as soft, and many times faster.
    small = cv2.resize(frame, (width // 8 or 1, height // 8 or 1), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(1.0, min(small.shape[:2]) / 30))
    soft = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    for inside in objects:
        soft[inside] = frame[inside]
    frame[...] = soft
