"""Which objects a meaning fits and when: `Meaning` and `Notes` in, moments out.

Every test is a rule over boxes and their notes, stated where it stands. An object that a test
cannot judge, such as a colour where none is clear, does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from stvg_r1_hub.structures import Notes, ObjectNote, Segment
from stvg_r1_hub.vlm.reading.lexicon import classes_of
from stvg_r1_hub.vlm.reading.meaning import Meaning
from stvg_r1_hub.vlm.reading.moments import Moment, NothingFits
from stvg_r1_hub.vlm.reading.ranking import nearest_to, ordered, ranked
from stvg_r1_hub.vlm.reading.relations import related

EVENT_SECONDS = 1.5
"""Coming in and going out last so long; so do stopping and starting."""
_SHORTEST_SECONDS = 0.3
_SIDE, _MIDDLE = 0.42, (0.3, 0.7)
"""Shares of the frame's side: up to the first is on the left, between the others in the middle."""
_SLOW = 0.6
"""Slow is at most so much of the usual speed of those that move."""
_SAME_SEGMENT = {"up": "away", "down": "towards"}
_DOES = {
    "moving": "moves", "fast": "moves fast", "slow": "moves slowly", "still": "stays still",
    "towards": "comes closer", "away": "goes away", "up": "goes up", "down": "goes down",
    "left": "goes left", "right": "goes right",
}  # fmt: skip
"""Motion as a verb for people; the words of events are verbs themselves."""
_THERE = {
    "left": "on the left", "right": "on the right", "middle": "in the middle", "top": "at the top",
    "bottom": "at the bottom", "near": "near the camera", "far": "far from the camera",
}  # fmt: skip


def find(meaning: Meaning, notes: Notes) -> list[Moment]:
    """The moments that fit, best first: the longest, then the earliest.

    Raises:
        NothingFits: none does; the first test that leaves nothing is named.
    """
    objects = _of_class(meaning, notes)
    objects = _kept(
        objects, lambda o: _is_coloured(o, meaning.colours), _no_colour(meaning, objects)
    )
    moments = [m for o in objects for m in _moving_so(o, meaning.motion, notes)]
    if not moments:
        doing = " and ".join(_DOES.get(word, word) for word in meaning.motion)
        at_once = " at once" if len(meaning.motion) > 1 else ""
        raise NothingFits(f"No {_noun(meaning)} {doing}{at_once}.")
    if meaning.during is not None:
        moments = _within(moments, meaning, notes)
    moments = _placed(moments, meaning.where, notes)
    if meaning.relation is not None:
        moments = _related(moments, *meaning.relation, notes)
    if meaning.rank:
        moments = ranked(moments, meaning.rank, meaning.order)
    if meaning.order and (not meaning.rank or meaning.order in ("first", "last")):
        moments = ordered(moments, meaning.order, by_end="leaves" in meaning.motion)
    return sorted(moments, key=lambda m: (-round(m.seconds, 2), m.start_seconds))


def _noun(meaning: Meaning) -> str:
    return " or ".join(meaning.nouns[:2]) or "object"


def _of_class(meaning: Meaning, notes: Notes) -> list[ObjectNote]:
    if not meaning.nouns:
        return list(notes.objects)
    wanted = {name for noun in meaning.nouns for name in classes_of(noun)}
    found = [o for o in notes.objects if o.class_name.lower() in wanted]
    if found:
        return found
    there = ", ".join(sorted({o.class_name for o in notes.objects})) or "nothing"
    known = {name.lower() for name in notes.class_names}
    if not wanted & known:
        names = ", ".join(notes.class_names[:12])
        more = f" and {len(notes.class_names) - 12} more" if len(notes.class_names) > 12 else ""
        raise NothingFits(
            f"This tracker does not know {_noun(meaning)!r}: it knows {names}{more}; another "
            "object can be looked for with the tracker 'open'."
        )
    raise NothingFits(f"No {_noun(meaning)} was found; there is: {there}.")


def _kept(
    objects: list[ObjectNote], test: Callable[[ObjectNote], bool], reason: str
) -> list[ObjectNote]:
    found = [o for o in objects if test(o)]
    if not found:
        raise NothingFits(reason)
    return found


def _is_coloured(note: ObjectNote, colours: Sequence[str]) -> bool:
    for colour in colours:
        part, _, name = colour.rpartition(":")
        own = {"upper": note.colours, "lower": note.lower_colours}.get(
            part, note.colours + note.lower_colours
        )
        if name not in own:
            return False
    return True


def _no_colour(meaning: Meaning, objects: list[ObjectNote]) -> str:
    asked = " and ".join(
        colour.replace("upper:", "").replace("lower:", "") for colour in meaning.colours
    )
    if not any(o.colours or o.lower_colours for o in objects):
        return f"The colour of no {_noun(meaning)} is clear enough to say which is {asked}."
    seen = "; ".join(
        f"{o.object_id}: {', '.join(dict.fromkeys(o.colours + o.lower_colours)) or 'unclear'}"
        for o in sorted(objects, key=lambda o: o.object_id)[:9]
    )
    return f"No {_noun(meaning)} is clearly {asked} (colours by number: {seen})."


def _moving_so(note: ObjectNote, motion: Sequence[str], notes: Notes) -> list[Moment]:
    """The stretches in which an object does all that is asked; the whole of it where nothing is."""
    whole = Moment(note, note.start_seconds, note.end_seconds)
    moments = [whole]
    events = [word for word in motion if word in ("enters", "leaves", "stops", "starts")]
    for word in events:
        moments = _shared(moments, _event(note, word), slack=0.0)
    for word in motion:
        if word not in events:
            # A direction may begin just after an event, such as coming in.
            moments = _shared(moments, _doing(note, word, notes), slack=1.0 if events else 0.0)
    return moments


def _shared(moments: list[Moment], spans: list[tuple[float, float]], slack: float) -> list[Moment]:
    """Moments cut to spans; with slack, moments kept whole that come so near to a span."""
    found = []
    for moment in moments:
        for start, end in spans:
            first = max(moment.start_seconds, start - slack)
            last = min(moment.end_seconds, end + slack)
            if last - first >= min(_SHORTEST_SECONDS, moment.seconds):
                found.append(
                    moment if slack else replace(moment, start_seconds=first, end_seconds=last)
                )
    return list(dict.fromkeys(found)) if slack else found


def _event(note: ObjectNote, word: str) -> list[tuple[float, float]]:
    start, end = note.start_seconds, note.end_seconds
    if word == "enters":
        return [(start, min(end, start + EVENT_SECONDS))] if note.enters else []
    if word == "leaves":
        return [(max(start, end - EVENT_SECONDS), end)] if note.leaves else []
    rests = [s for s in note.motion if s.word == "still"]
    walks = _merged([s for s in note.motion if s.word not in ("still", "fast")])
    found = []
    for rest in rests:
        for a, b in walks:
            if word == "stops" and abs(rest.start_seconds - b) <= 1.0:
                found.append((max(a, b - 1.0), min(rest.end_seconds, b + 0.5)))
            if word == "starts" and abs(rest.end_seconds - a) <= 1.0:
                found.append((max(rest.start_seconds, a - 0.5), min(b, a + 1.0)))
    return found


def _doing(note: ObjectNote, word: str, notes: Notes) -> list[tuple[float, float]]:
    if word in ("moving", "slow"):
        spans = _merged([s for s in note.motion if s.word not in ("still", "fast")])
        slow = _slow_speed(note, notes)
        return [s for s in spans if word == "moving" or Moment(note, *s).speed <= slow]
    word = _SAME_SEGMENT.get(word, word)
    return [(s.start_seconds, s.end_seconds) for s in note.motion if s.word == word]


def _merged(segments: Iterable[Segment]) -> list[tuple[float, float]]:
    spans = sorted((s.start_seconds, s.end_seconds) for s in segments)
    found: list[tuple[float, float]] = []
    for start, end in spans:
        if found and start - found[-1][1] <= 0.6:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _slow_speed(note: ObjectNote, notes: Notes) -> float:
    kin = [o for o in notes.objects if o.class_name == note.class_name]
    speeds = [s for o in kin for s in o.speeds[o.speeds > 0.18].tolist()]
    return _SLOW * float(np.median(speeds)) if speeds else 0.0


def _within(moments: list[Moment], meaning: Meaning, notes: Notes) -> list[Moment]:
    """Moments cut to the stretch of the video that is asked about; coming and going lie in it."""
    start, end = meaning.during or (0.0, 0.0)
    if start < 0:
        start, end = max(0.0, notes.duration_seconds + start), notes.duration_seconds
    found = []
    for moment in moments:
        at = {"enters": moment.note.start_seconds, "leaves": moment.note.end_seconds}
        if all(start <= at[word] <= end for word in meaning.motion if word in at):
            found += _shared([moment], [(start, end)], slack=0.0)
    if not found:
        doing = " and ".join(_DOES.get(word, word) for word in meaning.motion) or "is seen"
        raise NothingFits(f"No {_noun(meaning)} {doing} from {start:.2f} to {end:.2f} s.")
    return found


def _placed(moments: list[Moment], where: str, notes: Notes) -> list[Moment]:
    """Moments in a part of the picture; where none is quite there, the one that comes nearest."""
    if not where:
        return moments
    centres = np.array([_centre(m, notes) for m in moments])
    x, y, feet = centres.T
    score = {
        "left": _SIDE - x,
        "right": x - (1 - _SIDE),
        "middle": np.minimum(x - _MIDDLE[0], _MIDDLE[1] - x),
        "top": _SIDE - y,
        "bottom": y - (1 - _SIDE),
        "near": feet - 0.72,
        "far": 0.45 - feet,
    }[where]
    if (score >= 0).any():
        return [m for m, s in zip(moments, score, strict=True) if s >= 0]
    best = int(np.argmax(score))
    others = [m for m in moments if m.note is not moments[best].note]
    # Told apart from the others by this place alone, though not quite in it.
    if others and score[best] > -0.2 and where != "middle":
        return [m for m in moments if m.note is moments[best].note]
    fitting = len({m.note.object_id for m in moments})
    which = "The one that fits is not" if fitting == 1 else f"None of the {fitting} that fit is"
    raise NothingFits(f"{which} {_THERE[where]}.")


def _centre(moment: Moment, notes: Notes) -> tuple[float, float, float]:
    """Middle in x and y, and lower edge, as shares of the frame; medians."""
    left, top, right, bottom = np.median(moment.boxes(), axis=0)
    x, y = (left + right) / 2 / notes.width, (top + bottom) / 2 / notes.height
    return float(x), float(y), float(bottom) / notes.height


def _related(moments: list[Moment], relation: str, other: Meaning, notes: Notes) -> list[Moment]:
    """Moments cut to the longest stretch in which one of the others stands so to them."""
    others = {m.note.object_id: m.note for m in find(other, notes)}.values()
    if relation in ("nearest to", "farthest from"):
        return nearest_to(moments, list(others), _noun(other), sign=1 if relation[0] == "n" else -1)
    found = []
    for moment in moments:
        spans = [
            related(moment.note, partner, relation, moment.start_seconds, moment.end_seconds)
            for partner in others
            if partner is not moment.note
        ]
        longest = max((s for s in spans if s), key=lambda s: s[1] - s[0], default=None)
        if longest is not None:
            found.append(replace(moment, start_seconds=longest[0], end_seconds=longest[1]))
    if not found:
        verb = "" if relation in ("follows", "passes") else "is "
        raise NothingFits(f"None {verb}{relation} a {_noun(other)}.")
    return found
