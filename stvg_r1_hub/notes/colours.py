"""The colour of an object in the eleven basic terms of English, or none where it is not clear.

A pixel's name follows from hue, saturation and value (`_names`); an object has a colour where, in
the mean over a few of its clearest frames, one name holds at least `CLEAR` of the pixels in the
middle of its box. Nothing is claimed of footage without colour or without light.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.structures import Frames, Pixels, Track

COLOURS = (
    "black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown",
)  # fmt: skip
CLEAR = 0.45
"""Share of the pixels that one colour needs."""
SECOND = 0.3
"""Share from which a second colour is named beside it."""
_FRAMES = 5
_FEWEST_PIXELS = 40
_GREY_FOOTAGE, _DARK_FOOTAGE = 18, 45
"""Mean saturation and value (0..255) of frames below which no colour is claimed."""
WHOLE = (0.25, 0.2, 0.75, 0.8)
UPPER, LOWER = (0.3, 0.2, 0.7, 0.45), (0.3, 0.52, 0.7, 0.8)
"""Parts of a box as shares of its sides, xyxy; the last two of a standing person."""


def shows_colours(frames: Frames) -> bool:
    """Whether footage has colour and light enough to name colours."""
    import cv2

    picked = frames.pixels[:: max(1, len(frames) // 6)][:, ::8, ::8]
    hsv = np.stack([cv2.cvtColor(np.ascontiguousarray(p), cv2.COLOR_RGB2HSV) for p in picked])
    return bool(hsv[..., 1].mean() >= _GREY_FOOTAGE and hsv[..., 2].mean() >= _DARK_FOOTAGE)


def colours_of(
    track: Track, frames: Frames, part: tuple[float, float, float, float]
) -> tuple[str, ...]:
    """One colour, or two, of a part of an object; empty where unsure.

    Args:
        track: where the object is.
        frames: the sample.
        part: of the box.
    """
    sampled = [
        (i, box)
        for i, frame in enumerate(frames.frame_indices.tolist())
        if (box := track.box_at(frame)) is not None
    ]
    # The largest boxes show most; frames are spread by taking every k-th of the larger half.
    sampled.sort(key=lambda pair: -float((pair[1][2] - pair[1][0]) * (pair[1][3] - pair[1][1])))
    half = sampled[: max(_FRAMES, len(sampled) // 2)]
    shares = [
        share
        for i, box in half[:: max(1, len(half) // _FRAMES)][:_FRAMES]
        if (share := _shares(_cut(frames.pixels[i], box, part))) is not None
    ]
    if not shares:
        return ()
    mean = np.mean(shares, axis=0)
    order = np.argsort(-mean, kind="stable")
    if mean[order[0]] < CLEAR:
        return ()
    return tuple(COLOURS[i] for i in order[:2] if mean[i] >= SECOND)


def _cut(
    pixels: Pixels, box: NDArray[np.float32], part: tuple[float, float, float, float]
) -> Pixels:
    left, top, right, bottom = box.tolist()
    width, height = right - left, bottom - top
    x0, x1 = (round(max(0.0, left + width * part[i])) for i in (0, 2))
    y0, y1 = (round(max(0.0, top + height * part[i])) for i in (1, 3))
    return pixels[y0:y1, x0:x1]


def _shares(pixels: Pixels) -> NDArray[np.float64] | None:
    """`(11,)` share of each colour in a piece of a frame, or None when it is too small."""
    import cv2

    if pixels.shape[0] * pixels.shape[1] < _FEWEST_PIXELS:
        return None
    step = max(1, round((pixels.shape[0] * pixels.shape[1] / 2000) ** 0.5))
    hsv = cv2.cvtColor(np.ascontiguousarray(pixels[::step, ::step]), cv2.COLOR_RGB2HSV)
    names = _names(hsv.reshape(-1, 3).astype(np.int64))
    return np.asarray(np.bincount(names, minlength=len(COLOURS)) / len(names))


def _names(hsv: NDArray[np.int64]) -> NDArray[np.intp]:
    """`(N,)` places in `COLOURS` of pixels `(N, 3)`: hue in 0..179, the others in 0..255."""
    hue, saturation, value = hsv.T
    # In this order; the first that holds decides.
    rules = (
        ("black", value < 35),
        ("black", (value < 55) & (saturation < 110)),
        ("black", (value < 80) & (saturation < 70)),
        ("white", (saturation < 40) & (value > 190)),
        ("grey", saturation < 50),
        ("grey", (saturation < 70) & (value < 120)),
        ("brown", (hue >= 5) & (hue < 20) & (value < 130)),
        ("brown", (hue >= 5) & (hue < 20) & (value < 190) & (saturation < 190)),
        ("pink", ((hue >= 160) | (hue < 8)) & (saturation < 130) & (value > 170)),
        ("pink", (hue >= 156) & (hue < 168) & (value > 120)),
        ("red", (hue < 8) | (hue >= 168)),
        ("orange", hue < 20),
        ("yellow", hue < 37),
        ("green", hue < 86),
        ("blue", hue < 123),
    )
    return np.select(
        [flag for _, flag in rules],
        [COLOURS.index(name) for name, _ in rules],
        default=COLOURS.index("purple"),
    )
