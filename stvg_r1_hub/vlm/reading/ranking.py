"""Which of several moments is the biggest, the nearest, the second from the left or the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from stvg_r1_hub.structures import ObjectNote
from stvg_r1_hub.vlm.reading.moments import Moment, NothingFits
from stvg_r1_hub.vlm.reading.relations import distances

ORDERS = {
    "first": 0, "second": 1, "third": 2, "fourth": 3, "fifth": 4, "last": -1, "second to last": -2,
}  # fmt: skip
"""Words of order and their places in what is sorted."""
_SAME_SECONDS = 0.05


def ranked(moments: list[Moment], rank: str, order: str) -> list[Moment]:
    """The moments of the object that ranks highest, or of the one that an ordinal names.

    Args:
        moments: at least one.
        rank: such as `"biggest"`.
        order: a key of `ORDERS` or empty; with `"first"` and `"last"` the highest is meant.

    Raises:
        NothingFits: there are too few, or they are never seen at once and have no order.
    """

    def size(m: Moment) -> float:
        sides = m.boxes()[:, 2:] - m.boxes()[:, :2]
        return float(np.median(np.prod(sides, axis=1)))

    def feet(m: Moment) -> float:
        return float(np.median(m.boxes()[:, 3]))

    def across(m: Moment) -> float:
        return float(np.median(m.boxes()[:, [0, 2]]))

    def speed(m: Moment) -> float:
        return m.speed

    measure, sign = {
        "biggest": (size, 1), "smallest": (size, -1), "nearest": (feet, 1), "farthest": (feet, -1),
        "rightmost": (across, 1), "leftmost": (across, -1), "fastest": (speed, 1),
        "slowest": (speed, -1),
    }[rank]  # fmt: skip
    is_ordinal = order not in ("", "first", "last")
    order = order if is_ordinal else "first"
    compared = moments
    if measure in (feet, across):
        compared = _side_by_side(moments) or compared
        if compared is moments and is_ordinal:
            raise NothingFits(
                f"The {len(moments)} that fit are never all seen at once, so which one is the "
                f'{order} changes; ask about one moment, such as "at the start".'
            )
    # An ordinal is true while all are seen: afterwards another may be the second.
    moments = compared if is_ordinal else moments
    chosen = _nth(compared, order, lambda m: -sign * measure(m)).note
    return [m for m in moments if m.note is chosen]


def ordered(moments: list[Moment], order: str, *, by_end: bool) -> list[Moment]:
    """The moments that begin, or end, as the first, the last or the one that an ordinal names.

    Args:
        moments: at least one.
        order: a key of `ORDERS`.
        by_end: order by the ends, as of those that leave.

    Raises:
        NothingFits: there are too few, or several share an ordinal's place.
    """

    def time(m: Moment) -> float:
        return m.end_seconds if by_end else m.start_seconds

    at = time(_nth(moments, order, time))
    found = [m for m in moments if abs(time(m) - at) < _SAME_SECONDS]
    if len(found) > 1 and order not in ("first", "last"):
        raise NothingFits(
            f"{len(found)} do so at the same time, so none is the {order}; say how they are "
            f'counted, such as "the {order} from the left".'
        )
    return found


def nearest_to(
    moments: list[Moment], others: list[ObjectNote], name: str, *, sign: int
) -> list[Moment]:
    """The moments of the object that is nearest to one of the others while both are seen.

    Args:
        moments: of the objects that are compared.
        others: what they are near to.
        name: of these, for people.
        sign: 1 for the nearest, -1 for the farthest.

    Raises:
        NothingFits: none is seen together with another.
    """
    found = {}
    for moment in moments:
        seen = (moment.start_seconds, moment.end_seconds)
        gaps = [distances(moment.note, o, *seen) for o in others if o is not moment.note]
        if medians := [float(np.median(gap)) for gap in gaps if len(gap)]:
            found[moment] = min(medians)
    if not found:
        raise NothingFits(f"None is seen together with a {name}.")
    best = min(found, key=lambda m: sign * found[m]).note
    return [m for m in found if m.note is best]


def _nth(moments: list[Moment], order: str, key: Callable[[Moment], float]) -> Moment:
    """The moment at an ordinal's place among the objects, each by its first, or last, moment."""
    place = ORDERS[order]
    rows: dict[int, Moment] = {}
    for moment in sorted(moments, key=key, reverse=place < 0):
        rows.setdefault(moment.note.object_id, moment)
    index = place if place >= 0 else -1 - place
    if index >= len(rows):
        fits = "1 object fits" if len(rows) == 1 else f"{len(rows)} objects fit"
        raise NothingFits(f"Only {fits}, so there is no {order} one.")
    return list(rows.values())[index]


def _side_by_side(moments: list[Moment]) -> list[Moment]:
    """Moments cut to the stretch in which all are seen, since places change; none without one."""
    start = max(m.start_seconds for m in moments)
    end = min(m.end_seconds for m in moments)
    cut = [replace(m, start_seconds=start, end_seconds=end) for m in moments]
    return cut if start < end else []
