"""Time ranges in the text of models that answer when, not where."""

from __future__ import annotations

import re

_TIMES = re.compile(r"(\d+(?:\.\d*)?) (?:to|and) (\d+(?:\.\d*)?)")


def parse_time_range(text: str) -> tuple[float, float] | None:
    """The last `number to number` (or `and`) anywhere, one blank on each side of the word.

    Source: `parse_timestamp_output` of evaluate.py, www-Ye/Time-R1 @ d1a0d54, described anew.
    """
    found = list(_TIMES.finditer(text))
    return (float(found[-1][1]), float(found[-1][2])) if found else None
