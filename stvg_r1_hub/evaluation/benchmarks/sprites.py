"""Sprite world as a benchmark: clips are rendered when asked about, their truth is exact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stvg_r1_hub.evaluation.samples import AnnotatedSample
from stvg_r1_hub.sprites.clips import (
    SIDE,
    check_request,
    clip_scene,
    frame_times,
    record,
    true_tracks,
    write_clip,
)
from stvg_r1_hub.sprites.scene import Scene, traits
from stvg_r1_hub.tracking import GivenTracks

TRUE_TRACKS = "true tracks"
"""What a run's settings call the tracker that knows the truth."""


def read_sprites(level: str, seed: int, n: int, folder: str | Path) -> list[AnnotatedSample]:
    """The samples of a level and seed; the clips are written into a folder by `render_missing`.

    Raises:
        ConfigError: a level, seed or number that is not allowed.
    """
    check_request(level, seed, n)
    return [_sample(level, seed, number, Path(folder)) for number in range(n)]


def _name(level: str, seed: int, number: int) -> str:
    return f"{level}-{seed}-{number:05d}"


def _sample(level: str, seed: int, number: int, folder: Path) -> AnnotatedSample:
    scene = clip_scene(level, seed, number)
    name = _name(level, seed, number)
    truth = record(scene, f"{name}.mp4")
    boxes = truth["boxes"]
    return AnnotatedSample(
        sample_id=name,
        video=folder / f"{name}.mp4",
        query=scene.query,
        start_seconds=truth["start_seconds"],
        end_seconds=truth["end_seconds"],
        frame_indices=np.array([box["frame_index"] for box in boxes], dtype=np.int64),
        boxes=np.array([box["xyxy"] for box in boxes], dtype=np.float64).reshape(-1, 4),
        fps=scene.fps,
        n_frames=len(frame_times(scene)),
        width=SIDE,
        height=SIDE,
        groups=traits(scene),
    )


def render_missing(samples: Sequence[AnnotatedSample]) -> None:
    """Write the clips that are not there yet."""
    for sample in samples:
        if not sample.video.is_file():
            sample.video.parent.mkdir(parents=True, exist_ok=True)
            write_clip(_scene(sample), sample.video)


def true_tracker(sample: AnnotatedSample) -> GivenTracks:
    """The true tracks of a sample's clip, to measure the language model alone."""
    return GivenTracks(true_tracks(_scene(sample)), name=TRUE_TRACKS)


def _scene(sample: AnnotatedSample) -> Scene:
    level, seed, number = sample.sample_id.rsplit("-", 2)
    return clip_scene(level, int(seed), int(number))
