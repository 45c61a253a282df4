"""How the background moves between sampled frames, to be taken out of what objects do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.structures import Frames, Tracks

_WIDTH = 320
"""Frames are compared at about this width."""
_POINTS, _QUALITY, _APART = 200, 0.01, 8
_FEWEST_POINTS = 12
_WHOLE = 0.5
"""The background moves as one where at least this share of its points agree."""
_MOVES = 0.002
"""Widths a second below which the camera rests: a tenth of what a far person walks."""


@dataclass(frozen=True, eq=False)
class CameraMotion:
    """The background between consecutive sampled frames, K intervals."""

    times_seconds: NDArray[np.float64]
    """`(K + 1,)` ascending instants of the samples."""
    rates: NDArray[np.float64]
    """`(K, 3)` a point `p` at offset `p - centre` moves by `rates[:2] + rates[2] * offset` pixels a
    second: shift in x, shift in y, and growth of the scale."""
    centre: tuple[float, float]
    """Of the frame, in pixels."""

    @property
    def moves(self) -> bool:
        """Whether the camera moves for at least half of the clip."""
        return bool(len(self.rates) and np.median(np.abs(self.rates).max(axis=1)) > 0)

    def at(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(T, 3)` rates at T instants; those of the nearest interval outside of the samples."""
        if not len(self.rates):
            return np.zeros((len(seconds), 3))
        interval = np.searchsorted(self.times_seconds, seconds, side="right") - 1
        return self.rates[np.clip(interval, 0, len(self.rates) - 1)]


def camera_motion(frames: Frames, tracks: Tracks) -> CameraMotion:
    """Follow corners of the background from sample to sample (Lucas-Kanade) and fit shift and zoom.

    Points inside of boxes are left out. An interval in which fewer than half of the points agree
    on one movement, or that has too few, counts as a camera at rest.
    """
    import cv2

    height, width = frames.pixels.shape[1:3]
    scale = min(1.0, _WIDTH / width)
    # Repeated frames at the end of a short sample have no time between them.
    new = np.flatnonzero(np.diff(frames.times_seconds, prepend=-1.0) > 0)
    small = [
        cv2.resize(
            cv2.cvtColor(frames.pixels[i], cv2.COLOR_RGB2GRAY), None, fx=scale, fy=scale,
            interpolation=cv2.INTER_AREA,
        )
        for i in new
    ]  # fmt: skip
    times = frames.times_seconds[new]
    rates = np.zeros((max(0, len(new) - 1), 3))
    centre = (width / 2, height / 2)
    for k in range(len(rates)):
        free = _background(tracks, int(frames.frame_indices[new[k]]), small[k].shape, scale)
        movement = _fit(small[k], small[k + 1], free)
        if movement is None:
            continue
        growth, x, y = movement
        # The fit is about the corner of the small frame; `rates` are about the centre.
        shift = np.array([x, y]) / scale + growth * np.array(centre)
        seconds = times[k + 1] - times[k]
        rate = np.array([*shift, growth]) / seconds
        if np.abs(rate[:2]).max() > _MOVES * width or abs(rate[2]) > _MOVES * 2:
            rates[k] = rate
    return CameraMotion(times, rates, centre)


def _background(
    tracks: Tracks, frame: int, shape: tuple[int, ...], scale: float
) -> NDArray[np.uint8]:
    """`(h, w)` 255 where no object is."""
    free = np.full(shape[:2], 255, dtype=np.uint8)
    for track in tracks.tracks:
        box = track.box_at(frame)
        if box is not None:
            left, top, right, bottom = (box * scale).astype(int).clip(0)
            free[top : bottom + 1, left : right + 1] = 0
    return free


def _fit(
    before: NDArray[np.uint8], after: NDArray[np.uint8], free: NDArray[np.uint8]
) -> tuple[float, float, float] | None:
    """Growth of the scale and shift in small pixels, or None where the background is not one."""
    import cv2

    points = cv2.goodFeaturesToTrack(before, _POINTS, _QUALITY, _APART, mask=free)
    if points is None or len(points) < _FEWEST_POINTS:
        return None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, np.empty_like(points), winSize=(15, 15), maxLevel=4
    )
    kept = found.ravel() == 1
    if kept.sum() < _FEWEST_POINTS:
        return None
    matrix, agree = cv2.estimateAffinePartial2D(
        points[kept], moved[kept], method=cv2.RANSAC, ransacReprojThreshold=1.0
    )
    if matrix is None or agree.sum() < _WHOLE * len(points):
        return None
    growth = float(np.hypot(matrix[0, 0], matrix[1, 0])) - 1
    return growth, float(matrix[0, 2]), float(matrix[1, 2])
