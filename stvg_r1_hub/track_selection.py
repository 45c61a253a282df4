"""Tracks in, fewer or smaller tracks out; IDs never change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import box_area, decode_mask, encode_mask
from stvg_r1_hub.structures import RLE, Frames, Track, Tracks


def keep_most_visible(tracks: Tracks, max_objects: int | None, *, say: bool = False) -> Tracks:
    """At most `max_objects` tracks: those largest, surest and seen in most frames.

    Args:
        tracks: all objects.
        max_objects: how many to keep; None keeps all.
        say: add a warning when some were dropped.
    """
    if max_objects is None or len(tracks) <= max_objects:
        return tracks
    ranked = sorted(tracks.tracks, key=lambda t: -t.score * float(np.sqrt(box_area(t.boxes)).sum()))
    kept = {track.object_id for track in ranked[:max_objects]}
    warning = (
        f"{len(tracks)} objects were tracked and the {max_objects} most visible are kept, by "
        "size, score and time; a model cannot read more numbers."
    )
    return replace(
        tracks,
        tracks=tuple(t for t in tracks.tracks if t.object_id in kept),
        warnings=(*tracks.warnings, warning) if say else tracks.warnings,
    )


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
