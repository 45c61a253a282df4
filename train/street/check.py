"""Generated answers to street questions that training never draws, beside chance.

python -m train.street.check --model stvg_r1_hub/bundled/tiny --n 200
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from stvg_r1_hub.answer import SAYS_NOTHING, parse_answer
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.evaluation.metrics import temporal_iou
from stvg_r1_hub.structures import Frames, MarkedFrames
from stvg_r1_hub.vlm.local import LocalVLM
from train.sprite_questions import size_of, told_truth
from train.sprite_samples import Sample
from train.street.samples import draw_picture, draw_street_sample
from train.street.world import DURATIONS, sample_street


def check(model: Path, *, seed: int = 1, n: int = 100) -> dict[str, Any]:
    """Ground `n` unseen clips with true tracks.

    Args:
        model: folder of a bundle.
        seed: which clips; training never draws two-part seeds.
        n: how many.

    Returns:
        `id_accuracy` and `m_tiou` over the answerable ones, `none_accuracy` over the others, the
        same of a random number through the whole clip as `chance`, and `by_motion`: what is asked
        for to ID accuracy, m_tIoU and number of clips.
    """
    config = STVGConfig.load(model)
    vlm = LocalVLM.from_pretrained(str(model), config=config, local_files_only=True, device="cpu")
    size = size_of(config.sampling.max_pixels or 0)
    rows: dict[str, list[tuple[float, float]]] = {}
    chance: list[tuple[float, float]] = []
    for number in tqdm(range(n), desc="street"):
        key = (seed, number)
        rng = np.random.default_rng([*key, 3])
        duration = float(rng.choice(DURATIONS))
        sample = draw_street_sample(
            key, duration_seconds=duration, picture=draw_picture(rng), size=size
        )
        scene = sample_street(key, duration_seconds=duration)
        (text,) = vlm.generate(
            [sample.dialogue.prompt],
            vlm.encode(as_marked(sample, duration)),
            max_new_tokens=config.generation.max_new_tokens,
        )
        truth = told_truth(sample.dialogue.answer, duration)
        said = parse_answer(text)
        if truth.is_nothing:
            right = (said.problem or "").startswith(SAYS_NOTHING)
            rows.setdefault("none", []).append((float(right), 0.0))
            continue
        span = (said.start_seconds or 0.0, said.end_seconds or 0.0)
        score = (float(said.object_ids == truth.object_ids), temporal_iou(span, truth.time_range))
        rows.setdefault(scene.motion, []).append(score)
        whole = temporal_iou((0.0, duration), truth.time_range)
        chance.append((1 / len(scene.tracked), whole))
    none = rows.pop("none", [])
    return {
        "n": n,
        **_means([score for scores in rows.values() for score in scores]),
        "none_accuracy": round(float(np.mean([right for right, _ in none])), 3) if none else None,
        "chance": _means(chance),
        "by_motion": {name: [*_means(rows[name]).values(), len(rows[name])] for name in rows},
    }


def as_marked(sample: Sample, duration_seconds: float) -> MarkedFrames:
    """A training sample's frames as the pipeline gives them to the language model."""
    count, height, width, _ = sample.frames.shape
    fps = count / duration_seconds
    indices = np.arange(count)
    frames = Frames(sample.frames, indices, indices / fps, fps, height, width)
    return MarkedFrames(frames, (frozenset(),) * count)


def _means(scores: Sequence[tuple[float, float]]) -> dict[str, float]:
    right, tiou = np.mean(scores, axis=0) if scores else (0.0, 0.0)
    return {"id_accuracy": round(float(right), 3), "m_tiou": round(float(tiou), 3)}


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, default=100)
    args = parser.parse_args()
    print(json.dumps(check(args.model, seed=args.seed, n=args.n), indent=1))


if __name__ == "__main__":
    main()
