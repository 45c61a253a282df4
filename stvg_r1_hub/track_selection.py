"""Tracks in, fewer or smaller tracks out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import box_area, decode_mask, encode_mask
from stvg_r1_hub.structures import RLE, Frames, Track, Tracks


def keep_most_visible(tracks: Tracks, max_objects: int, *, renumber: bool = True) -> Tracks:
    """At most `max_objects` tracks: those largest, surest and seen in most frames.

    Args:
        tracks: all objects.
        max_objects: how many to keep.
        renumber: number what is left anew, 1, 2, ... in its old order; False keeps the numbers,
            for tracks that somebody else numbered.

    Returns:
        The same tracks when they are few enough; else those kept, with a warning.
    """
    if len(tracks) <= max_objects:
        return tracks
    ranked = sorted(tracks.tracks, key=lambda t: -t.score * float(np.sqrt(box_area(t.boxes)).sum()))
    best = {track.object_id for track in ranked[:max_objects]}
    kept = [track for track in tracks.tracks if track.object_id in best]
    if renumber:
        kept = [replace(track, object_id=i) for i, track in enumerate(kept, start=1)]
    warning = (
        f"{len(tracks)} objects were tracked and the {max_objects} most visible are kept, by "
        "size, score and time."
    )
    return replace(tracks, tracks=tuple(kept), warnings=(*tracks.warnings, warning))


def fit_to_sample(tracks: Tracks, frames: Frames) -> Tracks:
    """The tracks in pixels of the sampled frames.

    A long clip's sample is kept smaller than the video to save memory (see
    `VideoSource.sample_pixels`); otherwise the tracks come back as they are.

    Args:
        tracks: objects in pixels of the video.
        frames: its sample.

    Returns:
        Tracks of the sample's width and height; when these differ from the video's, only the
        sampled frames are kept.
    """
    height, width = frames.pixels.shape[1:3]
    if (tracks.width, tracks.height) == (width, height):
        return tracks
    scale = np.array([width / tracks.width, height / tracks.height] * 2, dtype=np.float32)
    fitted = (_fit(track, frames.frame_indices, scale, height, width) for track in tracks.tracks)
    return replace(
        tracks, width=width, height=height, tracks=tuple(t for t in fitted if t is not None)
    )


def _fit(
    track: Track, sampled: NDArray[np.int64], scale: NDArray[np.float32], height: int, width: int
) -> Track | None:
    kept = np.flatnonzero(np.isin(track.frame_indices, sampled))
    if not len(kept):
        return None
    track = track.at(kept)
    masks = track.masks
    if masks is not None:
        masks = tuple(_resized(mask, height, width) for mask in masks)
    return replace(track, boxes=track.boxes * scale, masks=masks)


def _resized(mask: RLE | None, height: int, width: int) -> RLE | None:
    if mask is None:
        return None
    pixels = decode_mask(mask)
    rows = (np.arange(height) + 0.5) * pixels.shape[0] / height
    columns = (np.arange(width) + 0.5) * pixels.shape[1] / width
    return encode_mask(pixels[rows.astype(int)[:, None], columns.astype(int)])
