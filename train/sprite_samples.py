"""Endless training samples of sprite world, rendered on the fly at the model's own resolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from stvg_r1_hub.evaluation.sprites.render import render, true_box
from stvg_r1_hub.evaluation.sprites.scene import ACTIONS, KINDS, Scene, sample_scene
from stvg_r1_hub.marking import box_center, draw_markers
from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.video import plan_sampling
from train.tiny_model import CONFIG, MERGE, PATCH, SIDE, answer_text

TOKENS_PER_SIDE = SIDE // (PATCH * MERGE)
IGNORED = -100
MAX_DRAWN_ID = 9


@dataclass
class Dialogue:
    """One question and what the model shall say."""

    prompt: str
    answer: str
    grid_steps: int
    """Temporal steps of the clip that the question is about."""


@dataclass
class Sample:
    """One clip as the model sees it, with everything that can be asked of it."""

    frames: NDArray[np.uint8]
    """`(T, SIDE, SIDE, 3)` RGB with numbers drawn."""
    labels: NDArray[np.int64]
    """`(T / 2, tokens, 3)` kind, drawn ID and action (0 is none) of the object at each visual
    token, or IGNORED where there is none."""
    dialogue: Dialogue


def draw_sample(
    seed: tuple[int, ...], *, duration_seconds: float, dense: bool, grid_steps: int = 0
) -> Sample:
    """Render one training sample; the same seed gives the same sample.

    Args:
        seed: any non-negative integers.
        duration_seconds: length of the clip, a multiple of 0.5.
        dense: list all objects instead of answering a question.
        grid_steps: keep only so many frame pairs, drawn at random; 0 keeps the whole clip.
    """
    scene = sample_scene("easy", seed, duration_seconds=duration_seconds)
    rng = np.random.default_rng([*seed, 2])
    times = _sample_times(scene)
    if grid_steps:
        kept = rng.choice(len(times) // 2, grid_steps, replace=False)
        times = times.reshape(-1, 2)[np.sort(kept)].ravel()
    drawn_ids = _draw_ids(rng, scene)
    frames = _marked_frames(rng, scene, times, drawn_ids)
    labels = _token_labels(scene, times, drawn_ids)
    return Sample(frames, labels, _dialogue(scene, drawn_ids, len(labels), dense=dense))


def draw_dialogue(seed: tuple[int, ...]) -> Dialogue:
    """A question about a scene that is never rendered, to practise reading the listing."""
    scene = sample_scene("easy", seed)
    drawn_ids = _draw_ids(np.random.default_rng([*seed, 2]), scene)
    return _dialogue(scene, drawn_ids, len(_sample_times(scene)) // 2, dense=False)


def _sample_times(scene: Scene) -> NDArray[np.float64]:
    n_frames = round(scene.duration_seconds * scene.fps)
    plan = plan_sampling(n_frames, scene.fps, SIDE, SIDE, CONFIG.sampling)
    times: NDArray[np.float64] = np.array(plan.frame_indices) / scene.fps
    return times


def _dialogue(scene: Scene, drawn_ids: dict[int, int], grid_steps: int, *, dense: bool) -> Dialogue:
    listing = []
    for thing in sorted(scene.objects, key=lambda o: drawn_ids[o.object_id]):
        event = thing.events[0] if thing.events else None
        span = (event.name, event.start_seconds, event.end_seconds) if event else ("", 0.0, 0.0)
        listing.append((drawn_ids[thing.object_id], thing.kind, *span))
    asked = scene.answer_event
    target = (drawn_ids[scene.target_id], asked.start_seconds, asked.end_seconds)
    query = "everything" if dense else scene.query
    return Dialogue(
        build_prompt(query, CONFIG.prompt_id),
        answer_text(listing, None if dense else target),
        grid_steps,
    )


def _draw_ids(rng: np.random.Generator, scene: Scene) -> dict[int, int]:
    # Trackers number from 1, so small IDs are the common case; larger ones still occur.
    highest = 5 if rng.random() < 0.8 else MAX_DRAWN_ID
    numbers = rng.permutation(np.arange(1, highest + 1))
    return {o.object_id: int(n) for o, n in zip(scene.objects, numbers, strict=False)}


def _marked_frames(
    rng: np.random.Generator, scene: Scene, times: NDArray[np.float64], drawn_ids: dict[int, int]
) -> NDArray[np.uint8]:
    """Frames with numbers at slightly wrong centres, as a detector's boxes would put them."""
    jitter = rng.normal(0, 0.02, (len(times), len(scene.objects), 2))
    marked = []
    for i, frame in enumerate(render(scene, SIDE, times.tolist())):
        centers = {}
        for j, thing in enumerate(scene.objects):
            pose = thing.pose(float(times[i]))
            box = true_box(thing, pose, SIDE)
            shift = jitter[i, j] * pose.size * SIDE
            if rng.random() > 0.01:
                centers[drawn_ids[thing.object_id]] = box_center(box + np.tile(shift, 2))
        marked.append(draw_markers(frame, centers, CONFIG.marker))
    pixels = np.stack(marked).astype(np.int16)
    # Stands in for video compression and resizing, which evaluation clips go through.
    noise = rng.integers(-6, 7, pixels.shape[1:], dtype=np.int16)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def _token_labels(
    scene: Scene, times: NDArray[np.float64], drawn_ids: dict[int, int]
) -> NDArray[np.int64]:
    steps = len(times) // 2
    labels = np.full((steps, TOKENS_PER_SIDE**2, 3), IGNORED, dtype=np.int64)
    cell = SIDE / TOKENS_PER_SIDE
    middle = (np.arange(TOKENS_PER_SIDE) + 0.5) * cell
    ys, xs = np.meshgrid(middle, middle, indexing="ij")
    for step in range(steps):
        seconds = float(times[2 * step : 2 * step + 2].mean())
        nearest = np.full(TOKENS_PER_SIDE**2, np.inf)
        for thing in scene.objects:
            box = true_box(thing, thing.pose(seconds), SIDE)
            x, y = (box[:2] + box[2:]) / 2
            half = np.maximum((box[2:] - box[:2]) / 2, cell / 2)
            distance = np.maximum(np.abs(xs - x) / half[0], np.abs(ys - y) / half[1]).ravel()
            mine = (distance < 1) & (distance < nearest)
            nearest[mine] = distance[mine]
            action = thing.action_at(seconds)
            labels[step, mine] = (
                KINDS.index(thing.kind),
                drawn_ids[thing.object_id],
                ACTIONS.index(action) + 1 if action else 0,
            )
    return labels


class SampleBatches(IterableDataset[tuple[list[Sample], list[Dialogue]]]):
    """Endless batches: clips of equal duration, and dialogues without a clip.

    Worker w of n yields every n-th batch.
    """

    def __init__(
        self,
        *,
        seed: int,
        batch_size: int,
        durations: tuple[float, ...],
        dense_share: float,
        grid_steps: int = 0,
        n_dialogues: int = 0,
        start: int = 0,
    ) -> None:
        self.seed = seed
        self.batch_size = batch_size
        self.durations = durations
        self.dense_share = dense_share
        self.grid_steps = grid_steps
        self.n_dialogues = n_dialogues
        self.start = start

    def __iter__(self) -> Iterator[tuple[list[Sample], list[Dialogue]]]:
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            torch.set_num_threads(1)
        index, step = (worker.id, worker.num_workers) if worker else (0, 1)
        number = self.start + index
        while True:
            rng = np.random.default_rng([self.seed, number, 3])
            duration = float(rng.choice(self.durations))
            samples = [
                draw_sample(
                    (self.seed, number, i),
                    duration_seconds=duration,
                    dense=bool(rng.random() < self.dense_share),
                    grid_steps=self.grid_steps,
                )
                for i in range(self.batch_size)
            ]
            yield (
                samples,
                [
                    draw_dialogue((self.seed, number, i))
                    for i in range(self.batch_size, self.batch_size + self.n_dialogues)
                ],
            )
            number += step
