"""Sprite-world questions as training samples for GRPO and supervised training.

Clips are rendered when asked for, at the model's own size, as in pre-training. Some questions of
the medium and hard level are answered by nothing in the clip; saying so earns the whole reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from stvg_r1_hub.answer import parse_answer
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.sprites.clips import check_request, true_tracks, true_tube
from stvg_r1_hub.sprites.levels import sample_scene
from stvg_r1_hub.sprites.scene import Scene
from stvg_r1_hub.structures import Tracks
from train.bundled.sizes import SIZES, SMALL, ModelSize, bundle_config
from train.bundled.sprite_samples import Sample, draw_sample
from train.data.samples import TrainingSample
from train.rewards import GroundTruth

WORLD = 41
"""First part of the seeds: scenes of pre-training and of evaluation have other ones."""
DURATIONS = (3.0, 4.0, 5.0)


class SpriteQuestions:
    """`count` questions about clips of a level; the same arguments give the same ones."""

    world = "sprite world"
    prompt_id = bundle_config(SMALL).prompt_id

    def __init__(
        self,
        level: str,
        seed: int = 0,
        count: int = 10_000,
        nothing_percent: int | None = None,
        *,
        model: STVGConfig | None = None,
    ) -> None:
        """Check the request.

        Args:
            level: of sprite world.
            seed: of the questions.
            count: how many.
            nothing_percent: of them, 0..100, are answered by nothing; None: as the level has them.
            model: settings of the model that is asked; None takes the small one's.

        Raises:
            ConfigError: an unknown level, a number that is not allowed, or a model for whose frames
                sprite world is not rendered.
        """
        check_request(level, seed, count)
        self.title = f"{self.world}, level {level}, seed {seed}"
        if nothing_percent is not None:
            if nothing_percent > 100:
                raise ConfigError(f"Got {nothing_percent} percent; it must be 0 to 100.")
            self.title += f", {nothing_percent} % answered by nothing"
        self.nothing_percent = nothing_percent
        self.fingerprint = self.title
        self.config = replace(model or bundle_config(SMALL), prompt_id=self.prompt_id)
        self.level = level
        self.seed = seed
        self.count = count
        self.size = size_of(self.config.sampling.max_pixels)

    @property
    def sample_ids(self) -> list[str]:
        """The name of each."""
        return [self._name(index) for index in range(self.count)]

    def _name(self, index: int) -> str:
        return f"{self.world}, {self.level}-{self.seed}-{index}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> TrainingSample:
        scene = self.scene(index)
        key, duration = scene.seed, scene.duration_seconds
        drawn = draw_sample(self.level, key, duration_seconds=duration, dense=False, size=self.size)
        return TrainingSample(
            sample_id=self._name(index),
            query=scene.query,
            prompt=drawn.dialogue.prompt,
            frames=drawn.frames,
            sample_fps=self.config.sampling.fps,
            truth=taught_truth(drawn, scene),
            target=drawn.dialogue.answer,
        )

    def scene(self, index: int) -> Scene:
        """What happens in the clip of question `index`."""
        if self.nothing_percent is None:
            return question_scene(self.level, self.seed, index)
        drawn = int(np.random.default_rng((WORLD, self.seed, index)).integers(100))
        return chosen_scene(self.level, self.seed, index, nothing=drawn < self.nothing_percent)


def taught_truth(sample: Sample, scene: Scene) -> GroundTruth:
    """What a taught answer says, as ground truth, with the numbered objects of its clip."""
    right = parse_answer(sample.dialogue.answer, strict=True)
    if not right.object_ids:
        return GroundTruth((), 0.0, 0.0, scene.duration_seconds)
    assert right.start_seconds is not None and right.end_seconds is not None
    return GroundTruth(
        right.object_ids,
        right.start_seconds,
        right.end_seconds,
        scene.duration_seconds,
        numbered_tracks(scene, sample.numbers),
        true_tube(scene),
    )


def numbered_tracks(scene: Scene, numbers: Mapping[int, int]) -> Tracks:
    """The true tracks under the numbers that are drawn."""
    tracks = true_tracks(scene)
    renamed = (replace(track, object_id=numbers[track.object_id]) for track in tracks.tracks)
    return replace(tracks, tracks=tuple(renamed))


def question_scene(level: str, seed: int, index: int, attempt: int = 0) -> Scene:
    """The scene of question `index`; the same arguments give the same one."""
    key = (WORLD, seed, index, attempt)
    duration = float(np.random.default_rng(key).choice(DURATIONS))
    return sample_scene(level, key, duration_seconds=duration)


def chosen_scene(level: str, seed: int, index: int, *, nothing: bool) -> Scene:
    """The first scene at `index` that nothing answers, or that something does.

    Raises:
        ConfigError: the level has only questions of the other kind.
    """
    for attempt in range(200):
        scene = question_scene(level, seed, index, attempt)
        if (scene.target_id is None) == nothing:
            return scene
    kind = "is answered by nothing" if nothing else "has an answer"
    raise ConfigError(f"The level {level} has no question that {kind} (looked at {index}).")


def size_of(max_pixels: int | None) -> ModelSize:
    """The model size whose frames have at most so many pixels; None: a config without that limit.

    Raises:
        ConfigError: sprite world is not rendered at that size.
    """
    for size in SIZES.values():
        if max_pixels is not None and size.side**2 <= max_pixels <= size.most_pixels:
            return size
    sides = ", ".join(f"{size.side}x{size.side}" for size in SIZES.values())
    raise ConfigError(
        f"The model's config says sampling.max_pixels = {max_pixels}; sprite world is rendered at "
        f"{sides} only, so start from the bundled model, or train on a prepared folder."
    )
