"""A model's probabilities of object numbers and its answer in, confidence and alternatives out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stvg_r1_hub.structures import Alternative, Generated, Tracks, Tube

_MOST_ALTERNATIVES = 5
_LEAST_CONFIDENCE = 0.005
"""An alternative below this would be shown as 0.00."""


def confidence_of(text: str, object_ids: tuple[int, ...]) -> float | None:
    """How sure a model was of the objects that it answered.

    Args:
        text: what it wrote.
        object_ids: the answered objects; of several, the probabilities to be named first add up.

    Returns:
        0..1; None where the text does not carry probabilities, or none of an answered object.
    """
    if not isinstance(text, Generated):
        return None
    known = [text.id_probabilities[i] for i in object_ids if i in text.id_probabilities]
    total = math.fsum(known)
    return min(max(total, 0.0), 1.0) if known and math.isfinite(total) else None


def alternatives_of(
    text: str, tube: Tube, tracks: Tracks, moments: Sequence[Alternative] = ()
) -> tuple[Alternative, ...]:
    """What a model might have meant besides its answer, most likely first.

    Args:
        text: what it wrote.
        tube: what it answered. Its times are those of an alternative for which the model names
            none itself; where it has no times, such an alternative is left out.
        tracks: all objects; others are left out.
        moments: further ones, of other texts; the answered object may be in them at another time.
    """
    answered = (tube.start_seconds, tube.end_seconds)
    found = []
    if isinstance(text, Generated):
        for object_id, probability in text.id_probabilities.items():
            if object_id not in tube.object_ids:
                start, end = text.id_ranges.get(object_id, answered)
                found.append(Alternative(object_id, start, end, probability))
    found = [
        other
        for other in (*found, *moments)
        if _LEAST_CONFIDENCE <= other.confidence <= 1
        and other.start_seconds < other.end_seconds
        and tracks.get(other.object_id)
    ]
    found.sort(key=lambda other: (-other.confidence, other.object_id))
    return tuple(found[:_MOST_ALTERNATIVES])
