"""Sprite-world scenes as video files with their ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.geometry import frames_in_range
from stvg_r1_hub.outputs import make_folder, replacing
from stvg_r1_hub.sprites.levels import LEVELS, sample_scene
from stvg_r1_hub.sprites.motion import SceneObject
from stvg_r1_hub.sprites.render import render, true_boxes
from stvg_r1_hub.sprites.scene import KINDS, Scene
from stvg_r1_hub.structures import Progress, Track, Tracks
from stvg_r1_hub.video import write_video

SIDE = 336
"""Frame width and height of the written clips, in pixels."""


def check_request(level: str, seed: int, n: int) -> None:
    """Refuse a level, seed or number of clips that makes no sense.

    Raises:
        ConfigError: with what was got and what is allowed.
    """
    if level not in LEVELS:
        raise ConfigError(f"Got level {level!r}; the levels are: {', '.join(LEVELS)}.")
    if seed < 0:
        raise ConfigError(f"Got seed {seed}; it must be 0 or larger.")
    if n < 1:
        raise ConfigError(f"Got {n} clips; ask for at least 1.")


def clip_scene(level: str, seed: int, number: int) -> Scene:
    """Scene of clip `number` of a seed; training never draws two-part seeds."""
    return sample_scene(level, (seed, number))


def frame_times(scene: Scene) -> NDArray[np.float64]:
    """`(F,)` seconds of every native frame of a scene."""
    times: NDArray[np.float64] = np.arange(round(scene.duration_seconds * scene.fps)) / scene.fps
    return times


def write_clip(scene: Scene, path: Path) -> None:
    """Render a scene to an mp4 file."""
    times = frame_times(scene).tolist()
    write_video(
        path,
        render(scene, SIDE, times),
        times,
        duration_seconds=len(times) / scene.fps,
        rate_factor=20 + scene.compression,
    )


def object_boxes(scene: Scene, thing: SceneObject) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """True boxes of an object in every native frame, `(F, 4)` xyxy, and where it is in view."""
    return true_boxes(thing, scene.poses(thing, frame_times(scene)), SIDE)


def true_tracks(scene: Scene) -> Tracks:
    """What a perfect tracker of all kinds would report: covered objects too, none outside."""
    tracks = []
    for thing in scene.objects:
        boxes, in_view = object_boxes(scene, thing)
        seen = np.flatnonzero(in_view)
        if len(seen):
            filled = np.zeros(len(seen), dtype=bool)
            tracks.append(
                Track(thing.object_id, thing.kind, 1.0, seen, boxes[seen], filled)
            )  # fmt: skip
    return Tracks(SIDE, SIDE, frame_times(scene), tuple(tracks), class_names=KINDS)


def true_tube(scene: Scene) -> dict[int, NDArray[np.float32]]:
    """Native frame index to the target's `(4,)` box, over the answer's half-open time range.

    Frames in which the target is not in view are left out; all are, when nothing is the answer.
    """
    if scene.answer_range is None:
        return {}
    boxes, in_view = object_boxes(scene, scene.target)
    frames = frames_in_range(frame_times(scene), *scene.answer_range)
    return {int(i): boxes[i] for i in frames if in_view[i]}


def record(scene: Scene, video: str) -> dict[str, Any]:
    """Everything true about a clip, as plain JSON values; an answer that is none is null."""
    start, end = scene.answer_range or (None, None)
    return {
        "video": video,
        "query": scene.query,
        "object_id": scene.target_id,
        "start_seconds": start,
        "end_seconds": end,
        "boxes": [_box(i, box) for i, box in true_tube(scene).items()],
        "traits": dict(scene.traits),
        "objects": [_object(scene, thing) for thing in scene.objects],
    }


def _object(scene: Scene, thing: SceneObject) -> dict[str, Any]:
    boxes, in_view = object_boxes(scene, thing)
    return {
        "id": thing.object_id,
        "kind": thing.kind,
        "tint": thing.tint,
        "actions": [
            {
                "name": action.name,
                "start_seconds": action.start_seconds,
                "end_seconds": action.end_seconds,
            }
            for action in thing.events
        ],
        "boxes": [_box(int(i), boxes[i]) for i in np.flatnonzero(in_view)],
    }


def _box(frame_index: int, xyxy: NDArray[np.float32]) -> dict[str, Any]:
    return {"frame_index": frame_index, "xyxy": [round(float(v), 2) for v in xyxy]}


def write_clips(
    level: str, seed: int, n: int, out: Path, *, progress: Progress | None = None
) -> Path:
    """Write `n` clips and `clips.json` into a folder; the same arguments write the same clips.

    Args:
        level: one of `levels.LEVELS`.
        seed: 0 or larger.
        n: how many clips.
        out: folder, made when missing.
        progress: called with the stage `"render"`.

    Returns:
        Path of `clips.json`.

    Raises:
        ConfigError: a level, seed or number that is not allowed.
        OutputError: the folder cannot be made or written into.
    """
    check_request(level, seed, n)
    make_folder(out)
    records = []
    for number in range(n):
        scene = clip_scene(level, seed, number)
        name = f"{level}-{seed}-{number:04d}.mp4"
        write_clip(scene, out / name)
        records.append(record(scene, name))
        if progress is not None:
            progress("render", number + 1, n)
    path = out / "clips.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(records), encoding="utf-8")
    return path
