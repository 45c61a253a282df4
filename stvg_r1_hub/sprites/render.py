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

from stvg_r1_hub.sprites.backdrops import background
from stvg_r1_hub.sprites.motion import Poses, SceneObject
from stvg_r1_hub.sprites.scene import TINTS, Scene
from stvg_r1_hub.structures import Pixels

_EMOJI = Path(__file__).parents[1] / "bundled" / "emoji"
_SIZE_STEP = 1.15
"""Cached sprite sizes grow by this factor."""
IN_VIEW = 0.3
"""Share of an object's box that must lie inside the frame for it to count as there."""


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
def _reduced(kind: str, flipped: bool, tint: str, step: int) -> NDArray[np.uint8]:
    side = max(4, round(8 * _SIZE_STEP**step))
    picture = _picture(kind, flipped)
    if tint:
        picture = _dipped(picture, TINTS[tint])
    if side >= len(picture):
        return picture
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _dipped(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The picture in one colour, its light and shade kept."""
    alpha = picture[..., 3:].astype(np.float32) / 255
    light = picture[..., :3].astype(np.float32).mean(-1, keepdims=True)
    tinted = np.array(color, np.float32) * (0.35 * alpha + 0.65 * light / 200)
    mixed = np.clip(0.7 * tinted + 0.3 * picture[..., :3], 0, 255 * alpha)
    return np.concatenate([mixed.astype(np.uint8), picture[..., 3:]], axis=-1)


def full_boxes(thing: SceneObject, poses: Poses, side: int) -> NDArray[np.float32]:
    """`(T, 4)` tight xyxy boxes of all of an object, what lies outside the frame included.

    Args:
        thing: gives the outline.
        poses: as the camera sees them, at T instants.
        side: of the frame, in pixels.
    """
    outline = _outline(thing.kind, thing.flipped)
    radians = np.deg2rad(poses.angle)
    cos, sin = np.cos(radians)[:, None], np.sin(radians)[:, None]
    x = outline[:, 0] * poses.stretch[:, None]
    y = outline[None, :, 1]
    turned_x = (x * cos + y * sin) * poses.size[:, None] + poses.x[:, None]
    turned_y = (y * cos - x * sin) * poses.size[:, None] + poses.y[:, None]
    edges = [turned_x.min(1), turned_y.min(1), turned_x.max(1), turned_y.max(1)]
    boxes: NDArray[np.float32] = (np.stack(edges, axis=1) * side).astype(np.float32)
    return boxes


def true_boxes(
    thing: SceneObject, poses: Poses, side: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Boxes clipped to the frame, `(T, 4)` xyxy, and where enough is in view to count, `(T,)`.

    An object counts while at least `IN_VIEW` of its box lies inside the frame, covered or not.
    """
    full = full_boxes(thing, poses, side)
    clipped = np.clip(full, 0, side)
    inside = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1)
    whole = np.prod(full[:, 2:] - full[:, :2], axis=1)
    return clipped, inside >= IN_VIEW * whole


def _draw(frame: Pixels, thing: SceneObject, pose: Poses, t: int) -> None:
    side = len(frame)
    x, y, angle = float(pose.x[t]), float(pose.y[t]), float(pose.angle[t])
    wanted, stretch = float(pose.size[t]) * side, float(pose.stretch[t])
    if wanted < 1:
        return
    step = int(np.ceil(np.log(wanted / 8) / np.log(_SIZE_STEP)))
    sprite = _reduced(thing.kind, thing.flipped, thing.tint, step)
    half = int(np.ceil(wanted * (0.75 if angle else 0.5))) + 1
    left, top = round(x * side) - half, round(y * side) - half
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + 2 * half, side), min(top + 2 * half, side)
    if x0 >= x1 or y0 >= y1:
        return
    middle = (len(sprite) - 1) / 2
    warp = cv2.getRotationMatrix2D((middle, middle), angle, wanted / len(sprite))
    if stretch != 1.0:
        squeeze = np.array([[stretch, 0, middle * (1 - stretch)], [0, 1, 0], [0, 0, 1]])
        warp = warp @ squeeze
    warp[0, 2] += x * side - 0.5 - left - middle
    warp[1, 2] += y * side - 0.5 - top - middle
    patch = cv2.warpAffine(sprite, warp, (2 * half, 2 * half), flags=cv2.INTER_LINEAR)
    patch = patch[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.uint16)
    if pose.opacity[t] < 1:
        patch = patch * int(256 * pose.opacity[t]) // 256
    under = frame[y0:y1, x0:x1].astype(np.uint16)
    frame[y0:y1, x0:x1] = patch[..., :3] + (under * (255 - patch[..., 3:]) + 127) // 255


def render(scene: Scene, side: int, times_seconds: Sequence[float]) -> Iterator[Pixels]:
    """Frames of a scene at the given times, `(side, side, 3)` uint8 RGB each."""
    times = np.asarray(times_seconds, dtype=np.float64)
    views = scene.camera.view(times, scene.duration_seconds)
    far_to_near = sorted(scene.objects, key=lambda thing: thing.depth)
    poses = [scene.poses(thing, times) for thing in far_to_near]
    for t in range(len(times)):
        frame = background(scene, side, views[t]).copy()
        for thing, pose in zip(far_to_near, poses, strict=True):
            _draw(frame, thing, pose, t)
        yield frame
