"""Endless training samples of sprite world, rendered on the fly at the model's own resolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from stvg_r1_hub.evaluation.sprites.levels import sample_scene
from stvg_r1_hub.evaluation.sprites.motion import ACTIONS
from stvg_r1_hub.evaluation.sprites.render import render, true_boxes
from stvg_r1_hub.evaluation.sprites.scene import KINDS, Scene
from stvg_r1_hub.marking import box_center, draw_markers
from stvg_r1_hub.video import plan_sampling
from train.dialogue import Dialogue, dense_dialogue, question_dialogue
from train.sizes import SMALL, ModelSize, bundle_config

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
        looks = "" if level == "easy" else str(rng.choice(("", "", "tint", "size")))
        dialogue = dense_dialogue(scene, numbers, len(labels), prompt_id, looks)
    else:
        dialogue = question_dialogue(scene, numbers, len(labels), prompt_id)
    return Sample(frames, labels, dialogue)


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
    marked = []
    for t, frame in enumerate(render(scene, size.side, times.tolist())):
        centers = {n: box_center(b[t]) for n, (b, drawn) in boxes.items() if drawn[t]}
        if scene.compression:
            frame = _compressed(frame, scene.compression)
        marked.append(draw_markers(frame, centers, size.marker))
    pixels = np.stack(marked).astype(np.int16)
    # Stands in for video compression and resizing, which evaluation clips go through.
    noise = rng.integers(-6, 7, pixels.shape[1:], dtype=np.int16)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def _compressed(frame: NDArray[np.uint8], strength: int) -> NDArray[np.uint8]:
    quality = max(25, 85 - 5 * strength)
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


class SampleBatches(IterableDataset[tuple[list[Sample], list[Dialogue]]]):
    """Endless batches: clips of equal duration, and dialogues without a clip.

    Worker w of n yields every n-th batch.

    Args:
        seed: of the stage.
        batch_size: clips a batch.
        levels: share of each level.
        durations: of clips, in seconds; one is drawn for a batch.
        dense_share: of clips that are listed instead of asked about.
        grid_steps: frame pairs kept of each clip; 0 keeps all.
        n_dialogues: questions without a clip a batch.
        size: of the model.
        start: number of the first batch.
    """

    def __init__(
        self,
        *,
        seed: int,
        batch_size: int,
        levels: dict[str, float],
        durations: tuple[float, ...],
        dense_share: float,
        grid_steps: int = 0,
        n_dialogues: int = 0,
        size: ModelSize = SMALL,
        start: int = 0,
    ) -> None:
        self.seed = seed
        self.batch_size = batch_size
        self.levels = levels
        self.durations = durations
        self.dense_share = dense_share
        self.grid_steps = grid_steps
        self.n_dialogues = n_dialogues
        self.size = size
        self.start = start

    def __iter__(self) -> Iterator[tuple[list[Sample], list[Dialogue]]]:
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            torch.set_num_threads(1)
            cv2.setNumThreads(1)
        index, step = (worker.id, worker.num_workers) if worker else (0, 1)
        number = self.start + index
        names, shares = list(self.levels), list(self.levels.values())
        while True:
            rng = np.random.default_rng([self.seed, number, 3])
            duration = float(rng.choice(self.durations))
            samples = [
                draw_sample(
                    str(rng.choice(names, p=shares)),
                    (self.seed, number, i),
                    duration_seconds=duration,
                    dense=bool(rng.random() < self.dense_share),
                    grid_steps=self.grid_steps,
                    size=self.size,
                )
                for i in range(self.batch_size)
            ]
            dialogues = [
                draw_dialogue(
                    str(rng.choice(names, p=shares)), (self.seed, number, i), size=self.size
                )
                for i in range(self.batch_size, self.batch_size + self.n_dialogues)
            ]
            yield samples, dialogues
            number += step
