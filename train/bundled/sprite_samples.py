"""Training samples of sprite world, rendered on the fly at the model's own resolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.config import MarkerStyle
from stvg_r1_hub.marking import box_center, draw_markers
from stvg_r1_hub.sprites.levels import sample_scene
from stvg_r1_hub.sprites.motion import ACTIONS
from stvg_r1_hub.sprites.render import render, true_boxes
from stvg_r1_hub.sprites.scene import KINDS, Scene
from stvg_r1_hub.structures import Pixels
from stvg_r1_hub.video import plan_sampling
from stvg_r1_hub.vlm.resizing import resized
from train.bundled.dialogue import Dialogue, dense_dialogue, question_dialogue
from train.bundled.sizes import SMALL, ModelSize, bundle_config

IGNORED = -100
MAX_DRAWN_ID = 9


@dataclass
class Sample:
    """One clip as the model sees it, with everything that can be asked of it."""

    frames: NDArray[np.uint8]
    """`(T, side, side, 3)` RGB with numbers drawn."""
    labels: NDArray[np.int64]
    """`(T / 2, tokens, 3)` kind, drawn ID and action (0 is none) of the object at each visual
    token, or IGNORED where there is none."""
    dialogue: Dialogue
    numbers: dict[int, int]
    """Object ID to the number drawn on it."""


def draw_sample(
    level: str,
    seed: tuple[int, ...],
    *,
    duration_seconds: float,
    dense: bool,
    grid_steps: int = 0,
    size: ModelSize = SMALL,
) -> Sample:
    """Render one training sample; the same arguments give the same sample.

    Args:
        level: of sprite world.
        seed: any non-negative integers.
        duration_seconds: length of the clip, a multiple of 0.5.
        dense: list all objects instead of answering a question.
        grid_steps: keep only so many frame pairs, drawn at random; 0 keeps the whole clip.
        size: of the model.
    """
    scene = sample_scene(level, seed, duration_seconds=duration_seconds)
    rng = np.random.default_rng([*seed, 2])
    times = _sample_times(scene, size)
    if grid_steps:
        kept = rng.choice(len(times) // 2, grid_steps, replace=False)
        times = times.reshape(-1, 2)[np.sort(kept)].ravel()
    numbers = _draw_numbers(rng, scene)
    frames = _marked_frames(rng, scene, times, numbers, size)
    labels = _token_labels(scene, times, numbers, size)
    prompt_id = bundle_config(size).prompt_id
    if dense:
        appearance = "" if level == "easy" else str(rng.choice(("", "", "tint", "size")))
        dialogue = dense_dialogue(scene, numbers, len(labels), prompt_id, appearance)
    else:
        dialogue = question_dialogue(scene, numbers, len(labels), prompt_id)
    return Sample(frames, labels, dialogue, numbers)


def draw_dialogue(level: str, seed: tuple[int, ...], size: ModelSize = SMALL) -> Dialogue:
    """A question about a scene that is never rendered, to practise reading the listing."""
    scene = sample_scene(level, seed)
    numbers = _draw_numbers(np.random.default_rng([*seed, 2]), scene)
    steps = len(_sample_times(scene, size)) // 2
    return question_dialogue(scene, numbers, steps, bundle_config(size).prompt_id)


def _sample_times(scene: Scene, size: ModelSize) -> NDArray[np.float64]:
    n_frames = round(scene.duration_seconds * scene.fps)
    sampling = bundle_config(size).sampling
    plan = plan_sampling(n_frames, scene.fps, size.side, size.side, sampling)
    times: NDArray[np.float64] = np.array(plan.frame_indices) / scene.fps
    return times


def _draw_numbers(rng: np.random.Generator, scene: Scene) -> dict[int, int]:
    # Trackers number from 1, so small IDs are the common case; larger ones still occur.
    highest = max(5, len(scene.objects)) if rng.random() < 0.8 else MAX_DRAWN_ID
    drawn = rng.permutation(np.arange(1, highest + 1))
    return {o.object_id: int(n) for o, n in zip(scene.objects, drawn, strict=False)}


def draw_enlargement(rng: np.random.Generator) -> float:
    """How many times as large as the model's frames a clip's video is said to be.

    Lines are whole pixels of the video wide, so in the model's frames a number is now thicker, now
    thinner; a model that saw one enlargement only misreads the numbers of other videos.
    """
    return float(rng.uniform(1.2, 4.0))


def numbered(
    frame: Pixels, boxes: Mapping[int, NDArray[np.float64]], style: MarkerStyle, enlargement: float
) -> Pixels:
    """The frame with numbers as the pipeline draws them: on the larger video, then reduced.

    Args:
        frame: `(H, W, 3)` uint8 RGB, of the model's size.
        boxes: number to `(4,)` xyxy in pixels of `frame`.
        style: of the numbers.
        enlargement: of the video over the frame.
    """
    height, width = frame.shape[:2]
    video_size = (round(enlargement * width), round(enlargement * height))
    video = np.asarray(cv2.resize(frame, video_size), np.uint8)
    centers = {number: box_center(enlargement * box) for number, box in boxes.items()}
    drawn = draw_markers(video, centers, style)
    return np.asarray(resized(drawn[None], height, width)[0], np.uint8)


def _marked_frames(
    rng: np.random.Generator,
    scene: Scene,
    times: NDArray[np.float64],
    numbers: dict[int, int],
    size: ModelSize,
) -> NDArray[np.uint8]:
    """Frames with numbers at slightly wrong centres, as a detector's boxes would put them."""
    boxes = {}
    for thing in scene.objects:
        tight, in_view = true_boxes(thing, scene.poses(thing, times), size.side)
        extent = (tight[:, 2:] - tight[:, :2]).mean(1, keepdims=True)
        shift = rng.normal(0, 0.02, (len(times), 2)) * extent
        drawn = in_view & (rng.random(len(times)) > 0.01)
        boxes[numbers[thing.object_id]] = (tight + np.tile(shift, 2), drawn)
    enlargement = draw_enlargement(rng)
    marked = []
    for t, frame in enumerate(render(scene, size.side, times.tolist())):
        seen = {n: b[t] for n, (b, drawn) in boxes.items() if drawn[t]}
        if scene.compression:
            frame = compressed(frame, max(25, 85 - 5 * scene.compression))
        marked.append(numbered(frame, seen, size.marker, enlargement))
    # Stands in for compression and resizing, which real clips go through.
    noise = rng.integers(-6, 7, marked[0].shape, dtype=np.int16)
    return np.asarray(np.clip(np.stack(marked) + noise, 0, 255), np.uint8)


def compressed(frame: Pixels, quality: int) -> Pixels:
    """What a video encoder leaves of a frame; quality of JPEG, 0..100."""
    _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _token_labels(
    scene: Scene, times: NDArray[np.float64], numbers: dict[int, int], size: ModelSize
) -> NDArray[np.int64]:
    side = size.tokens_per_side
    cell = size.side / side
    seconds = times.reshape(-1, 2).mean(1)
    steps = len(seconds)
    middle = (np.arange(side) + 0.5) * cell
    ys, xs = (grid.ravel() for grid in np.meshgrid(middle, middle, indexing="ij"))
    labels = np.full((steps, side**2, 3), IGNORED, dtype=np.int64)
    nearest = np.full((steps, side**2), np.inf)
    for thing in scene.objects:
        boxes, in_view = true_boxes(thing, scene.poses(thing, seconds), size.side)
        center = (boxes[:, :2] + boxes[:, 2:]) / 2
        half = np.maximum((boxes[:, 2:] - boxes[:, :2]) / 2, cell / 2)
        distance = np.maximum(
            np.abs(xs - center[:, :1]) / half[:, :1], np.abs(ys - center[:, 1:]) / half[:, 1:]
        )
        mine = (distance < 1) & (distance < nearest) & in_view[:, None]
        nearest[mine] = distance[mine]
        doing = [thing.action_at(float(t)) for t in seconds]
        actions = np.array([ACTIONS.index(name) + 1 if name else 0 for name in doing])
        step, _ = np.nonzero(mine)
        labels[mine, 0] = KINDS.index(thing.kind)
        labels[mine, 1] = numbers[thing.object_id]
        labels[mine, 2] = actions[step]
    return labels
