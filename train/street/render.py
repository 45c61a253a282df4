"""Street scenes to pixels: silhouettes that walk, textured shapes and emoji before any backdrop.

What is drawn does not depend on the noun: a "car" may be a walking silhouette.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stvg_r1_hub.evaluation.sprites.backdrops import photographed, smooth, textured
from stvg_r1_hub.evaluation.sprites.motion import Camera
from stvg_r1_hub.evaluation.sprites.scene import KINDS
from stvg_r1_hub.structures import Pixels
from train.street.words import RESTS
from train.street.world import StreetScene, Walker

_EMOJI = Path(__file__).parents[2] / "stvg_r1_hub" / "bundled" / "emoji"
_PHASES = 8
_TALL = 96
"""Height in pixels in which looks are drawn before they are reduced."""
Look = tuple[NDArray[np.uint8], ...]
"""`(h, w, 4)` RGBA, alpha premultiplied; several are the phases of a step."""


def _silhouette(rng: np.random.Generator) -> Look:
    """A figure from the side whose legs and arms swing."""
    colors = [tuple(int(c) for c in rng.integers(15, 200, 3)) for _ in range(3)]
    skin = tuple(int(c) for c in np.array((200, 160, 130)) * rng.uniform(0.4, 1.1))
    girth = float(rng.uniform(0.8, 1.5))
    return tuple(_figure(2 * np.pi * i / _PHASES, colors, skin, girth) for i in range(_PHASES))


def _figure(
    phase: float, colors: list[tuple[int, ...]], skin: tuple[int, ...], girth: float
) -> NDArray[np.uint8]:
    canvas = np.zeros((_TALL, _TALL // 2, 4), np.uint8)
    trousers, shirt, sleeves = colors
    hip, shoulder, middle = (24, 50), (24, 20), 24
    for sign in (1, -1):
        swing = sign * np.sin(phase)
        foot = (round(middle + 13 * swing), 94 - round(3 * max(0.0, sign * np.cos(phase))))
        cv2.line(canvas, hip, foot, (*trousers, 255), round(7 * girth), cv2.LINE_AA)
        hand = (round(middle - 11 * swing), 50)
        cv2.line(canvas, shoulder, hand, (*sleeves, 255), round(5 * girth), cv2.LINE_AA)
    cv2.ellipse(canvas, (middle, 35), (round(7 * girth), 19), 0, 0, 360, (*shirt, 255), -1)
    cv2.circle(canvas, (middle, 9), 7, (*skin, 255), -1, cv2.LINE_AA)
    return canvas


def _shape(rng: np.random.Generator) -> Look:
    """An arbitrary textured outline, twice as wide as tall or half as wide."""
    height, width = _TALL, int(_TALL * rng.uniform(0.5, 2.0))
    texture = textured(rng, max(height, width))[:height, :width]
    mask = np.zeros((height, width), np.uint8)
    if rng.random() < 0.4:
        cv2.rectangle(mask, (3, 8), (width - 4, height - 5), 255, -1)
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 10))))
        reach = rng.uniform(0.6, 1.0, len(angles))
        points = np.stack([np.cos(angles) * width, np.sin(angles) * height], 1) / 2
        points = points * reach[:, None] + np.array([width, height]) / 2
        cv2.fillPoly(mask, [points.astype(np.int32)], 255)
    gain = rng.uniform(0.3, 1.0)
    rgb = (texture * gain * (mask[..., None] > 0)).astype(np.uint8)
    return (np.concatenate([rgb, mask[..., None]], axis=-1),)


@functools.cache
def _emoji(kind: str) -> Look:
    with Image.open(_EMOJI / f"{kind}.webp") as image:
        rgba = np.asarray(image.convert("RGBA").resize((_TALL, _TALL)))
    alpha = rgba[..., 3:].astype(np.uint16)
    rgb = (rgba[..., :3] * alpha + 127) // 255
    return (np.concatenate([rgb, alpha], axis=-1).astype(np.uint8),)


def draw_look(rng: np.random.Generator) -> Look:
    """How an object looks: mostly a figure, else a shape or an emoji."""
    kind = str(rng.choice(("figure", "shape", "emoji"), p=(0.6, 0.25, 0.15)))
    if kind == "figure":
        return _silhouette(rng)
    return _shape(rng) if kind == "shape" else _emoji(str(rng.choice(KINDS)))


def draw_camera(rng: np.random.Generator) -> Camera:
    """Two of three cameras stand still, the others are held by a hand."""
    shake = float(rng.uniform(0.001, 0.012)) * bool(rng.random() < 0.35)
    a, b, c, d = (float(p) for p in rng.uniform(0, 2 * np.pi, 4))
    return Camera(shake=shake, phases=(a, b, c, d))


def _backdrop(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Larger than the frame by an eighth on each side, for the camera's shake."""
    side = round(max(height, width) * 1.25)
    paint = (photographed, textured, smooth)[int(rng.choice(3, p=(0.6, 0.25, 0.15)))]
    return paint(rng, side)


def street_frames(
    scene: StreetScene, height: int, width: int, seconds: NDArray[np.float64]
) -> tuple[Iterator[Pixels], dict[Walker, NDArray[np.float64]]]:
    """Frames `(height, width, 3)` uint8 RGB, and each object's `(T, 4)` xyxy boxes in pixels."""
    rng = np.random.default_rng([*scene.seed, 8])
    camera, canvas = draw_camera(rng), _backdrop(rng, height, width)
    shift = camera.view(seconds, scene.duration_seconds)[:, :2]
    looks = {walker: draw_look(rng) for walker in scene.walkers}
    boxes = {w: _boxes(w, looks[w], height, width, seconds, shift) for w in scene.walkers}

    def frames() -> Iterator[Pixels]:
        far_to_near = sorted(scene.walkers, key=lambda walker: boxes[walker][0, 3])
        paces = {walker: float(rng.uniform(0.7, 1.3)) for walker in scene.walkers}
        for t, now in enumerate(seconds.tolist()):
            frame = _view(canvas, height, width, shift[t])
            for walker in far_to_near:
                if walker.leaves and not walker.start_seconds <= now < walker.end_seconds:
                    continue
                look = looks[walker]
                phase = 2 if _rests(walker, now) else int(now * paces[walker] * _PHASES)
                _paste(frame, look[phase % len(look)], boxes[walker][t])
            yield frame

    return frames(), boxes


def _rests(walker: Walker, now: float) -> bool:
    current = next((s for s in walker.segments if now < s.end_seconds), walker.segments[-1])
    return current.motion == RESTS


def _boxes(
    walker: Walker,
    look: Look,
    height: int,
    width: int,
    seconds: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> NDArray[np.float64]:
    place = walker.places(seconds)
    x, y = (place[:, 0] + shift[:, 0]) * width, (place[:, 1] + shift[:, 1]) * height
    tall = place[:, 2] * height
    broad = tall * look[0].shape[1] / look[0].shape[0]
    return np.stack([x - broad / 2, y - tall / 2, x + broad / 2, y + tall / 2], axis=1)


def _view(canvas: Pixels, height: int, width: int, shift: NDArray[np.float64]) -> Pixels:
    left = (canvas.shape[1] - width) / 2 - shift[0] * width
    top = (canvas.shape[0] - height) / 2 - shift[1] * height
    matrix = np.array([[1, 0, -left], [0, 1, -top]])
    return np.asarray(cv2.warpAffine(canvas, matrix, (width, height)), np.uint8)


def _paste(frame: Pixels, look: NDArray[np.uint8], box: NDArray[np.float64]) -> None:
    """Draw a look into a box of the frame, in place."""
    height, width = frame.shape[:2]
    x0, y0 = np.floor(box[:2]).astype(int)
    x1, y1 = np.ceil(box[2:]).astype(int) + 1
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if left >= right or top >= bottom:
        return
    tall, broad = max(1, round(box[3] - box[1])), max(1, round(box[2] - box[0]))
    small = cv2.resize(look, (broad, tall), interpolation=cv2.INTER_AREA)
    matrix = np.array([[1, 0, box[0] - left], [0, 1, box[1] - top]])
    patch = cv2.warpAffine(small, matrix, (right - left, bottom - top)).astype(np.uint16)
    under = frame[top:bottom, left:right].astype(np.uint16)
    frame[top:bottom, left:right] = patch[..., :3] + under * (255 - patch[..., 3:]) // 255
