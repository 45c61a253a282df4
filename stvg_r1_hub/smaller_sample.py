"""A sample in, one that needs about a quarter of the memory out; for when memory runs short."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from stvg_r1_hub.structures import MarkedFrames


def halve_sample(marked: MarkedFrames, size_factor: int) -> MarkedFrames | None:
    """Every second frame, at half the pixels for the language model.

    Args:
        marked: what the language model was to see.
        size_factor: height and width stay multiples of this many pixels.

    Returns:
        The smaller sample, still even in number and with the last frame; None when there is
        nothing left to halve.
    """
    frames = marked.frames
    kept = list(range(0, len(frames), 2))
    if len(kept) % 2:
        kept.append(len(frames) - 1)
    height, width = (
        max(size_factor, math.floor(side / math.sqrt(2) / size_factor) * size_factor)
        for side in (frames.model_height, frames.model_width)
    )
    if len(kept) >= len(frames) and (height, width) == (frames.model_height, frames.model_width):
        return None
    index = np.array(kept)
    smaller = replace(
        frames,
        pixels=frames.pixels[index],
        frame_indices=frames.frame_indices[index],
        times_seconds=frames.times_seconds[index],
        sample_fps=frames.sample_fps * len(kept) / len(frames),
        model_height=height,
        model_width=width,
    )
    return replace(marked, frames=smaller, drawn_ids=tuple(marked.drawn_ids[i] for i in kept))
