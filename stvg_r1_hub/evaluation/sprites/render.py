"""Sprite-world scenes to pixels and true boxes.

Sprites are drawn with OpenCV's affine warp from pictures that were first reduced to about the
wanted size, so that small ones do not alias.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stvg_r1_hub.evaluation.sprites.scene import Pose, Scene, SceneObject
from stvg_r1_hub.structures import Pixels

_EMOJI = Path(__file__).parents[2] / "bundled" / "emoji"
_SIZE_STEP = 1.15
"""Cached sprite sizes grow by this factor."""


@functools.cache
def _picture(kind: str, flipped: bool) -> NDArray[np.uint8]:
    """`(S, S, 4)` RGBA with premultiplied alpha, cropped to its visible square."""
    with Image.open(_EMOJI / f"{kind}.webp") as image:
        rgba = np.asarray(image.convert("RGBA"))
    if flipped:
        rgba = rgba[:, ::-1]
    alpha = rgba[..., 3:].astype(np.uint16)
    return np.ascontiguousarray(
        np.concatenate([(rgba[..., :3] * alpha + 127) // 255, alpha], axis=-1).astype(np.uint8)
    )


@functools.cache
def _outline(kind: str, flipped: bool) -> NDArray[np.float64]:
    """`(P, 2)` convex hull of the visible pixels' corners, in fractions of the picture, centred."""
    picture = _picture(kind, flipped)
    ys, xs = np.nonzero(picture[..., 3] > 64)
    corners = np.concatenate([np.stack([xs + dx, ys + dy], 1) for dx in (0, 1) for dy in (0, 1)])
    hull = cv2.convexHull(corners.astype(np.float32))[:, 0]
    return np.asarray(hull, dtype=np.float64) / len(picture) - 0.5


@functools.cache
def _reduced(kind: str, flipped: bool, step: int) -> NDArray[np.uint8]:
    side = max(4, round(8 * _SIZE_STEP**step))
    picture = _picture(kind, flipped)
    if side >= len(picture):
        return picture
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def true_box(thing: SceneObject, pose: Pose, side: int) -> NDArray[np.float32]:
    """`(4,)` tight xyxy box of an object's visible pixels in a frame of `side` pixels."""
    radians = np.deg2rad(pose.angle)
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    points = _outline(thing.kind, thing.flipped) @ turn.T * pose.size + (pose.x, pose.y)
    low, high = points.min(axis=0), points.max(axis=0)
    box: NDArray[np.float32] = np.clip(np.concatenate([low, high]) * side, 0, side).astype(
        np.float32
    )
    return box


def background(scene: Scene, side: int) -> Pixels:
    """`(side, side, 3)` a smooth two-coloured backdrop with soft blobs; never red."""
    rng = np.random.default_rng([*scene.seed, 1])
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


def _draw(frame: Pixels, thing: SceneObject, pose: Pose) -> None:
    side = len(frame)
    wanted = pose.size * side
    sprite = _reduced(
        thing.kind, thing.flipped, int(np.ceil(np.log(wanted / 8) / np.log(_SIZE_STEP)))
    )
    half = int(np.ceil(wanted * (0.75 if pose.angle else 0.5))) + 1
    left, top = round(pose.x * side) - half, round(pose.y * side) - half
    warp = cv2.getRotationMatrix2D(((len(sprite) - 1) / 2,) * 2, pose.angle, wanted / len(sprite))
    warp[0, 2] += pose.x * side - 0.5 - left - (len(sprite) - 1) / 2
    warp[1, 2] += pose.y * side - 0.5 - top - (len(sprite) - 1) / 2
    patch = cv2.warpAffine(sprite, warp, (2 * half, 2 * half), flags=cv2.INTER_LINEAR)
    x0, y0, x1, y1 = (
        max(left, 0),
        max(top, 0),
        min(left + 2 * half, side),
        min(top + 2 * half, side),
    )
    if x0 >= x1 or y0 >= y1:
        return
    patch = patch[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.uint16)
    under = frame[y0:y1, x0:x1].astype(np.uint16)
    frame[y0:y1, x0:x1] = patch[..., :3] + (under * (255 - patch[..., 3:]) + 127) // 255


def render(scene: Scene, side: int, times_seconds: Sequence[float]) -> Iterator[Pixels]:
    """Frames of a scene at the given times, `(side, side, 3)` uint8 RGB each."""
    backdrop = background(scene, side)
    for seconds in times_seconds:
        frame = backdrop.copy()
        for thing in scene.objects:
            _draw(frame, thing, thing.pose(seconds))
        yield frame
