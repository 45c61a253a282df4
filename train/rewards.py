"""The official rewards of STVG-R1: format (0 or 1) plus temporal IoU and ID (0..2).

Source of the rules: grpo_video.py, XiaowZhang00/stvg-r1 @ 0bea9e5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stvg_r1_hub.answer import parse_answer
from stvg_r1_hub.evaluation.metrics import temporal_iou

_BETWEEN_BLOCKS = re.compile(r"</think>\s*<answer>")


def format_reward(text: str) -> float:
    """1.0 when the text is a think block and then an answer block, else 0.0.

    White space around and between does not matter, nor does what the blocks contain, not even
    further blocks; text before the first or after the last tag does.
    """
    text = text.strip()
    if not (text.startswith("<think>") and text.endswith("</answer>")):
        return 0.0
    middle = _BETWEEN_BLOCKS.search(text, len("<think>"))
    return 1.0 if middle and middle.end() <= len(text) - len("</answer>") else 0.0


def localization_reward(text: str, solution: Sequence[float]) -> float:
    """Temporal IoU plus 1 when the ID is right, 0..2.

    An answer that the strict parser cannot read completely scores 0, even with the right ID.

    Args:
        text: the model's whole output.
        solution: `(object_id, start_seconds, end_seconds)`.
    """
    answer = parse_answer(text, strict=True)
    if not answer.object_ids or answer.start_seconds is None or answer.end_seconds is None:
        return 0.0
    object_id, start, end = solution
    overlap = temporal_iou((answer.start_seconds, answer.end_seconds), (start, end))
    return overlap + float(answer.object_ids[0] == object_id)


def total_reward(text: str, solution: Sequence[float]) -> float:
    """Sum of both rewards, 0..3; the weights of all parts are 1 in the official recipe."""
    return format_reward(text) + localization_reward(text, solution)
