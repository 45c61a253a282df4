"""Questions with class hints, in which nouns are arbitrary.

The prompt lists what a tracker would believe ("Objects: 1 person, 2 person, 4 car"), and hints,
query and taught answer use the same nouns, drawn anew for every clip. So the model must read the
noun and see the motion; what a thing looks like tells nothing. That is what a small model can
take along to real footage, where the tracker knows the classes.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from stvg_r1_hub.evaluation.sprites.levels import sample_scene
from stvg_r1_hub.evaluation.sprites.motion import ACTIONS
from stvg_r1_hub.evaluation.sprites.question import OTHER_NAMES
from stvg_r1_hub.evaluation.sprites.scene import TINTS, Scene
from stvg_r1_hub.prompting import build_prompt
from train.dialogue import ASKED, Dialogue, canonical
from train.samples import TrainingSample
from train.sizes import HINTS_PROMPT, SMALL, ModelSize
from train.sprite_questions import SpriteQuestions, question_scene
from train.sprite_samples import Sample, draw_dialogue, draw_sample
from train.street.words import NOUNS

_SEEN = re.compile(
    r"(?<=\d) (?:{looks})\b| (?:{actions})(?=[ ,.]| \(asked\))| [\d.]+ to [\d.]+\d|,".format(
        looks="|".join((*TINTS, "big", "small")),
        actions="|".join(canonical(action) for action in ("", *ACTIONS)),
    )
)
"""What only the clip tells in a listing: looks, actions and times."""


def draw_hinted_sample(
    level: str,
    seed: tuple[int, ...],
    *,
    duration_seconds: float,
    dense: bool = False,
    grid_steps: int = 0,
    size: ModelSize = SMALL,
) -> Sample:
    """`draw_sample` with class hints and arbitrary nouns; a listing alone is never asked for."""
    del dense
    sample = draw_sample(
        level,
        seed,
        duration_seconds=duration_seconds,
        dense=False,
        grid_steps=grid_steps,
        size=size,
    )
    scene = sample_scene(level, seed, duration_seconds=duration_seconds)
    return dataclasses.replace(sample, dialogue=with_nouns(sample.dialogue, scene))


def draw_hinted_dialogue(level: str, seed: tuple[int, ...], size: ModelSize = SMALL) -> Dialogue:
    """`draw_dialogue` with class hints and arbitrary nouns."""
    return with_nouns(draw_dialogue(level, seed, size), sample_scene(level, seed))


class HintedQuestions(SpriteQuestions):
    """The questions of `SpriteQuestions`, told in arbitrary nouns."""

    def __getitem__(self, index: int) -> TrainingSample:
        sample = super().__getitem__(index)
        scene = question_scene(self.level, self.seed, index)
        dialogue = with_nouns(Dialogue(sample.prompt, sample.target_text, 0), scene)
        return dataclasses.replace(
            sample,
            sample_id=f"hinted-{sample.sample_id}",
            query=renamed(scene.query, scene_nouns(scene)),
            prompt=dialogue.prompt,
            target=dialogue.answer,
        )


def scene_nouns(scene: Scene) -> dict[str, str]:
    """Every kind of a scene, and its other name, to an arbitrary noun."""
    kinds = sorted({thing.kind for thing in scene.objects} | {scene.question.kind}
                   | ({scene.question.other} - {""}))  # fmt: skip
    rng = np.random.default_rng([*scene.seed, 4])
    nouns = dict(zip(kinds, rng.choice(NOUNS, len(kinds), replace=False).tolist(), strict=True))
    return nouns | {OTHER_NAMES[kind]: noun for kind, noun in nouns.items() if kind in OTHER_NAMES}


def with_nouns(dialogue: Dialogue, scene: Scene) -> Dialogue:
    """A question and its answer with class hints, every kind called by its noun."""
    nouns = scene_nouns(scene)
    # The reasoning lists every numbered object: "2 blue dog walks ...".
    kinds = "|".join(map(re.escape, nouns))
    listed = re.findall(rf"(?<![\d.])(\d+) (?:\w+ )?({kinds})\b", dialogue.answer)
    hints = {int(number): nouns[kind] for number, kind in reversed(listed)}
    answer = _listed_by_hints(renamed(dialogue.answer, nouns), nouns)
    start, stop = answer.index(".") + 1, answer.index("</think>")
    seen = tuple(found.span() for found in _SEEN.finditer(answer, start, stop))
    prompt = build_prompt(
        renamed(scene.query, nouns), HINTS_PROMPT, objects=dict(sorted(hints.items()))
    )
    return dataclasses.replace(dialogue, prompt=prompt, answer=answer, seen=seen)


def _listed_by_hints(answer: str, nouns: dict[str, str]) -> str:
    """The listing as in street scenes: the number before the actions too, of asked nouns alone."""
    kinds = "|".join(map(re.escape, sorted(set(nouns.values()), key=len, reverse=True)))
    line = re.compile(
        rf"(?<=\. )(\d+) ((?:\w+ )?(?:{kinds}))({re.escape(ASKED)})? (.*?)(?=\. |\.<)"
    )

    def told(found: re.Match[str]) -> str:
        number, noun, asked, actions = found.groups()
        return f"{number} {noun}{ASKED} {number} {actions}" if asked else f"{number} {noun}"

    return line.sub(told, answer)


def renamed(text: str, nouns: dict[str, str]) -> str:
    """The text with every kind called by its noun, all at once.

    >>> renamed("the dog left of the cats", {"dog": "car", "cat": "dog"})
    'the car left of the dogs'
    """
    kinds = "|".join(map(re.escape, sorted(nouns, key=len, reverse=True)))
    return re.sub(rf"\b({kinds})(?=s?\b)", lambda found: nouns[found[1]], text)
