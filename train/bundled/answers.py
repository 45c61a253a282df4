"""How well a model answers unseen rendered clips whose tracks are given, as training reports it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from stvg_r1_hub.evaluation.benchmarks.sprites import read_sprites, true_tracker
from stvg_r1_hub.evaluation.evaluator import Evaluator
from stvg_r1_hub.evaluation.lines import scores_of
from stvg_r1_hub.evaluation.protocols import PROTOCOLS, summarize
from stvg_r1_hub.evaluation.runner import lines_of_clip
from stvg_r1_hub.evaluation.summary import oracle_means
from stvg_r1_hub.pipeline import STVGPipeline


def answer_sprites(model: Path, level: str, *, seed: int, n: int) -> dict[str, Any]:
    """Means of a language model's answers to `n` clips with true tracks; no detector is needed.

    Returns:
        `level`, `seed`, `n`; `id_accuracy` over all clips, `m_tiou` and `m_viou` over those with an
        answer and `none_accuracy` over the others, where there are such.

    Raises:
        ConfigError: a level, seed or number that is not allowed.
    """
    with tempfile.TemporaryDirectory() as folder:
        samples = read_sprites(level, seed, n, folder)
        pipeline = STVGPipeline.from_pretrained(model, tracker=true_tracker(samples[0]))
        evaluator = Evaluator(pipeline, "tube", true_tracks=True, renders=True)
        lines = [
            line
            for sample in samples
            for line in lines_of_clip(evaluator, [sample], [sample.query])
        ]
    means = summarize(PROTOCOLS["strict"], scores_of(lines, "strict"))
    names = {"m_tIoU": "m_tiou", "m_vIoU": "m_viou", "none accuracy": "none_accuracy"}
    return {
        "level": level,
        "seed": seed,
        "n": n,
        "id_accuracy": oracle_means(lines).get("right answer", 0.0),
        **{key: means[name] for name, key in names.items() if name in means},
    }
