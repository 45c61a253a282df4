"""Agreement of masks: region similarity J, boundary accuracy F, and their statistics.

Definitions: "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation" (DAVIS
2016) and its 2017 evaluation; MeViS uses the same per-frame measures. Exact agreement with
davis2017-evaluation @ ac7c43f and henghuiding/MeViS @ 7c0620b is tested. All values are in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stvg_r1_hub.geometry import decode_mask, encode_mask, mask_area, mask_runs
from stvg_r1_hub.structures import RLE

BOUNDARY_SHARE = 0.008
"""Tolerance of a boundary, as a share of the image diagonal."""

Mask = NDArray[np.bool_]


def empty_mask(height: int, width: int) -> RLE:
    """A mask without a pixel."""
    return encode_mask(np.zeros((height, width), dtype=bool))


def intersection_area(a: RLE, b: RLE) -> int:
    """Pixels in both masks, from their run lengths alone.

    Raises:
        ValueError: masks of different sizes.
    """
    _check_sizes(a, b)
    edges_a, edges_b = np.cumsum(mask_runs(a)), np.cumsum(mask_runs(b))
    # Cut both at all edges; a piece is foreground where an odd number of edges lies before it.
    cuts = np.union1d(edges_a, edges_b)
    starts = np.concatenate(([0], cuts[:-1]))
    in_a = np.searchsorted(edges_a, starts, side="right") % 2 == 1
    in_b = np.searchsorted(edges_b, starts, side="right") % 2 == 1
    return int((cuts - starts)[in_a & in_b].sum())


def region_similarity(truth: RLE, predicted: RLE) -> float:
    """J: intersection over union of two masks; 1 when both are empty.

    Raises:
        ValueError: masks of different sizes.
    """
    intersection = intersection_area(truth, predicted)
    union = mask_area(truth) + mask_area(predicted) - intersection
    return intersection / union if union else 1.0


def boundary_accuracy(truth: RLE, predicted: RLE) -> float:
    """F: harmonic mean of how much of each boundary lies near the other one.

    Near is within a disk of `BOUNDARY_SHARE` times the image diagonal, rounded up. Boundary pixels
    lie half a pixel to the top left; the bottom right pixel is never one. Two masks without
    boundary agree (1), also when one of them covers the whole frame; 0 is given if only one has a
    boundary.

    Raises:
        ValueError: masks of different sizes.
    """
    _check_sizes(truth, predicted)
    ours, theirs = decode_mask(predicted), decode_mask(truth)
    height, width = theirs.shape
    radius = math.ceil(BOUNDARY_SHARE * math.hypot(height, width))
    edge, true_edge = mask_boundary(ours), mask_boundary(theirs)
    n_edge, n_true = int(edge.sum()), int(true_edge.sum())
    if n_edge == 0 and n_true == 0:
        return 1.0
    if n_edge == 0 or n_true == 0:
        return 0.0
    precision = int((edge & _grown(true_edge, radius)).sum()) / n_edge
    recalled = int((true_edge & _grown(edge, radius)).sum()) / n_true
    total = precision + recalled
    return 2 * precision * recalled / total if total else 0.0


def mask_boundary(mask: Mask) -> Mask:
    """`(H, W)` pixels that differ from their right, lower or lower right neighbour.

    The last row and column look only along themselves; the bottom right pixel is none.
    """
    right, below = np.zeros_like(mask), np.zeros_like(mask)
    right[:, :-1] = mask[:, :-1] ^ mask[:, 1:]
    below[:-1] = mask[:-1] ^ mask[1:]
    diagonal = np.zeros_like(mask)
    diagonal[:-1, :-1] = mask[:-1, :-1] ^ mask[1:, 1:]
    return right | below | diagonal


def _grown(edge: Mask, radius: int) -> Mask:
    """Pixels within a disk of some pixel of the edge."""
    import cv2

    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    return cv2.dilate(edge.astype(np.uint8), disk).astype(bool)


def _check_sizes(a: RLE, b: RLE) -> None:
    if list(a["size"]) != list(b["size"]):
        raise ValueError(f"masks of different sizes, {a['size']} and {b['size']} [height, width]")


@dataclass(frozen=True)
class MaskScores:
    """J and F of one object through a clip, as means over its frames."""

    region: float
    boundary: float

    @property
    def mean(self) -> float:
        """J&F."""
        return (self.region + self.boundary) / 2


def score_masks(truth: Sequence[RLE | None], predicted: Sequence[RLE | None]) -> MaskScores:
    """J and F over all frames of a clip; None counts as an empty mask.

    Raises:
        ValueError: other numbers of frames, or masks of different sizes.
    """
    if len(truth) != len(predicted):
        raise ValueError(f"{len(predicted)} masks for {len(truth)} true ones; give one a frame")
    region, boundary = [], []
    for true, ours in zip(truth, predicted, strict=True):
        sized = true or ours
        if sized is None:
            region.append(1.0)
            boundary.append(1.0)
            continue
        blank = empty_mask(sized["size"][0], sized["size"][1])
        region.append(region_similarity(true or blank, ours or blank))
        boundary.append(boundary_accuracy(true or blank, ours or blank))
    return MaskScores(float(np.mean(region)), float(np.mean(boundary)))


def frame_statistics(values: ArrayLike) -> tuple[float, float, float]:
    """Mean, recall and decay of `(T,)` per-frame values, as DAVIS reports them.

    Recall is the share above 0.5. Decay is the mean of the first quarter of the frames minus that
    of the last; the quarters share a border by DAVIS' own rounding (which wraps around after 255
    frames in the original; here it does not).

    Raises:
        ValueError: no values.
    """
    scores = np.asarray(values, dtype=np.float64)
    if not scores.size:
        raise ValueError("statistics of no frames")
    borders = np.round(np.linspace(1, len(scores), 5) + 1e-10).astype(int) - 1
    quarters = [scores[borders[i] : borders[i + 1] + 1] for i in range(4)]
    decay = float(np.mean(quarters[0]) - np.mean(quarters[3]))
    return float(scores.mean()), float((scores > 0.5).mean()), decay
