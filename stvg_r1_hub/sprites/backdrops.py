"""What lies behind the objects: smooth colours, textures, and photographs. None of it is red."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stvg_r1_hub.sprites.scene import Scene
from stvg_r1_hub.structures import Pixels

_PICTURES = Path(__file__).parents[1] / "bundled" / "backgrounds"
PHOTOS = ("astronaut", "china", "coffee", "flower", "rocket")
SURFACES = ("brick", "grass", "gravel")
MARGIN = 1.5
"""A backdrop that the camera moves over is so many times as large as the frame."""


def smooth(rng: np.random.Generator, side: int) -> Pixels:
    """`(side, side, 3)` two colours and soft blobs."""
    hues = rng.uniform(20, 115, 2)  # OpenCV hue: yellow to blue, clear of the red digits
    saturation, value = rng.uniform(30, 120, 2), rng.uniform(110, 235, 2)
    ends = np.stack([hues, saturation, value], 1).astype(np.uint8)[None]
    colors = cv2.cvtColor(ends, cv2.COLOR_HSV2RGB)[0].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    blobs = cv2.resize(rng.normal(0, 1, (5, 5)).astype(np.float32), (side, side), interpolation=2)
    ramp = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    mix = np.clip(0.5 + ramp * np.cos(angle) + (ramp * np.sin(angle))[:, None] + 0.12 * blobs, 0, 1)
    backdrop: Pixels = (colors[0] + mix[..., None] * (colors[1] - colors[0])).astype(np.uint8)
    return backdrop


def textured(rng: np.random.Generator, side: int) -> Pixels:
    """`(side, side, 3)` a smooth backdrop with stripes, checks, clouds or a real surface on it."""
    base = smooth(rng, side).astype(np.float32)
    pattern = str(rng.choice(("stripes", "checks", "clouds", *SURFACES)))
    if pattern in SURFACES:
        relief = _window(rng, _picture(pattern), side).mean(-1) / 128 - 1
    elif pattern == "clouds":
        relief = np.zeros((side, side), np.float32)
        for cells in (6, 12, 24, 48):
            noise = rng.normal(0, 1.6 / np.sqrt(cells), (cells, cells)).astype(np.float32)
            relief += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    else:
        across = np.linspace(0, 1, side, dtype=np.float32)
        angle, waves = rng.uniform(0, np.pi), rng.uniform(6, 24)
        along = across * np.cos(angle) + (across * np.sin(angle))[:, None]
        relief = np.sin(2 * np.pi * waves * along)
        if pattern == "checks":
            athwart = across * np.sin(angle) - (across * np.cos(angle))[:, None]
            relief = relief * np.sin(2 * np.pi * waves * athwart)
    strength = float(rng.uniform(12, 45))
    backdrop: Pixels = np.clip(base + strength * relief[..., None], 0, 255).astype(np.uint8)
    return backdrop


def photographed(rng: np.random.Generator, side: int) -> Pixels:
    """`(side, side, 3)` a part of a photograph; reds are paled, so that numbers stay readable."""
    window = _window(rng, _picture(str(rng.choice(PHOTOS))), side)
    hsv = cv2.cvtColor(window, cv2.COLOR_RGB2HSV)
    reddish = (hsv[..., 0] < 14) | (hsv[..., 0] > 160)
    hsv[..., 1] = np.where(reddish, hsv[..., 1] // 4, hsv[..., 1])
    pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32)
    gain, lift = rng.uniform(0.6, 1.05), rng.uniform(0, 50)
    backdrop: Pixels = np.clip(pixels * gain + lift, 0, 255).astype(np.uint8)
    return backdrop


_PAINTERS = {"smooth": smooth, "texture": textured, "photo": photographed}


@functools.lru_cache(maxsize=8)
def _canvas(backdrop: str, seed: tuple[int, ...], side: int, margin: float) -> Pixels:
    return _PAINTERS[backdrop](np.random.default_rng([*seed, 1]), round(side * margin))


def background(scene: Scene, side: int, view: NDArray[np.float64] | None = None) -> Pixels:
    """`(side, side, 3)` uint8 what a scene's camera sees without any object.

    Args:
        scene: its seed and kind of backdrop decide.
        side: of the frame, in pixels.
        view: `(3,)` shift in x and y and scale, a row of `Camera.view`; None stands still.
    """
    if view is None or not (view != (0.0, 0.0, 1.0)).any():
        return _canvas(scene.backdrop, scene.seed, side, 1.0)
    canvas = _canvas(scene.backdrop, scene.seed, side, MARGIN)
    shift_x, shift_y, scale = view
    # A frame pixel p shows the canvas where p = scale * (canvas - middle + shift) + half a frame.
    middle, half = len(canvas) / 2, side / 2
    offset = half + scale * (np.array([shift_x, shift_y]) * side - middle)
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    seen = cv2.warpAffine(
        canvas, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(seen, dtype=np.uint8)


@functools.cache
def _picture(name: str) -> Pixels:
    with Image.open(_PICTURES / f"{name}.webp") as image:
        return np.asarray(image.convert("RGB"))


def _window(rng: np.random.Generator, picture: Pixels, side: int) -> Pixels:
    """A random square part, mirrored half of the time, resized to `side`."""
    height, width = picture.shape[:2]
    extent = int(rng.uniform(0.45, 1.0) * min(height, width))
    top, left = rng.integers(0, height - extent + 1), rng.integers(0, width - extent + 1)
    part = picture[top : top + extent, left : left + extent]
    part = np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)
    shrinks = side < extent
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (side, side), interpolation=how), dtype=np.uint8)
