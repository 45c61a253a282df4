"""Supervised training of samples: the cross entropy of their right answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from stvg_r1_hub.vlm.inputs import PromptInputs
from train.data.samples import TrainingSample, as_frames
from train.run.start_model import StartModel
from train.run.training_config import TrainingConfig


@dataclass
class Lesson:
    """A question and its right answer."""

    sample: TrainingSample
    inputs: PromptInputs
    answer: Tensor
    """`(L,)` tokens, with the end token."""


class SupervisedObjective:
    """Cross entropy of the right answer's tokens."""

    method = "supervised"

    def __init__(
        self, config: TrainingConfig, start: StartModel, policy: Any, accelerator: Accelerator
    ) -> None:
        self.policy = policy
        self.device = accelerator.device
        self.builder = start.inputs

    def prepare(self, samples: Sequence[TrainingSample], places: Sequence[int]) -> list[Lesson]:
        """Tokens and patches of each sample."""
        self.policy.train()
        return [
            Lesson(
                sample,
                self.builder.prompt_inputs(
                    sample.prompt, as_frames(sample.frames, sample.sample_fps)
                ).to(self.device),
                torch.tensor(self.builder.answer_ids(sample.target_text), device=self.device),
            )
            for sample in samples
        ]

    def loss(self, lesson: Lesson) -> tuple[Tensor, dict[str, float]]:
        """Mean over the answer's tokens of minus their log-probability."""
        logps, _ = self.policy("logps", lesson.inputs, [lesson.answer])
        return -logps.mean(), {"length": float(len(lesson.answer))}

    @torch.no_grad()
    def validate(self, samples: Sequence[TrainingSample]) -> list[dict[str, float]]:
        """Loss of each sample."""
        lessons = self.prepare(samples, ())
        self.policy.eval()
        losses = [self.loss(lesson)[0].item() for lesson in lessons]
        self.policy.train()
        return [{"loss": value} for value in losses]

    def rows(self, items: Sequence[Lesson]) -> list[dict[str, Any]]:
        """What was taught in this step."""
        return [
            {
                "sample": one.sample.sample_id,
                "query": one.sample.query,
                "taught": one.sample.target_text,
            }
            for one in items
        ]
