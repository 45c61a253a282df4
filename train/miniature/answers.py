"""How a model answers unseen sprite-world questions, many of them side by side.

Clips are drawn as for training, so nothing is written, decoded or tracked, and hundreds of answers
take a minute of one core. Every question counts: one that nothing answers is worth 1 or 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.data.samples import TrainingSample, as_frames
from train.grpo.rollout import Asked, Rollout, SamplingSettings
from train.miniature.sprite_questions import SpriteQuestions
from train.rewards import REWARDS, Completion
from train.run.start_model import StartModel, load_start_model
from train.run.training_config import TrainingConfig

MOST_TOKENS = 160
TOGETHER = 32
"""Questions answered at a time."""


def answer_questions(model: Path, level: str, *, seed: int, n: int) -> dict[str, Any]:
    """Means of the most probable answers to `n` questions.

    Returns:
        `level`, `seed`, `n`, `nothing`: how many of them nothing answers; over all questions
        `id_accuracy` and `m_viou_all`, which counts "none" as 1 where it is right and else 0;
        `m_tiou`, `m_viou` and `right_object` over those with an answer, `none_accuracy` over the
        others, where there are such.

    Raises:
        ConfigError: a level, seed or number that is not allowed.
        ModelError: the model cannot be loaded.
    """
    config = TrainingConfig(str(model), dtype="float32", gradient_checkpointing=False)
    start = load_start_model(config)
    start.policy.eval()
    questions = SpriteQuestions(level, seed, n, model=start.config)
    scores = []
    for first in range(0, n, TOGETHER):
        samples = [questions[i] for i in range(first, min(first + TOGETHER, n))]
        texts = most_probable(start, samples)
        scores += [_scores(*pair) for pair in zip(texts, samples, strict=True)]
    table = np.array(scores)
    nothing = table[:, 0] == 1
    means = {"id_accuracy": table[:, 1].mean(), "m_viou_all": table[:, 3].mean()}
    if not nothing.all():
        names = ("right_object", "m_tiou", "m_viou")
        means |= dict(zip(names, table[~nothing, 1:].mean(axis=0), strict=True))
    if nothing.any():
        means["none_accuracy"] = table[nothing, 1].mean()
    request = {"level": level, "seed": seed, "n": n, "nothing": int(nothing.sum())}
    return request | {name: float(value) for name, value in means.items()}


@torch.no_grad()
def most_probable(start: StartModel, samples: list[TrainingSample]) -> list[str]:
    """The greedy answer to each sample."""
    settings = SamplingSettings(MOST_TOKENS, temperature=0.0, forbidden=start.vision_token_ids)
    asked = []
    for sample in samples:
        frames = as_frames(sample.frames, sample.sample_fps)
        inputs = start.inputs.prompt_inputs(sample.prompt, frames)
        asked.append(Asked(inputs, start.policy.encode(inputs), torch.Generator()))
    drawn = Rollout(settings, start.eos_token_ids).generate(start.policy, asked, 1)
    texts: list[str] = start.processor.batch_decode(
        [ids for (ids,) in drawn], skip_special_tokens=True
    )
    return texts


def _scores(text: str, sample: TrainingSample) -> tuple[float, ...]:
    """Whether nothing is right, then the ID, the tIoU and the vIoU of an answer."""
    completion = Completion(text)
    named = (REWARDS[name](completion, sample.truth) for name in ("id", "tiou", "box_iou"))
    return float(sample.truth.is_nothing), *named
