"""Street questions as training samples for GRPO and supervised training."""

from __future__ import annotations

import numpy as np

from stvg_r1_hub.errors import ConfigError
from train.samples import TrainingSample
from train.sizes import SMALL, ModelSize, bundle_config
from train.sprite_questions import told_truth
from train.street.samples import draw_picture, draw_street_sample
from train.street.world import DURATIONS, sample_street

WORLD = 42
"""First part of the seeds: pre-training has other ones."""


class StreetQuestions:
    """`count` questions about street scenes; the same arguments give the same ones."""

    def __init__(self, seed: int = 0, count: int = 10_000, *, size: ModelSize = SMALL) -> None:
        """Check the request.

        Raises:
            ConfigError: no question at all.
        """
        if count < 1:
            raise ConfigError(f"Got {count} clips; ask for at least 1.")
        self.seed = seed
        self.count = count
        self.size = size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> TrainingSample:
        key = (WORLD, self.seed, index)
        rng = np.random.default_rng(key)
        duration = float(rng.choice(DURATIONS))
        drawn = draw_street_sample(
            key, duration_seconds=duration, picture=draw_picture(rng), size=self.size
        )
        return TrainingSample(
            sample_id=f"street-{self.seed}-{index}",
            query=sample_street(key, duration_seconds=duration).query,
            prompt=drawn.dialogue.prompt,
            frames=drawn.frames,
            sample_fps=bundle_config(self.size).sampling.fps,
            truth=told_truth(drawn.dialogue.answer, duration),
            target=drawn.dialogue.answer,
        )
