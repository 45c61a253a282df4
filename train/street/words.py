"""Nouns and wordings of street questions."""

from __future__ import annotations

import numpy as np

from stvg_r1_hub.evaluation.sprites.question import Verb

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
STREET_NOUNS = ("person", "car", "bicycle", "dog", "truck", "bus", "motorcycle")
"""What most street footage is about."""
SYNONYMS = {
    "person": ("man", "woman", "man", "woman", "pedestrian", "guy", "lady", "boy", "girl"),
    "car": ("vehicle", "taxi"),
    "bicycle": ("bike", "cyclist"),
    "motorcycle": ("motorbike",),
    "truck": ("lorry", "van"),
    "dog": ("puppy",),
    "cat": ("kitten",),
    "airplane": ("plane",),
    "boat": ("ship",),
}
"""Other words that queries use for a noun."""
VEHICLES = ("car", "bus", "truck", "motorcycle", "bicycle", "train")

LEFT, RIGHT, UP, DOWN = "walks left", "walks right", "walks up", "walks down"
RESTS, WALKS = "rests", "walks"
MOTIONS = (LEFT, RIGHT, UP, DOWN)
"""How a listing names the four directions in the picture; up is away from the camera."""

_GOING = (
    Verb("walks", "walking", "walked"),
    Verb("moves", "moving", "moved"),
    Verb("goes", "going", "went"),
    Verb("heads", "heading", "headed"),
)
_DRIVING = Verb("drives", "driving", "drove")
_WHERE = {
    LEFT: ("to the left", "to the left", "left", "towards the left", "from right to left"),
    RIGHT: ("to the right", "to the right", "right", "towards the right", "from left to right"),
    UP: ("away", "away from the camera", "up", "into the distance"),
    DOWN: ("towards the camera", "closer", "down", "towards us"),
    WALKS: ("",),
}
_STILL = (
    Verb("stands still", "standing still", "stood still"),
    Verb("stands still", "standing still", "stood still"),
    Verb("stands", "standing", "stood"),
    Verb("stays in place", "staying in place", "stayed in place"),
    Verb("does not move", "not moving", "did not move"),
    Verb("waits", "waiting", "waited"),
)
_PARKED = Verb("is parked", "parked", "was parked")
_WORDINGS = (
    "the {noun} {gerund}",
    "the {noun} {gerund}",
    "the {noun} that {third}",
    "the {noun} who {third}",
    "the {noun} that is {gerund}",
    "the {noun} who is {gerund}",
    "the {noun} which {third}",
    "a {noun} {gerund}",
    "a {noun} {third}",
    "find the {noun} that {third}",
    "which {noun} {third}",
    "the {noun} that {past}",
)


def wording(noun: str, motion: str, rng: np.random.Generator) -> str:
    """One of the many ways to ask for a noun and what it does.

    >>> wording("cup", "rests", np.random.default_rng(0))
    'a cup waiting.'

    Args:
        noun: as in the hints.
        motion: one of `MOTIONS`, `RESTS`, or `WALKS` for any direction.
        rng: draws template and synonyms.
    """
    drives = noun in VEHICLES and rng.random() < 0.5
    if motion == RESTS:
        verb = _PARKED if drives else _STILL[int(rng.integers(len(_STILL)))]
    else:
        going = _DRIVING if drives else _GOING[int(rng.choice(4, p=(0.55, 0.2, 0.15, 0.1)))]
        where = str(rng.choice(_WHERE[motion]))
        verb = Verb(*(f"{form} {where}".strip() for form in going))
    if noun in SYNONYMS and rng.random() < 0.4:
        noun = str(rng.choice(SYNONYMS[noun]))
    text = str(rng.choice(_WORDINGS)).format(
        noun=noun, gerund=verb.gerund, third=verb.third_person, past=verb.past
    )
    if rng.random() < 0.15:
        text = text[0].upper() + text[1:]
    return text + "." if rng.random() < 0.1 else text
