"""What an answer is worth: plain functions from a completion and its ground truth to a number.

The official reward of STVG-R1 is `tiou + id + format`, 0..3, all weights 1 (grpo_video.py,
XiaowZhang00/stvg-r1 @ 0bea9e5). The others are for experiments. All read answers with the
package's own parser and measure with its own metrics.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from numpy.typing import ArrayLike

from stvg_r1_hub.answer import parse_answer
from stvg_r1_hub.evaluation.metrics import temporal_iou, temporal_wasserstein, tube_iou
from stvg_r1_hub.geometry import frames_in_range
from stvg_r1_hub.structures import SAYS_NOTHING, Answer, Range, Tracks

_BETWEEN_BLOCKS = re.compile(r"</think>\s*<answer>")
_SIDE = re.compile(r"\b(left|right)(?=\b|ward|most|wards)", re.IGNORECASE)


@dataclass(frozen=True)
class Completion:
    """What the model answered."""

    text: str
    """The whole output, special tokens removed."""
    mirrored_text: str | None = None
    """Its answer about the clip flipped left to right, asked with left and right exchanged."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What would have been right."""

    object_ids: tuple[int, ...]
    """The numbers drawn on the asked objects; one, except for multi-object data, and none where
    nothing in the clip is what the query describes: the times then mean nothing."""
    start_seconds: float
    end_seconds: float
    duration_seconds: float
    """Length of the clip."""
    tracks: Tracks | None = None
    """The numbered objects; only `box_iou_reward` needs them."""
    boxes: Mapping[int, ArrayLike] = field(default_factory=dict)
    """Native frame to the annotated `(4,)` xyxy box, over the time range."""
    ranges: tuple[Range, ...] = ()
    """All its moments, ascending and apart; where none is given, the one from start to end."""

    def __str__(self) -> str:
        if self.is_nothing:
            return "none"
        return "{:.0f}, {:.2f} to {:.2f}".format(*self.solution)

    @property
    def is_nothing(self) -> bool:
        """Whether the right answer is that there is none."""
        return not self.object_ids

    @property
    def solution(self) -> tuple[float, float, float]:
        """The official form: `(object_id, start_seconds, end_seconds)`; there must be an ID."""
        return float(self.object_ids[0]), self.start_seconds, self.end_seconds

    @property
    def time_range(self) -> tuple[float, float]:
        """`(start_seconds, end_seconds)`."""
        return self.start_seconds, self.end_seconds


Reward = Callable[[Completion, GroundTruth], float]


def tiou_reward(completion: Completion, truth: GroundTruth) -> float:
    """Temporal IoU of the answered and the true range, 0..1; 0 for an incomplete answer.

    `max(0, min(end, end') - max(start, start')) / (max(end, end') - min(start, start'))`. Source:
    the first half of `iou_timestamp_reward` of grpo_video.py. An answer that the strict parser
    cannot read completely scores 0 in both halves, even with the right ID.

    Where nothing is right, 1 for saying so outright, else 0.
    """
    if truth.is_nothing:
        return _says_nothing(completion)
    answer = _complete_answer(completion.text)
    return temporal_iou(_time_range(answer), truth.time_range) if answer else 0.0


def object_tiou_reward(completion: Completion, truth: GroundTruth) -> float:
    """tIoU of an answer whose object is right, 0..1; a wrong object earns as little as "none".

    `tIoU * 1[ID = ID']`; where nothing is right, 1 for saying so outright, else 0. Own definition.
    """
    return tiou_reward(completion, truth) * id_reward(completion, truth)


def id_reward(completion: Completion, truth: GroundTruth) -> float:
    """1 when the answered ID is the true one, else 0; an answer without times scores 0 too.

    `1[ID = ID']`. Source: the second half of the official `iou_timestamp_reward`.

    Where nothing is right, 1 for saying so outright, else 0.
    """
    if truth.is_nothing:
        return _says_nothing(completion)
    answer = _complete_answer(completion.text)
    return float(answer is not None and answer.object_ids[0] == truth.object_ids[0])


def format_reward(completion: Completion, truth: GroundTruth) -> float:
    """1 when the text is a think block and then an answer block, else 0.

    `1[text = "<think>" ... "</think>" blanks "<answer>" ... "</answer>"]`. Source: `format_reward`
    of the same file.

    White space around and between does not matter, nor does what the blocks contain, not even
    further blocks; text before the first or after the last tag does.
    """
    text = completion.text.strip()
    if not (text.startswith("<think>") and text.endswith("</answer>")):
        return 0.0
    middle = _BETWEEN_BLOCKS.search(text, len("<think>"))
    return 1.0 if middle and middle.end() <= len(text) - len("</answer>") else 0.0


def scaled_tiou_reward(completion: Completion, truth: GroundTruth) -> float:
    """Temporal IoU times the closeness of both ends, 0..1.

    `tIoU * (1 - |start - start'| / duration) * (1 - |end - end'| / duration)`, each factor at
    least 0. Source: the temporal reward of Time-R1 (arXiv 2503.13377), which STVG-R1's code
    carries commented out. Where nothing is right, 1 for saying so outright, else 0.
    """
    if truth.is_nothing:
        return _says_nothing(completion)
    answer = _complete_answer(completion.text)
    if answer is None or truth.duration_seconds <= 0:
        return 0.0
    overlap = temporal_iou(_time_range(answer), truth.time_range)
    for ours, theirs in zip(_time_range(answer), truth.time_range, strict=True):
        overlap *= max(0.0, 1 - abs(ours - theirs) / truth.duration_seconds)
    return overlap


def temporal_wasserstein_reward(completion: Completion, truth: GroundTruth) -> float:
    """How near the answered moments are to the true ones, 0..1, also where they do not overlap.

    `exp(-3 * W1 / |truth|)`, with W1 of `evaluation.metrics.temporal_wasserstein` and the seconds
    of the true ranges. Source: the temporal reward of TimeLens2. Read by the lenient parser,
    because the strict one knows a single range. Where nothing is right, 1 for saying so outright.
    """
    if truth.is_nothing:
        return _says_nothing(completion)
    answer = parse_answer(completion.text)
    if not answer.is_valid:
        return 0.0
    true = truth.ranges or (truth.time_range,)
    seconds = sum(end - start for start, end in true)
    distance = temporal_wasserstein(answer.ranges or (_time_range(answer),), true)
    return math.exp(-3 * distance / seconds)


def box_iou_reward(completion: Completion, truth: GroundTruth) -> float:
    """vIoU of the answered object's boxes in the answered range with the annotated tube, 0..1.

    Sum of the box IoU over the frames of both, divided by the number of frames in either
    (`evaluation.metrics.tube_iou`). Own definition, after the continuous reward that the paper
    compares with its 0/1 ID reward (arXiv 2602.11730: 38.6 against 39.1 m_vIoU).

    Where nothing is right, 1 for saying so outright, else 0.

    Raises:
        ValueError: the truth has no tracks or boxes.
    """
    if truth.is_nothing:
        return _says_nothing(completion)
    if truth.tracks is None or not truth.boxes:
        raise ValueError("box_iou needs samples with tracks and annotated boxes")
    answer = _complete_answer(completion.text)
    if answer is None:
        return 0.0
    track = truth.tracks.get(answer.object_ids[0])
    frames = frames_in_range(truth.tracks.frame_times, *_time_range(answer))
    predicted = {frame: track.box_at(frame) if track else None for frame in frames}
    return tube_iou(predicted, truth.boxes)


def ids_f1_reward(completion: Completion, truth: GroundTruth) -> float:
    """F1 of the answered set of IDs and the true one, 0..1, for queries about several objects.

    `2 * |both| / (|answered| + |true|)`. Own definition, the usual F1 of two sets. Read by the
    lenient parser, because the strict one knows a single ID. Where nothing is right, 1 for saying
    so outright, else 0.
    """
    if truth.is_nothing:
        return _says_nothing(completion)
    answered, true = set(parse_answer(completion.text).object_ids), set(truth.object_ids)
    return 2 * len(answered & true) / (len(answered) + len(true))


def mirror_reward(completion: Completion, truth: GroundTruth) -> float:
    """Whether the flipped clip gets the same answer, 0..1: half for the ID, half the tIoU of both.

    `(1[ID = ID of the flipped clip] + tIoU of both ranges) / 2`. It says nothing about being
    right, so it is meant beside the other rewards. Own definition.

    Raises:
        ValueError: the flipped clip was not asked.
    """
    if completion.mirrored_text is None:
        raise ValueError("mirror needs samples prepared with their flipped clip (--mirror)")
    if truth.is_nothing:
        both = (completion, Completion(completion.mirrored_text))
        return float(all(_says_nothing(one) for one in both))
    ours, theirs = _complete_answer(completion.text), _complete_answer(completion.mirrored_text)
    if ours is None or theirs is None:
        return 0.0
    same = float(ours.object_ids[0] == theirs.object_ids[0])
    return (same + temporal_iou(_time_range(ours), _time_range(theirs))) / 2


REWARDS: dict[str, Reward] = {
    "tiou": tiou_reward,
    "id": id_reward,
    "format": format_reward,
    "object_tiou": object_tiou_reward,
    "scaled_tiou": scaled_tiou_reward,
    "temporal_wasserstein": temporal_wasserstein_reward,
    "box_iou": box_iou_reward,
    "ids_f1": ids_f1_reward,
    "mirror": mirror_reward,
}
"""Rewards by the name that a config gives a weight."""

REWARD_SETS: dict[str, dict[str, float]] = {
    "official": {"tiou": 1.0, "id": 1.0, "format": 1.0},
    "object": {"object_tiou": 1.0, "format": 1.0},
}
"""Weights that a config may take by name. `object` is for questions of which some are answered by
nothing: by the official ones any object with any time earns more than "none" (docs/training.md)."""


def mirrored_query(query: str) -> str:
    """The query about the clip flipped left to right: "left" and "right" change places.

    >>> mirrored_query("the man on the Left walks rightwards")
    'the man on the Right walks leftwards'
    """

    def exchange(match: re.Match[str]) -> str:
        other = "right" if match[0].lower() == "left" else "left"
        return other.capitalize() if match[0][0].isupper() else other

    return _SIDE.sub(exchange, query)


def is_complete(text: str) -> bool:
    """Whether a text answers at all: an ID and both times, or outright that nothing matches."""
    return _complete_answer(text) is not None or bool(_says_nothing(Completion(text)))


def _says_nothing(completion: Completion) -> float:
    """1 for an answer that says outright that nothing matches; silence and rubbish are 0."""
    return float((parse_answer(completion.text).problem or "").startswith(SAYS_NOTHING))


def _complete_answer(text: str) -> Answer | None:
    """The answer with an ID and both times by the official rules, or None."""
    answer = parse_answer(text, strict=True)
    if not answer.object_ids or answer.start_seconds is None or answer.end_seconds is None:
        return None
    return answer


def _time_range(answer: Answer) -> tuple[float, float]:
    assert answer.start_seconds is not None and answer.end_seconds is not None
    return answer.start_seconds, answer.end_seconds
