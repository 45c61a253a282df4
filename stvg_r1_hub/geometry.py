"""Boxes, run-length masks, and the one conversion between seconds and frames.

Boxes are `xyxy` with right and bottom exclusive, so a box's width is `x2 - x1`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stvg_r1_hub.structures import RLE


def box_area(boxes: ArrayLike) -> NDArray[np.float64]:
    """Area of boxes `(..., 4)` in square pixels; an inverted box has area 0."""
    b = np.asarray(boxes, dtype=np.float64)
    return np.clip(b[..., 2] - b[..., 0], 0, None) * np.clip(b[..., 3] - b[..., 1], 0, None)


def box_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of boxes `(N, 4)` and `(M, 4)`, as `(N, M)` in 0..1.

    Two empty boxes have IoU 0.
    """
    a = np.asarray(a, dtype=np.float64).reshape(-1, 1, 4)
    b = np.asarray(b, dtype=np.float64).reshape(1, -1, 4)
    corner = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.prod(np.clip(corner, 0, None), axis=-1)
    union = box_area(a) + box_area(b) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def paired_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """IoU of boxes at the same position of two `(N, 4)` arrays, as `(N,)`."""
    a = np.asarray(a, dtype=np.float64).reshape(-1, 4)
    b = np.asarray(b, dtype=np.float64).reshape(-1, 4)
    corner = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    intersection = np.prod(np.clip(corner, 0, None), axis=-1)
    union = box_area(a) + box_area(b) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def frames_in_range(
    frame_times: NDArray[np.float64], start_seconds: float, end_seconds: float
) -> range:
    """Native frames with `start_seconds <= time < end_seconds`, given ascending `(F,)` times."""
    first = int(np.searchsorted(frame_times, start_seconds, side="left"))
    stop = int(np.searchsorted(frame_times, end_seconds, side="left"))
    return range(first, max(first, stop))


def encode_mask(mask: NDArray[Any]) -> RLE:
    """Run-length encode a `(H, W)` mask the COCO way (column-major runs, base-48 text)."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate(([0], changes, [flat.size])) if flat.size else np.array([0, 0])
    runs = np.diff(edges).tolist()
    if flat.size and flat[0]:
        runs.insert(0, 0)
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": _runs_to_text(runs)}


def decode_mask(rle: RLE) -> NDArray[np.bool_]:
    """Inverse of `encode_mask`: a `(H, W)` bool array.

    Raises:
        ValueError: the runs do not fill the mask.
    """
    height, width = rle["size"]
    runs = _text_to_runs(rle["counts"])
    if sum(runs) != height * width or any(run < 0 for run in runs):
        raise ValueError(f"RLE of a {height}x{width} mask covers {sum(runs)} pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def mask_area(rle: RLE) -> int:
    """Number of foreground pixels, without decoding the mask."""
    return sum(_text_to_runs(rle["counts"])[1::2])


def _runs_to_text(runs: list[int]) -> str:
    # COCO's own compression: each run as the difference to the one two before, in 5-bit groups.
    text = []
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            more = value != -1 if group & 0x10 else value != 0
            text.append(chr(group + (0x20 if more else 0) + 48))
    return "".join(text)


def _text_to_runs(text: str | bytes) -> list[int]:
    data = text.encode("ascii") if isinstance(text, str) else text
    runs: list[int] = []
    position = 0
    while position < len(data):
        value = shift = 0
        more = True
        while more:
            group = data[position] - 48
            value |= (group & 0x1F) << shift
            more = bool(group & 0x20)
            position += 1
            shift += 5
            if not more and group & 0x10:
                value |= -1 << shift
        if len(runs) > 2:
            value += runs[-2]
        runs.append(value)
    return runs
