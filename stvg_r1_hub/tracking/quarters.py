"""A crowd of small objects, looked at in four overlapping quarters, where each is larger.

A detector misses objects that are much smaller than those it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stvg_r1_hub.geometry import box_area
from stvg_r1_hub.structures import Detections, Pixels

CROWD = 6
"""Fewer objects are no crowd: the frame as a whole is enough."""
_SIDE = 0.6
"""Side of a quarter, as a share of the frame's: what is smaller than a fifth is whole in one."""
_EDGE = 2.0
"""A box that ends within so many pixels of a quarter's inner edge is cut there."""


def is_small_crowd(found: Detections, height: int, width: int, smallest: float) -> bool:
    """Whether most objects of a crowd are smaller than this share of the frame's side."""
    largest = smallest**2 * height * width
    return len(found) >= CROWD and bool(np.median(box_area(found.boxes)) < largest)


def in_quarters(
    pixels: Pixels, whole: Detections, detect: Callable[[Sequence[Pixels]], list[Detections]]
) -> Detections:
    """Small objects as the quarters of a frame show them, large ones as the whole does.

    Args:
        pixels: `(H, W, 3)` uint8 RGB.
        whole: what was seen in it.
        detect: sees the objects of some frames.

    Returns:
        Objects where quarters overlap come twice.
    """
    height, width = pixels.shape[:2]
    h, w = round(_SIDE * height), round(_SIDE * width)
    places = [(x, y) for y in (0, height - h) for x in (0, width - w)]
    views = [np.ascontiguousarray(pixels[y : y + h, x : x + w]) for x, y in places]
    sides = whole.boxes[:, 2:] - whole.boxes[:, :2]
    is_large = (sides > [2 * w - width, 2 * h - height]).any(axis=1)
    parts = [(whole.boxes, whole.scores, whole.class_ids, is_large)]
    for (x, y), found in zip(places, detect(views), strict=True):
        left, top, right, bottom = found.boxes.T
        is_cut = (left < _EDGE if x else right > w - _EDGE) | (
            top < _EDGE if y else bottom > h - _EDGE
        )
        moved = found.boxes + np.array([x, y, x, y], dtype=np.float32)
        parts.append((moved, found.scores, found.class_ids, ~is_cut))
    boxes, scores, class_ids, kept = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Detections(boxes[kept], scores[kept], class_ids[kept])
