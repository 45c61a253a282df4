"""What to try where nothing was found: another detector, or a simpler question."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from stvg_r1_hub.vlm.reading.meaning import read_query

OTHER_TRACKERS = {
    "open": "Try the detector that looks for what you describe",
    "rtdetr": "Try the stronger detector",
    "coco": "Try the detector of everyday objects",
}
"""In the order in which they are tried."""


class NextStep(NamedTuple):
    """One button."""

    label: str
    tracker: str = ""
    """Another tracker; empty keeps it."""
    text: str = ""
    """Another description; empty keeps it."""


def next_step(query: str, tracker: str, here: Collection[str]) -> NextStep | None:
    """The one thing to offer.

    Args:
        query: what was not found.
        tracker: what has found the objects.
        here: trackers that can be had.

    Returns:
        Another detector where there is one that may find more, else the same object at any time
        and whatever it does; None when that was asked already.
    """
    for name, label in OTHER_TRACKERS.items():
        if name == tracker:
            break  # What follows finds less.
        if name in here:
            return NextStep(label, tracker=name)
    meaning = read_query(query)
    noun = f"the {meaning.nouns[0]}" if meaning.nouns else ""
    if not noun or noun == query.strip().lower():
        return None
    return NextStep(f"Ask for {noun} alone, at any time", text=noun)
