"""Endless batches of training samples: sprite world, the same with arbitrary nouns, the street."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch.utils.data import IterableDataset

from train.dialogue import Dialogue
from train.hinted_questions import draw_hinted_dialogue, draw_hinted_sample
from train.sizes import SMALL, ModelSize
from train.sprite_samples import Sample, draw_dialogue, draw_sample
from train.street.samples import draw_picture, draw_street_dialogue, draw_street_sample
from train.street.world import DURATIONS as STREET_DURATIONS

STREET = "street"
"""Among the levels of a stage: street scenes."""
HINTED = "hinted-"
"""Before the name of a sprite-world level: with class hints and arbitrary nouns."""


class SampleBatches(IterableDataset[tuple[list[Sample], list[Dialogue]]]):
    """Endless batches: clips of equal duration and size, and dialogues without a clip.

    Worker w of n yields every n-th batch.

    Args:
        seed: of the stage.
        batch_size: clips a batch.
        levels: share of each level, of `hinted-` levels, and of `street`. Street scenes fill
            batches of their own, in which frames have other sizes.
        durations: of sprite clips, in seconds; one is drawn for a batch.
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
        while True:
            rng = np.random.default_rng([self.seed, number, 3])
            duration = float(rng.choice(self.durations))
            shown = {k: v for k, v in self.levels.items() if k != STREET}
            if rng.random() >= sum(shown.values()):
                samples = self._street(rng, number)
            else:
                names, shares = list(shown), np.array(list(shown.values())) / sum(shown.values())
                samples = [
                    self._sprites(rng, str(rng.choice(names, p=shares)), duration, number, i)
                    for i in range(self.batch_size)
                ]
            dialogues = [
                self._dialogue(rng, number, i)
                for i in range(self.batch_size, self.batch_size + self.n_dialogues)
            ]
            yield samples, dialogues
            number += step

    def _sprites(
        self, rng: np.random.Generator, level: str, duration: float, number: int, i: int
    ) -> Sample:
        draw = draw_hinted_sample if level.startswith(HINTED) else draw_sample
        return draw(
            level.removeprefix(HINTED),
            (self.seed, number, i),
            duration_seconds=duration,
            dense=bool(rng.random() < self.dense_share),
            grid_steps=self.grid_steps,
            size=self.size,
        )

    def _street(self, rng: np.random.Generator, number: int) -> list[Sample]:
        """Clips of one length and picture size; fewer of long ones, which cost as much more."""
        duration = float(rng.choice(STREET_DURATIONS))
        count = max(2, round(self.batch_size * float(np.mean(self.durations)) / duration))
        picture = draw_picture(rng)
        return [
            draw_street_sample(
                (self.seed, number, i), duration_seconds=duration, picture=picture, size=self.size
            )
            for i in range(count)
        ]

    def _dialogue(self, rng: np.random.Generator, number: int, i: int) -> Dialogue:
        level = str(rng.choice(list(self.levels), p=list(self.levels.values())))
        key = (self.seed, number, i)
        if level == STREET:
            return draw_street_dialogue(key, self.size)
        if level.startswith(HINTED):
            return draw_hinted_dialogue(level.removeprefix(HINTED), key, self.size)
        return draw_dialogue(level, key, size=self.size)
