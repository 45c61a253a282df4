"""Endless batches of training samples of sprite world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from train.bundled.collate import Collator
from train.bundled.sprite_samples import draw_dialogue, draw_sample


@dataclass(eq=False, kw_only=True)
class SampleBatches(IterableDataset[dict[str, Tensor]]):
    """Endless batches: clips of equal duration, and dialogues without a clip.

    Worker w of n yields every n-th batch.
    """

    seed: int
    """Of the stage."""
    batch_size: int
    """Clips a batch."""
    levels: dict[str, float]
    """Share of each level."""
    durations: tuple[float, ...]
    """Of clips, in seconds; one is drawn for a batch."""
    dense_share: float
    """Of clips that are listed instead of asked about."""
    grid_steps: int = 0
    """Frame pairs kept of each clip; 0 keeps all."""
    n_dialogues: int = 0
    """Questions without a clip a batch."""
    collate: Collator
    """Makes tensors of them, for one size of the model."""
    start: int = 0
    """Number of the first batch."""

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
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
                    size=self.collate.size,
                )
                for i in range(self.batch_size)
            ]
            dialogues = [
                draw_dialogue(
                    str(rng.choice(names, p=shares)),
                    (self.seed, number, i),
                    size=self.collate.size,
                )
                for i in range(self.batch_size, self.batch_size + self.n_dialogues)
            ]
            yield self.collate((samples, dialogues))
            number += step
