"""Frames at the size that the language model sees, every pixel as the official code makes it.

qwen-vl-utils resizes with torchvision's first functional API: bicubic and antialiased in float32,
along the rows, then along the columns, rounded once at the end. The second API rounds uint8 in
between, and every sixth value is another. torch itself takes these sums one number at a time, at
three times the cost, and since it is built with newer compilers in another order than it did for
the official results; `embedding_bag` takes them as then, many numbers at a time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from stvg_r1_hub.device import one_thread
from stvg_r1_hub.structures import Frames, Pixels

if TYPE_CHECKING:
    import torch

_BAND = 120
"""Rows at a time, so that what is summed stays in a processor's cache."""


def model_frames(frames: Frames) -> Pixels:
    """The sample at the size that the model sees, `(T, model_height, model_width, 3)` uint8 RGB."""
    return resized(frames.pixels, frames.model_height, frames.model_width)


def resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """Frames as the official evaluation resizes them for the language model.

    Args:
        pixels: `(T, H, W, 3)` uint8 RGB.
        height: wanted, in pixels.
        width: wanted, in pixels.

    Returns:
        `(T, height, width, 3)` uint8 RGB; the frames themselves where they have that size.
    """
    import torch

    if pixels.shape[1:3] == (height, width):
        return np.ascontiguousarray(pixels)
    out = np.empty((len(pixels), height, width, 3), np.uint8)
    # Each thread its own frames: sums of one frame are too short to be shared.
    n_threads = max(1, min(torch.get_num_threads(), len(pixels)))
    with ThreadPoolExecutor(n_threads) as threads:
        parts = np.array_split(pixels, n_threads), np.array_split(out, n_threads)
        list(threads.map(_resize_into, *parts))
    return out


def _resize_into(pixels: Pixels, out: Pixels) -> None:
    """`resized`, in one thread, into the memory for it."""
    import cv2
    import torch

    full_height, full_width = pixels.shape[1:3]
    height, width = out.shape[1:3]
    across, down = _weights(full_width, width), _weights(full_height, height)
    # Memory that is asked for again and again would cost as much as the sums.
    turned = np.empty((full_width, _BAND, 3), np.uint8)
    as_floats = torch.empty(turned.size)
    narrow = np.empty((full_height, width, 3), np.float32)
    with one_thread():
        for frame, small in zip(pixels, out, strict=True):
            for top in range(0, full_height, _BAND):
                band = cv2.transpose(np.ascontiguousarray(frame[top : top + _BAND]), turned)
                columns = as_floats[: band.size].view(full_width, -1)
                columns.copy_(torch.from_numpy(band).view(columns.shape))
                summed = _sums(columns, across).view(width, -1, 3)
                cv2.transpose(summed.numpy(), narrow[top : top + _BAND])
            low = _sums(torch.from_numpy(narrow).view(full_height, -1), down)
            small[:] = low.round_().clamp_(0, 255).view(small.shape).numpy()


def resized_on(pixels: Pixels, height: int, width: int, device: torch.device | str) -> torch.Tensor:
    """The same as `resized`, computed and kept on a device, a frame at a time.

    Returns:
        `(T, height, width, 3)` uint8.
    """
    import torch

    n_frames, full_height, full_width, _ = pixels.shape
    if (full_height, full_width) == (height, width):
        return torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    across, down = (
        tuple(part.to(device) for part in _weights(*sizes))
        for sizes in ((full_width, width), (full_height, height))
    )
    out = torch.empty(n_frames, height, width, 3, dtype=torch.uint8, device=device)
    for frame, small in zip(pixels, out, strict=True):
        there = torch.from_numpy(np.ascontiguousarray(frame)).to(device)
        columns = there.transpose(0, 1).float().reshape(full_width, -1)
        narrow = _sums(columns, across).view(width, full_height, 3).transpose(0, 1)
        low = _sums(narrow.reshape(full_height, -1), down)
        small.copy_(low.round_().clamp_(0, 255).view(small.shape))
    return out


def _sums(lines: torch.Tensor, weights: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """`(n, ...)` lines of pixels to `(m, ...)`, each the weighted sum of some neighbours."""
    from torch.nn.functional import embedding_bag

    places, starts, shares = weights
    summed: torch.Tensor = embedding_bag(
        places, lines, starts, mode="sum", per_sample_weights=shares
    )
    return summed


@lru_cache(maxsize=8)
def _weights(n: int, m: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which of n pixels make the first of m, the second, ..; where each begins; and the weights.

    The weights are torch's own: combs are resized whose teeth stand so far apart that at most one
    of them adds to a pixel.
    """
    import torch
    from torch.nn.functional import interpolate

    reach = min(n, 4 * ceil(max(n / m, 1)) + 2)
    teeth = torch.arange(n) % reach == torch.arange(reach)[:, None]
    found = interpolate(teeth[None, None].float(), (reach, m), mode="bicubic", antialias=True)[0, 0]
    middle = (torch.arange(m, dtype=torch.float64) + 0.5) * n / m
    first = (middle - reach / 2).round().long().clamp(0, n - reach)
    places = first[:, None] + torch.arange(reach)
    shares = found.T.gather(1, places % reach)
    used = shares.any(dim=0)
    starts = torch.arange(m) * used.sum()
    return places[:, used].flatten(), starts, shares[:, used].flatten()
