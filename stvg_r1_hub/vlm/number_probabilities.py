"""How likely each object number was where a model wrote one, from its tokens' probabilities."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

_ANSWER, _DIGITS = "<answer>", re.compile("[0-9]+")
Step = Mapping[str, float]
"""Texts of tokens to their probabilities in one place, at least those of the likely numbers."""


def written_number(text: str) -> tuple[int, str] | None:
    """The first number of the last answer block, and where in the text it stands.

    Returns:
        None where the text has no answer block, or the block no number.
    """
    block = text.rfind(_ANSWER)
    found = _DIGITS.search(text, block) if block >= 0 else None
    return (found.start(), found[0]) if found is not None else None


def number_probabilities(
    tokens: Sequence[str],
    steps: Sequence[Step],
    number: str,
    candidates: Collection[int],
) -> dict[int, float]:
    """Probability of every object number at the place where a model wrote one of them.

    A number of several tokens is their product, and a token without digits follows it. Numbers
    that begin with another token than the written one share its probability evenly, because what
    would have followed there was not asked.

    Args:
        tokens: texts of the tokens from the one on in which the number begins.
        steps: what could have stood in place of each of them.
        number: its digits.
        candidates: the numbers that are there.

    Returns:
        0..1, and 1 together; empty where the written number is not among the candidates, or no
        probability is to be had.
    """
    lead = tokens[0][: len(tokens[0]) - len(tokens[0].lstrip())] if tokens else ""
    paths = {i: _path(f"{lead}{i}", steps) for i in candidates}
    written = next((path for i, path in paths.items() if str(i) == number and path), ())
    if not written or tuple(tokens[: len(written)]) != written or len(steps) <= len(written):
        return {}
    found = {
        i: _probability(path, written, steps, list(paths.values())) for i, path in paths.items()
    }
    total = math.fsum(found.values())
    if not (total > 0 and math.isfinite(total)):
        return {}
    return {i: p / total for i, p in found.items()}


def made_as_sure(
    probabilities: Mapping[int, float], number: int, probability: float
) -> dict[int, float]:
    """The same with another probability of one number; the others share the rest as before.

    Args:
        probabilities: of `number_probabilities`.
        number: one of them.
        probability: 0..1, what it gets. Where there is no other, nobody gets the rest.
    """
    others = math.fsum(p for i, p in probabilities.items() if i != number)
    rest = (1 - probability) / others if others > 0 else 0.0
    return {i: probability if i == number else p * rest for i, p in probabilities.items()}


def _path(text: str, steps: Sequence[Step]) -> tuple[str, ...]:
    """The tokens that a text is written with; as far as the steps know them."""
    path: list[str] = []
    for step in steps:
        lengths = range(len(text), 0, -1)
        token = next((text[:n] for n in lengths if text[:n] in step), None)
        if token is None:
            break
        path.append(token)
        text = text[len(token) :]
    return tuple(path)


def _probability(
    path: tuple[str, ...],
    written: tuple[str, ...],
    steps: Sequence[Step],
    paths: list[tuple[str, ...]],
) -> float:
    probability = 1.0 if path else 0.0
    for place, token in enumerate(path):
        probability *= steps[place][token]
        head = path[: place + 1]
        if head != written[: place + 1]:
            return probability / sum(other[: place + 1] == head for other in paths)
    goes_on = math.fsum(p for token, p in steps[len(path)].items() if token.isdigit())
    return probability * max(1 - goes_on, 0.0)
