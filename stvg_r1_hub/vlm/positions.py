"""Position ids of a text-and-video sequence, by the rule of transformers 4.50.

Checkpoints trained with transformers 4.50 expect the text after a video right after the largest
position used so far, the temporal axis included. From 5.3 on transformers puts it at
`start + max(h, w)` of the merged grid instead, which is 26 positions too early for a 20-second
clip; hence this own computation. Pure numpy, one sequence at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def mrope_positions(
    input_ids: ArrayLike,
    video_grid_thw: ArrayLike,
    second_per_grid_ts: Sequence[float] | NDArray[np.floating] | None = None,
    *,
    video_token_id: int,
    tokens_per_second: float = 2,
    merge_size: int = 2,
    attention_mask: ArrayLike | None = None,
) -> tuple[NDArray[np.int64], int]:
    """Temporal, height and width position of every token of one sequence.

    Text counts on from the largest position so far, equally on all three axes. A video's tokens,
    ordered by time, row, column, start there too: time advances by
    `int(grid_step * second_per_grid * tokens_per_second)`, computed in float32 as there; rows and
    columns by 1. Source: `Qwen2_5_VLForConditionalGeneration.get_rope_index` of transformers
    4.50.0, described anew.

    Args:
        input_ids: `(L,)` token ids.
        video_grid_thw: `(V, 3)` temporal, height and width patches of each video, before merging.
        second_per_grid_ts: V seconds of video in one temporal step; None means 1.0.
        video_token_id: the id that stands for one video token.
        tokens_per_second: temporal positions for one second, from the vision config.
        merge_size: patches merged into one token along height and width.
        attention_mask: `(L,)`, 0 marks padding, which gets position 1.

    Returns:
        The positions, `(3, L)` int64, and the delta to add to a token's index among the attended
        tokens (its index in the sequence when nothing is padded) for text generated afterwards.

    Raises:
        ValueError: the video tokens do not match the grids.
    """
    ids = np.asarray(input_ids)
    if ids.ndim != 1:
        raise ValueError(f"input_ids must be one sequence (L,), got shape {ids.shape}")
    attended = np.ones(len(ids), bool) if attention_mask is None else np.asarray(attention_mask) > 0
    is_video = ids[attended] == video_token_id
    grids = np.asarray(video_grid_thw, dtype=np.int64).reshape(-1, 3)
    seconds = [1.0] * len(grids) if second_per_grid_ts is None else list(second_per_grid_ts)
    if len(seconds) != len(grids):
        raise ValueError(f"got {len(seconds)} second_per_grid_ts for {len(grids)} videos")

    positions = np.empty((3, len(is_video)), dtype=np.int64)
    done = next_position = 0
    for grid, second in zip(grids, seconds, strict=True):
        video = _video_positions(grid, float(second), tokens_per_second, merge_size)
        length = video.shape[1]
        later = np.flatnonzero(is_video[done:])
        start = done + int(later[0]) if len(later) else len(is_video)
        if not is_video[start : start + length].all() or start + length > len(is_video):
            raise ValueError(
                f"the sequence has {int(is_video.sum())} video tokens, which does not fit the "
                f"grids {grids.tolist()} with merge size {merge_size}"
            )
        positions[:, done:start] = np.arange(next_position, next_position + start - done)
        next_position += start - done
        positions[:, start : start + length] = video + next_position
        next_position += int(video.max()) + 1
        done = start + length
    if is_video[done:].any():
        raise ValueError(
            f"the sequence has {int(is_video.sum())} video tokens, more than the grids "
            f"{grids.tolist()} with merge size {merge_size} account for"
        )
    positions[:, done:] = np.arange(next_position, next_position + len(is_video) - done)
    padded = np.ones((3, len(ids)), dtype=np.int64)
    padded[:, attended] = positions
    largest = int(positions.max()) if positions.size else -1
    return padded, largest + 1 - len(is_video)


def _video_positions(
    grid: NDArray[np.int64], second_per_grid: float, tokens_per_second: float, merge_size: int
) -> NDArray[np.int64]:
    """`(3, t * h * w)` positions of one video, counted from 0."""
    t, h, w = int(grid[0]), int(grid[1]) // merge_size, int(grid[2]) // merge_size
    if min(t, h, w) < 1:
        raise ValueError(f"a video grid must hold at least one token, got {grid.tolist()}")
    steps = np.arange(t, dtype=np.float32) * np.float32(second_per_grid)
    time = (steps * np.float32(tokens_per_second)).astype(np.int64)
    axes = np.meshgrid(time, np.arange(h), np.arange(w), indexing="ij")
    return np.stack([axis.reshape(-1) for axis in axes]).astype(np.int64)
