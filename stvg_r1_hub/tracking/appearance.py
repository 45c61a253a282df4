"""What an object looks like, and where the film was cut: both from pixels of the one decode pass.

An *appearance* is a colour histogram in CIELAB of the upper and the lower half of a box, weighted
towards the middle of the box so that background counts little. Its entries are square roots of
shares, so the dot product b of two of them is their Bhattacharyya coefficient and sqrt(1 - b) their
Hellinger distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.structures import Pixels

PATCH_HEIGHT, PATCH_WIDTH = 24, 12
_SAMPLES = 8
"""Pixels of a side of the area that one value stands for which are looked at, at least."""
LIGHTNESS_BINS, COLOR_BINS = 6, 8
APPEARANCE_SIZE = 2 * (LIGHTNESS_BINS + 2 * COLOR_BINS)
"""Length of an appearance: two halves of the box, one lightness and two colour histograms each."""

# A plain camera picture uses a third of the a* and b* range; the rest falls into the end bins.
_COLOR_STRETCH = 3.0

THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH = 12, 16
_CUT_CHANGE = 0.1
_CUT_CONTRAST = 3.0
_CUT_WINDOW = 6
_FLASH_RETURN = 0.6


def _middle_weights() -> NDArray[np.float64]:
    y = (np.arange(PATCH_HEIGHT) + 0.5) / PATCH_HEIGHT - 0.5
    x = (np.arange(PATCH_WIDTH) + 0.5) / PATCH_WIDTH - 0.5
    weights = np.exp(-((x / 0.25) ** 2) / 2)[None] * np.exp(-((y / 0.35) ** 2) / 2)[:, None]
    return np.asarray(weights, dtype=np.float64)


_WEIGHTS = _middle_weights()


def cut_patches(pixels: Pixels, boxes: NDArray[np.float32]) -> Pixels:
    """What is in the boxes of one frame, as `(N, PATCH_HEIGHT, PATCH_WIDTH, 3)` uint8 RGB.

    Args:
        pixels: `(H, W, 3)` uint8 RGB.
        boxes: `(N, 4)` xyxy pixels; parts outside the frame are ignored.
    """
    height, width = pixels.shape[:2]
    limits = np.array([width, height, width, height])
    corners = np.clip(np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], 1), 0, limits)
    patches = np.empty((len(boxes), PATCH_HEIGHT, PATCH_WIDTH, 3), np.uint8)
    for n, (left, top, right, bottom) in enumerate(corners.astype(int).tolist()):
        left, top = min(left, width - 1), min(top, height - 1)
        crop = pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
        patches[n] = shrink(crop, PATCH_HEIGHT, PATCH_WIDTH)
    return patches


def appearance_of(patches: Pixels) -> NDArray[np.float32]:
    """Appearance of patches as `cut_patches` cuts them, from any number of frames.

    Returns:
        `(N, APPEARANCE_SIZE)` float32, each row of length 1.
    """
    import cv2

    n = len(patches)
    if n == 0:
        return np.zeros((0, APPEARANCE_SIZE), np.float32)
    lab = cv2.cvtColor(patches.reshape(-1, PATCH_WIDTH, 3), cv2.COLOR_RGB2LAB).astype(np.float64)
    lab /= 255
    lab[..., 1:] = np.clip((lab[..., 1:] - 0.5) * _COLOR_STRETCH + 0.5, 0, 1)
    halves = lab.reshape(n * 2, -1, 3)
    weights = np.tile(_WEIGHTS.reshape(2, -1), (n, 1))
    bins = (LIGHTNESS_BINS, COLOR_BINS, COLOR_BINS)
    parts = [
        _soft_histogram(halves[..., c], weights, bin_count) for c, bin_count in enumerate(bins)
    ]
    histograms = np.concatenate(parts, axis=1).reshape(n, APPEARANCE_SIZE)
    return np.asarray(np.sqrt(histograms / histograms.sum(axis=1, keepdims=True)), dtype=np.float32)


def shrink(pixels: Pixels, height: int, width: int) -> Pixels:
    """`(H, W, 3)` uint8 to `(height, width, 3)`, each value the mean of the area that it covers.

    Of a large area a grid of its pixels is enough, at least `_SAMPLES` to a side.
    """
    import cv2

    down = max(1, pixels.shape[0] // (_SAMPLES * height))
    across = max(1, pixels.shape[1] // (_SAMPLES * width))
    # A pixel as one value: three would be copied one by one.
    whole = pixels.view("V3")[down // 2 :: down, across // 2 :: across]
    grid = np.ascontiguousarray(whole).view(np.uint8)
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _soft_histogram(
    values: NDArray[np.float64], weights: NDArray[np.float64], n_bins: int
) -> NDArray[np.float64]:
    """Histograms `(R, n_bins)` of rows `(R, P)` in 0..1, each value shared by two bins."""
    place = values * n_bins - 0.5
    low = np.floor(place).astype(int)
    share = place - low
    rows = np.arange(len(values))[:, None] * n_bins
    size = len(values) * n_bins
    lower = (rows + np.clip(low, 0, n_bins - 1)).ravel()
    upper = (rows + np.clip(low + 1, 0, n_bins - 1)).ravel()
    total = np.bincount(lower, (weights * (1 - share)).ravel(), size).astype(np.float64)
    total += np.bincount(upper, (weights * share).ravel(), size)
    return np.asarray(total.reshape(len(values), n_bins))


def thumbnail(pixels: Pixels) -> Pixels:
    """Shrink a frame to the `(12, 16, 3)` picture that `find_cuts` compares."""
    return shrink(pixels, THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH)


def find_cuts(thumbnails: NDArray[np.uint8]) -> list[int]:
    """Positions where a new scene begins.

    A cut changes the whole picture (mean change of a tenth of the range), much more than the
    frames around it do (so a pan is none), and for good (so a flash is none).

    Args:
        thumbnails: `(T, 12, 16, 3)` uint8, consecutive frames made by `thumbnail`.

    Returns:
        Ascending positions in 1..T-1, each the first frame of a scene.
    """
    shots = thumbnails.astype(np.float64) / 255
    change = np.abs(np.diff(shots, axis=0)).mean(axis=(1, 2, 3))
    cuts = []
    for i in np.flatnonzero(change > _CUT_CHANGE).tolist():
        around = np.r_[change[max(0, i - _CUT_WINDOW) : i], change[i + 1 : i + 1 + _CUT_WINDOW]]
        usual = float(np.median(around)) if len(around) else 0.0
        returns = (
            i + 2 < len(shots)
            and np.abs(shots[i + 2] - shots[i]).mean() < _FLASH_RETURN * change[i]
        ) or (i > 0 and np.abs(shots[i + 1] - shots[i - 1]).mean() < _FLASH_RETURN * change[i])
        if change[i] > _CUT_CONTRAST * usual and not returns:
            cuts.append(i + 1)
    return cuts
