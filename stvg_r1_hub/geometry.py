"""Boxes, run-length masks, and the one conversion between seconds and frames.

Boxes are `xyxy` with right and bottom exclusive, so a box's width is `x2 - x1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stvg_r1_hub.structures import RLE, Range


def box_area(boxes: ArrayLike) -> NDArray[np.float64]:
    """Area of boxes `(..., 4)` in square pixels; an inverted box has area 0."""
    b = np.asarray(boxes, dtype=np.float64)
    return np.clip(b[..., 2] - b[..., 0], 0, None) * np.clip(b[..., 3] - b[..., 1], 0, None)


def box_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of boxes `(N, 4)` and `(M, 4)`, as `(N, M)` in 0..1.

    Two empty boxes have IoU 0.
    """
    return _iou(
        np.asarray(a, dtype=np.float64).reshape(-1, 1, 4),
        np.asarray(b, dtype=np.float64).reshape(1, -1, 4),
    )


def paired_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """IoU of boxes at the same position of two `(N, 4)` arrays, as `(N,)`."""
    return _iou(
        np.asarray(a, dtype=np.float64).reshape(-1, 4),
        np.asarray(b, dtype=np.float64).reshape(-1, 4),
    )


def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    corner = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.prod(np.clip(corner, 0, None), axis=-1)
    union = box_area(a) + box_area(b) - intersection
    iou: NDArray[np.float64] = np.divide(
        intersection, union, out=np.zeros_like(union), where=union > 0
    )
    return iou


def joined_ranges(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Half-open ranges in order, those that overlap or touch as one; empty ones go."""
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        elif start < end:
            joined.append((start, end))
    return tuple(joined)


def ranges_text(ranges: Sequence[Range]) -> str:
    """Time ranges for people: `"1.00 to 2.50 and 4.00 to 6.00 s"`."""
    return " and ".join(f"{start:.2f} to {end:.2f}" for start, end in ranges) + " s"


def frames_in_range(
    frame_times: NDArray[np.float64], start_seconds: float, end_seconds: float
) -> range:
    """Native frames with `start_seconds <= time < end_seconds`, given ascending `(F,)` times."""
    first = int(np.searchsorted(frame_times, start_seconds, side="left"))
    stop = int(np.searchsorted(frame_times, end_seconds, side="left"))
    return range(first, max(first, stop))


def encode_mask(mask: NDArray[Any]) -> RLE:
    """Run-length encode a `(H, W)` mask the COCO way (column-major runs, base-48 text)."""
    mask = np.asarray(mask, dtype=bool)
    height, width = mask.shape
    columns = np.flatnonzero(mask.any(axis=0))
    # What an object covers is a small part of a frame, and turning rows to columns is the work.
    first, stop = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 0)
    column_major = mask[:, first:stop].ravel(order="F")
    changes = np.flatnonzero(np.diff(column_major, prepend=False, append=False)) + first * height
    return _rle(changes, height, width)


def encode_labels(
    labels: NDArray[np.uint16], n_objects: int
) -> list[tuple[RLE, NDArray[np.float32]] | None]:
    """Masks and boxes of all objects of a `(H, W)` label map, in one pass over its pixels.

    Args:
        labels: 0 for none, else the number of the object that is seen there, from 1 on.
        n_objects: the highest number that there may be.

    Returns:
        For each object what `encode_mask` and `box_of_mask` give for it; None for one not seen.
    """
    import cv2

    height, width = labels.shape
    column_major = cv2.transpose(labels).ravel()
    edges = np.flatnonzero(column_major[1:] != column_major[:-1]) + 1
    starts, stops = np.r_[0, edges], np.r_[edges, labels.size]
    owners = column_major[starts]
    seen: list[tuple[RLE, NDArray[np.float32]] | None] = []
    for number in range(1, n_objects + 1):
        runs = owners == number
        if not runs.any():
            seen.append(None)
            continue
        start, last = starts[runs], stops[runs] - 1
        (left, right), (top, bottom) = (
            (start // height, last // height),
            (start % height, last % height),
        )
        # A run that goes on in the next column touches the bottom of one and the top of the other.
        across = left != right
        low, high = np.where(across, 0, top).min(), np.where(across, height - 1, bottom).max()
        box = np.array([left[0], low, right[-1] + 1, high + 1], dtype=np.float32)
        changes = np.stack([start, last + 1], axis=1).ravel()
        seen.append((_rle(changes, height, width), box))
    return seen


def _rle(changes: NDArray[np.int64], height: int, width: int) -> RLE:
    """The mask whose pixels, column by column, begin and end at these places in turn."""
    runs = np.diff(np.concatenate(([0], changes, [height * width])))
    if len(changes) and runs[-1] == 0:
        runs = runs[:-1]
    return {"size": [height, width], "counts": _runs_to_text(runs)}


def decode_mask(rle: RLE) -> NDArray[np.bool_]:
    """Inverse of `encode_mask`: a `(H, W)` bool array.

    Raises:
        ValueError: the runs do not fill the mask.
    """
    height, width = rle["size"]
    runs = mask_runs(rle)
    if runs.sum() != height * width or bool(np.any(runs < 0)):
        raise ValueError(f"RLE of a {height}x{width} mask covers {runs.sum()} pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def union_of_masks(masks: Sequence[RLE]) -> RLE:
    """One mask that covers what any of at least one mask covers, from their runs alone.

    Raises:
        ValueError: masks of different sizes.
    """
    height, width = masks[0]["size"]
    if any(mask["size"] != masks[0]["size"] for mask in masks):
        raise ValueError(f"masks of different sizes, {[mask['size'] for mask in masks]}")
    if len(masks) == 1:
        return masks[0]
    edges = [np.cumsum(mask_runs(mask)) for mask in masks]
    # Between two cuts a mask is foreground where an odd number of its edges lies before.
    cuts = np.unique(np.concatenate(edges))
    starts = np.concatenate(([0], cuts[:-1]))
    covered = np.zeros(len(cuts), dtype=bool)
    for edge in edges:
        covered |= np.searchsorted(edge, starts, side="right") % 2 == 1
    return encode_mask(np.repeat(covered, cuts - starts).reshape((height, width), order="F"))


def box_of_mask(mask: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """`(4,)` xyxy around a `(H, W)` mask, right and bottom exclusive; None for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float32)


def mask_area(rle: RLE) -> int:
    """Number of foreground pixels, without decoding the mask."""
    return int(mask_runs(rle)[1::2].sum())


def _runs_to_text(runs: NDArray[np.int64]) -> str:
    # COCO's own compression: each run as the difference to the one two before, in 5-bit groups,
    # the lowest first; the sign of the last group is the number's.
    values = runs.astype(np.int64)
    values[3:] -= runs[1:-2]
    n_groups = np.ones(len(values), dtype=np.int64)
    while (longer := ~np.isin(values >> (5 * n_groups - 1), (0, -1))).any():
        n_groups += longer
    place = np.arange(n_groups.max(initial=1))
    groups = (values[:, None] >> (5 * place)) & 0x1F
    characters = groups + 48 + 0x20 * (place < n_groups[:, None] - 1)
    return bytes(characters[place < n_groups[:, None]].astype(np.uint8)).decode("ascii")


def mask_runs(rle: RLE) -> NDArray[np.int64]:
    """Lengths of the column-major runs of a mask, background first, as `(R,)`.

    Raises:
        ValueError: the text ends within a number.
    """
    counts: str | bytes = rle["counts"]
    data = np.frombuffer(counts.encode("ascii") if isinstance(counts, str) else counts, np.uint8)
    groups = data.astype(np.int64) - 48
    ends = np.flatnonzero((groups & 0x20) == 0)
    if len(groups) and (not len(ends) or ends[-1] != len(groups) - 1):
        raise ValueError(f"RLE text ends within a number: ...{rle['counts'][-8:]!r}")
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    starts = np.concatenate(([0], ends[:-1] + 1))
    digits = np.arange(len(groups)) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((groups & 0x1F) << (5 * digits), starts)
    negative = (groups[ends] & 0x10) != 0
    values -= np.where(negative, np.int64(1) << (5 * (ends - starts + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
