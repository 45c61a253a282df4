"""Sprite-world questions with class hints, in which every kind has an arbitrary noun.

The prompt lists what a tracker would believe ("Objects: 1 person, 2 person, 4 car"), and hints,
query and taught answer use the same nouns, drawn anew for every clip. So the model must read the
noun and see the motion; what a thing looks like tells nothing. That is what a small model can
take along to real footage, where the tracker knows the classes. No model was trained with it yet.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from stvg_r1_hub.evaluation.sprites.question import OTHER_NAMES
from stvg_r1_hub.prompting import build_prompt
from train.samples import TrainingSample
from train.sprite_questions import SpriteQuestions, answerable_scene

PROMPT_ID = "sprites-hints-v1"
# The class names of COCO (cocodataset.org), which the bundled detector reports on real footage.
NOUNS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


class HintedQuestions(SpriteQuestions):
    """The questions of `SpriteQuestions`, told in arbitrary nouns."""

    def __getitem__(self, index: int) -> TrainingSample:
        sample = super().__getitem__(index)
        scene = answerable_scene(self.level, self.seed, index)
        kinds = sorted({thing.kind for thing in scene.objects} | {scene.question.kind}
                       | ({scene.question.other} - {""}))  # fmt: skip
        rng = np.random.default_rng([*scene.seed, 4])
        nouns = dict(zip(kinds, rng.choice(NOUNS, len(kinds), replace=False).tolist(), strict=True))
        # The taught reasoning lists every numbered object: "2 blue dog walks ...".
        listed = re.findall(rf"(?<![\d.])(\d+) (?:\w+ )?({'|'.join(kinds)})\b", sample.target_text)
        hints = {int(number): nouns[kind] for number, kind in reversed(listed)}
        synonyms = {OTHER_NAMES[kind]: noun for kind, noun in nouns.items() if kind in OTHER_NAMES}
        query = renamed(sample.query, nouns | synonyms)
        return dataclasses.replace(
            sample,
            sample_id=f"hinted-{sample.sample_id}",
            query=query,
            prompt=build_prompt(query, PROMPT_ID, objects=dict(sorted(hints.items()))),
            target=renamed(sample.target_text, nouns),
        )


def renamed(text: str, nouns: dict[str, str]) -> str:
    """The text with every kind called by its noun, all at once.

    >>> renamed("the dog left of the cats", {"dog": "car", "cat": "dog"})
    'the car left of the dogs'
    """
    kinds = "|".join(map(re.escape, sorted(nouns, key=len, reverse=True)))
    return re.sub(rf"\b({kinds})(?=s?\b)", lambda found: nouns[found[1]], text)
