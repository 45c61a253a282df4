"""Rendered streets with true tracks: look-alikes pass one another while the camera pans and shakes.

Every event that is hard for a tracker has a street of its own: crossings alone, a wall that hides
whoever passes it for seconds, people who leave and come back, and a cut to another street.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stvg_r1_hub.hub import BUNDLED
from stvg_r1_hub.sprites.backdrops import photographed
from stvg_r1_hub.structures import Pixels

SIDE, FPS, SECONDS = 480, 20, 10
EVENTS = ("crossings", "long gap", "re-entry", "scene cut")
KINDS = ("dog", "cat", "penguin", "robot", "fox", "car")
WALKERS = 9
WALL_WIDTH = 130
AWAY_SECONDS = 3.0
IN_VIEW = 0.3
"""A walker is there for the truth while this share of its box can be seen."""

Rows = dict[int, list[tuple[int, list[float]]]]
"""0-based frame -> (id, xyxy)."""


@dataclass(frozen=True)
class Walker:
    """Goes along a lane at a steady speed, and perhaps turns back once it is out of sight."""

    number: int
    patch: NDArray[np.uint8]
    """`(h, w, 4)` RGBA, cropped to what is visible."""
    middle: float
    """Where it is half-way through, in pixels of the street."""
    speed: float
    """Pixels a second; negative to the left."""
    feet: float
    returns: bool

    def left(self, seconds: float) -> float:
        """Left edge in pixels of the street."""
        if not self.returns:
            return self.middle + self.speed * (seconds - SECONDS / 2)
        # It goes out by the nearer edge, stays away, and comes back by the same.
        edge = SIDE if self.speed > 0 else -self.patch.shape[1]
        away = abs(seconds - SECONDS / 2) - AWAY_SECONDS / 2
        return edge - np.sign(self.speed) * abs(self.speed) * max(away, -0.2)


def street(event: str, seed: int) -> tuple[list[Pixels], Rows]:
    """Frames `(SIDE, SIDE, 3)` of one street, and who is where in them."""
    rng = np.random.default_rng([seed, EVENTS.index(event)])
    scenes = [_scene(rng, event, 100 * n) for n in range(2 if event == "scene cut" else 1)]
    pan = 0.0 if event == "re-entry" else float(rng.uniform(-25, 25))
    phases = rng.uniform(0, 6.3, 4)
    frames, truth = [], Rows()
    for number in range(SECONDS * FPS):
        seconds = number / FPS
        canvas, walkers = scenes[number * len(scenes) // (SECONDS * FPS)]
        shake = 4 * np.sin(np.array([9.1, 8.3]) * seconds + phases[:2])
        shake += 2.5 * np.sin(np.array([21.7, 24.9]) * seconds + phases[2:])
        camera = shake + np.array([pan * (seconds - SECONDS / 2), 0.0])
        frame = _seen(canvas, camera)
        boxes = [_draw(frame, walker, walker.left(seconds), camera) for walker in walkers]
        wall = [SIDE / 2 - camera[0], SIDE / 2 - camera[0]]
        if event == "long gap":
            wall[1] += WALL_WIDTH
            frame[:, max(0, round(wall[0])) : max(0, round(wall[1]))] = (96, 92, 88)
        truth[number] = [
            (walker.number, box)
            for walker, box in zip(walkers, boxes, strict=True)
            if _share_seen(box, wall) >= IN_VIEW
        ]
        frames.append(frame)
    return frames, truth


def _scene(rng: np.random.Generator, event: str, first: int) -> tuple[Pixels, list[Walker]]:
    kinds = rng.choice(KINDS, 4, replace=False)
    walkers = []
    for n, feet in enumerate(np.linspace(0.4, 0.95, WALKERS) * SIDE, start=1):
        picture = Image.open(BUNDLED / "emoji" / f"{rng.choice(kinds)}.webp").convert("RGBA")
        side = round(0.1 * SIDE + 0.08 * feet)
        patch = np.asarray(picture.resize((side, side)))
        rows, columns = (np.flatnonzero(patch[..., 3].max(axis) > 64) for axis in (1, 0))
        patch = patch[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        walkers.append(
            Walker(
                first + n,
                patch,
                float(rng.uniform(0.1, 0.8) * SIDE),
                float(rng.choice([-1, 1]) * rng.uniform(25, 75)),
                float(feet),
                returns=event == "re-entry" and n % 2 == 0,
            )
        )
    return photographed(rng, 2 * SIDE), walkers


def _seen(canvas: Pixels, camera: NDArray[np.float64]) -> Pixels:
    offset = SIDE / 2 + camera
    matrix = np.array([[1, 0, -offset[0]], [0, 1, -offset[1]]])
    return np.asarray(cv2.warpAffine(canvas, matrix, (SIDE, SIDE)), dtype=np.uint8)


def _draw(frame: Pixels, walker: Walker, left: float, camera: NDArray[np.float64]) -> list[float]:
    """Paint a walker; its box `xyxy`, also where that lies outside of the frame."""
    height, width = walker.patch.shape[:2]
    x, y = left - camera[0], walker.feet - height - camera[1]
    x0, y0 = round(x), round(y)
    a, b, c, d = max(x0, 0), max(y0, 0), min(x0 + width, SIDE), min(y0 + height, SIDE)
    if a < c and b < d:
        patch = walker.patch[b - y0 : d - y0, a - x0 : c - x0].astype(np.float32)
        alpha = patch[..., 3:] / 255
        frame[b:d, a:c] = frame[b:d, a:c] * (1 - alpha) + patch[..., :3] * alpha
    return [x, y, x + width, y + height]


def _share_seen(box: list[float], wall: list[float]) -> float:
    left, top, right, bottom = box
    x0, x1 = max(left, 0), min(right, SIDE)
    hidden = max(0.0, min(x1, wall[1]) - max(x0, wall[0]))
    rows = min(bottom, SIDE) - max(top, 0)
    return max(0.0, x1 - x0 - hidden) * max(0.0, rows) / ((right - left) * (bottom - top))
