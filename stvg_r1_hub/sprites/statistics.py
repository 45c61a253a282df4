"""How hard a level is: shares of what makes clips hard, and what guessing would reach."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from stvg_r1_hub.sprites.clips import check_request, clip_scene
from stvg_r1_hub.sprites.render import render
from stvg_r1_hub.sprites.scene import Scene, traits

_RENDERED = 20
_SIDE = 224
_SAMPLED_FPS = 4.0


def level_statistics(level: str, seed: int, n: int) -> dict[str, Any]:
    """Shares, baselines and cost of `n` scenes, as plain JSON values.

    Args:
        level: one of `levels.LEVELS`.
        seed: 0 or larger.
        n: how many scenes.

    Returns:
        `shares` of each trait's values in 0..1; `baselines`: `random_object` (ID accuracy),
        `whole_clip` and `best_interval` (m_tIoU; the latter is the best constant pair of
        fractions of the clip, given as `best_fractions`), over clips with an answer;
        `ms_per_clip`: processor time to draw and render one at 224 pixels and 4 frames a second.

    Raises:
        ConfigError: a level, seed or number that is not allowed.
    """
    check_request(level, seed, n)
    scenes = [clip_scene(level, seed, number) for number in range(n)]
    answerable = [scene for scene in scenes if scene.answer_range]
    fractions, best = _best_interval(answerable)
    return {
        "level": level,
        "seed": seed,
        "n": n,
        "n_with_an_answer": len(answerable),
        "shares": _shares(scenes),
        "baselines": {
            "random_object": _mean([1 / len(scene.objects) for scene in answerable]),
            "whole_clip": _mean(
                [
                    (scene.answer_range[1] - scene.answer_range[0]) / scene.duration_seconds
                    for scene in answerable
                    if scene.answer_range
                ]
            ),
            "best_interval": best,
            "best_fractions": fractions,
        },
        "ms_per_clip": _milliseconds(level, seed),
    }


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def _shares(scenes: Sequence[Scene]) -> dict[str, dict[str, float]]:
    counts: dict[str, dict[str, int]] = {}
    for scene in scenes:
        for trait, value in traits(scene).items():
            values = counts.setdefault(trait, {})
            values[value] = values.get(value, 0) + 1
    return {
        trait: {value: round(count / len(scenes), 4) for value, count in sorted(values.items())}
        for trait, values in counts.items()
    }


def _best_interval(scenes: Sequence[Scene]) -> tuple[list[float], float]:
    """The constant fractions of the clip with the highest mean tIoU, and that mean."""
    spans = np.array([scene.answer_range for scene in scenes])
    spans = spans / np.array([[scene.duration_seconds] for scene in scenes])
    best, fractions = -1.0, [0.0, 1.0]
    grid = np.linspace(0, 1, 21)
    for start in grid:
        for end in grid[grid > start]:
            shared = np.minimum(spans[:, 1], end) - np.maximum(spans[:, 0], start)
            hull = np.maximum(spans[:, 1], end) - np.minimum(spans[:, 0], start)
            mean = float(np.mean(np.clip(shared, 0, None) / hull))
            if mean > best:
                best, fractions = mean, [round(float(start), 2), round(float(end), 2)]
    return fractions, round(best, 4)


def _milliseconds(level: str, seed: int) -> float:
    begun = time.process_time()
    for number in range(_RENDERED):
        scene = clip_scene(level, seed, number)
        n_frames = round(scene.duration_seconds * _SAMPLED_FPS)
        for _ in render(scene, _SIDE, (np.arange(n_frames) / _SAMPLED_FPS).tolist()):
            pass
    return round(1000 * (time.process_time() - begun) / _RENDERED, 1)
