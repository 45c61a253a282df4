"""What models write instead of the grammar they were asked for: text to its readable pieces.

Nothing here raises, and everything takes time linear in the length of the text.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from stvg_r1_hub.structures import Range

MOST_DIGITS = 4300
"""Of an ID that Python reads as a number."""
_MOST_CHARACTERS = 200_000
_MOST_REGION_CHARACTERS = 20_000

# The lenient patterns see text with every run of white space squeezed to one blank and with
# plain dashes and quotes; all repetitions are bounded, so that no text makes them slow.
_PLAIN = str.maketrans(
    {"\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2192": "-"}
    | {"\u2212": "-", "~": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'}
)
_ANSWER_OPEN = re.compile(r"< ?answer ?>", re.IGNORECASE)
_ANSWER_CLOSE = re.compile(r"< ?/ ?answer ?>?", re.IGNORECASE)
_THINK_OPEN = re.compile(r"< ?think ?>", re.IGNORECASE)
_THINK_CLOSE = re.compile(r"< ?/ ?think ?>", re.IGNORECASE)

# By preference: a label the prompt asks for wins over a word that only happens to be there.
_ID_LABELS = [
    re.compile(r"\btarget[ _-]?ids?\b", re.IGNORECASE),
    re.compile(r"\b(?:(?:object|track|marker)[ _-]?)?ids?\b", re.IGNORECASE),
    re.compile(
        r"\b(?:target|object|marker|number(?:ed)?|label(?:l?ed)?)s?\b(?=[ :=\"'#\[(<]{1,4}\d)",
        re.IGNORECASE,
    ),
]
_ID_LEAD = re.compile(r"[ :=\"'_`\[({#<]{0,8}(?:(?:is|are) ?)?[\"'\[({#<]{0,2}")
_ID_NUMBER = re.compile(r"#?(\d+)")
_ID_NEXT = re.compile(r" ?(?:, ?and|,|;|&|/|and|plus) ?(?:ids? ?)?(?=#?\d)", re.IGNORECASE)
_NOT_AN_ID = re.compile(
    r"[.:]\d|%| ?(?:s|secs?|seconds?)\b| ?(?:to|until|till|through|-) ?[\d.]",
    re.IGNORECASE,
)
_TIME_LABELS = [
    re.compile(r"\btime[ _-]?range\b", re.IGNORECASE),
    re.compile(
        r"\b(?:time[ _-]?(?:span|interval|period|segment|stamp)?s?|interval|period|range)\b",
        re.IGNORECASE,
    ),
]
_VALUE = (
    r"(-?(?:(?:\d{1,3}:)?\d{1,3}:[0-5]?\d(?:[.,]\d{1,9})?(?![\d:])"
    r"|\d{1,400}(?:[.,]\d{1,99})?\.?|\.\d{1,99}|nan\b|inf(?:inity)?\b))"
)
_UNIT = r"( ?(?:seconds?|secs?|s)\b)?"
_END = r"(?! ?%|[\d:])"
_CLOSED = r"[\"'\])>:]{0,2}"
_OPENED = r"[\"'\[(<]?(?:t ?= ?)?"
_LABELLED_TIMES = re.compile(
    r"([ :=\"'_`\[({]{0,8}(?:is ?)?(?:from |between )?[\[({<]?(?:t ?= ?)?)" + _VALUE + _UNIT
    + rf"({_CLOSED} ?(?:to|and|until|till|through|[-,;]|\.\.) ?{_OPENED})"
    + _VALUE + _UNIT + _END,
    re.IGNORECASE,
)  # fmt: skip
_BARE_TIMES = re.compile(
    r"(?<![\w.,:%-])()" + _VALUE + _UNIT
    + rf"({_CLOSED} ?(?:to|until|till|through|-) ?{_OPENED})"
    + _VALUE + _UNIT + _END,
    re.IGNORECASE,
)  # fmt: skip
_FURTHER_TIMES = re.compile(
    r"([\"'\])]{0,2} ?(?:, ?and|,|;|&|and|plus) ?(?:time[ _-]?ranges?[ :=]{1,3})?[\[(]?)"
    + _VALUE + _UNIT
    + rf"({_CLOSED} ?(?:to|until|till|through|-) ?{_OPENED})"
    + _VALUE + _UNIT + _END,
    re.IGNORECASE,
)  # fmt: skip
_MOMENT = r"(?:[ _-]?(?:time(?:stamp)?|at|in|sec(?:ond)?s?|s)\b){0,2}[ :=\"'_`]{1,6}(?:is |at )?"
_START_AND_END = re.compile(
    rf"\b((?:start|begin)(?:s|ning)?{_MOMENT}){_VALUE}{_UNIT}"
    rf"([^\d\[]{{0,12}}\b(?:end|stop|finish)(?:s|es)?{_MOMENT}){_VALUE}{_UNIT}{_END}",
    re.IGNORECASE,
)
_FRAMES = (
    re.compile(
        r"\bframes?[ :#]{0,3}(\d{1,6}) ?(?:to|and|until|till|through|-) ?(?:frame ?#?)?(\d{1,6})\b",
        re.IGNORECASE,
    ),
    re.compile(
        r"\b(?:start|begin)(?:ning)?[ _-]?frame[ :=\"'_]{1,5}(\d{1,6})"
        r"\D{1,12}\b(?:end|stop)[ _-]?frame[ :=\"'_]{1,5}(\d{1,6})\b",
        re.IGNORECASE,
    ),
)
_BARE_BETWEEN = re.compile(
    r"\b(between )" + _VALUE + _UNIT + "( and )" + _VALUE + _UNIT + _END, re.IGNORECASE
)
_BARE_IDS = re.compile(
    r"[^\w.-]{0,9}(\d{1,9}(?: ?(?:,|;|&|and) ?\d{1,9}){0,20})[^\w.]{0,9}(?:from )?"
)
_MOST_LABELS = 50
_NOTHING = re.compile(
    r"\b(?:none|nothing|nobody|null|unknown|unclear|n/a|not (?:found|present|visible|shown|in the)"
    r"|no (?:such |matching |target )?(?:object|target|match|one|person|event|answer|id)s?"
    r"|(?:do|does|did|is|are) not|(?:do|does|did|is|are)n't|can ?not|can't|unable)\b",
    re.IGNORECASE,
)


class Times(NamedTuple):
    """A time range as it stands in a text; an end that was not found is None."""

    start_seconds: float | None
    end_seconds: float | None
    forgiven: list[str]
    """What the grammar does not allow."""
    position: int
    """Where in the text it begins, with its label."""
    further: tuple[Range, ...] = ()
    """The ranges that are listed behind it."""


def reasoning_of(text: str) -> str:
    """Content of the first think block; an unclosed one ends at the answer, an unopened begins it.

    Servers that put the opening tag into the prompt do not send it back.
    """
    opened = _THINK_OPEN.search(text)
    start = opened.end() if opened is not None else 0
    closed = _THINK_CLOSE.search(text, start)
    if opened is None and closed is None:
        return ""
    closed = closed or _ANSWER_OPEN.search(text, start)
    return text[start : closed.start() if closed else len(text)].strip()


def plain(text: str) -> str:
    """The end of a text with one blank for all white space, and plain dashes and quotes."""
    text = unicodedata.normalize("NFKC", text[-_MOST_CHARACTERS:])
    return re.sub(r"\s+", " ", text.replace("**", "").translate(_PLAIN))


def regions_of(text: str) -> list[tuple[str, list[str]]]:
    """Parts of a plain text that may hold the answer, the best first, with what each forgives."""
    regions: list[tuple[str, list[str]]] = []
    position, unclosed = 0, ""
    while opened := _ANSWER_OPEN.search(text, position):
        closed = _ANSWER_CLOSE.search(text, opened.end())
        if closed is None:
            unclosed = text[opened.end() :]
            break
        regions.append((text[opened.end() : closed.start()], []))
        position = closed.end()
    regions.reverse()
    regions = [
        (region, ["earlier answer block"] if i else forgiven)
        for i, (region, forgiven) in enumerate(regions)
    ]
    if unclosed.strip():
        regions.insert(0, (unclosed, ["unclosed answer tag"]))
    if not regions:
        outside = _outside_think(text)
        if outside.strip():
            regions.append((outside, ["no answer tag"]))
    return [(region.strip()[-_MOST_REGION_CHARACTERS:], notes) for region, notes in regions]


def _outside_think(text: str) -> str:
    """What stands before and after the think blocks."""
    first, unopened = _THINK_OPEN.search(text), _THINK_CLOSE.search(text)
    is_open = unopened is not None and (first is None or unopened.start() < first.start())
    parts, position = [], unopened.end() if unopened is not None and is_open else 0
    while opened := _THINK_OPEN.search(text, position):
        parts.append(text[position : opened.start()])
        closed = _THINK_CLOSE.search(text, opened.end())
        if closed is None:
            return " ".join(parts)
        position = closed.end()
    return " ".join([*parts, text[position:]])


def says_nothing(region: str) -> bool:
    """Whether a region without an answer says that there is none."""
    return _NOTHING.search(region) is not None


def read_ids(region: str) -> tuple[tuple[int, ...], list[str]]:
    """The first list of numbers behind an ID label, and what had to be forgiven for it."""
    for label in _labels(_ID_LABELS, region):
        segment = region[label.end() :]
        lead = _ID_LEAD.match(segment)
        position = lead.end() if lead else 0
        numbers: list[int] = []
        while number := _ID_NUMBER.match(segment, position):
            if len(number[1]) > MOST_DIGITS or _NOT_AN_ID.match(segment, number.end()):
                break
            numbers.append(int(number[1]))
            following = _ID_NEXT.match(segment, number.end())
            if following is None:
                break
            position = following.end()
        if numbers:
            notes = ["ID label"] if label[0].lower() != "target id" else []
            notes += ["brackets"] if lead and re.search(r"[\[({]", lead[0]) else []
            ids = tuple(dict.fromkeys(numbers))
            return ids, notes + (["several IDs"] if len(ids) > 1 else [])
    return (), []


def read_bare_ids(region: str) -> tuple[int, ...]:
    """The numbers of a region that holds nothing else."""
    bare = _BARE_IDS.fullmatch(region)
    return tuple(int(number) for number in re.findall(r"\d+", bare[1])) if bare else ()


def _labels(patterns: list[re.Pattern[str]], region: str) -> Iterator[re.Match[str]]:
    for pattern in patterns:
        yield from itertools.islice(pattern.finditer(region), _MOST_LABELS)


def read_times(region: str) -> Times:
    """The first labelled time range, else the first without a label."""
    for label in _labels(_TIME_LABELS, region):
        found = _LABELLED_TIMES.match(region, label.end())
        if found is not None:
            notes = [] if label[0].lower() == "time range" else ["time label"]
            return _times(found, notes, label.start(), region)
    apart = _START_AND_END.search(region)
    if apart is not None:
        return _times(apart, ["start and end apart"], apart.start())
    bare = _BARE_TIMES.search(region) or _BARE_BETWEEN.search(region)
    return (
        _times(bare, ["no time label"], bare.start(), region) if bare else Times(None, None, [], 0)
    )


def read_frames(region: str) -> tuple[int, int] | None:
    """First and last frame, where a region tells the time in frames."""
    found = next((found for words in _FRAMES if (found := words.search(region))), None)
    return (int(found[1]), int(found[2])) if found is not None else None


def read_last_times(region: str) -> Times:
    """The last time range without a label, else the first of any kind."""
    ranges = list(itertools.islice(_BARE_TIMES.finditer(region), _MOST_LABELS))
    return _times(ranges[-1], [], ranges[-1].start()) if ranges else read_times(region)


def _times(found: re.Match[str], notes: list[str], position: int, region: str = "") -> Times:
    lead, start, start_unit, separator, end, end_unit = (part or "" for part in found.groups())
    marks = {
        "brackets": re.search(r"[\[({]", lead + separator),
        "units": start_unit or end_unit,
        "clock times": ":" in start + end,
        "decimal comma": "," in start + end,
        "dash": "-" in separator,
        "other separator": re.search(r"until|till|through|[,;]|\.\.", separator, re.IGNORECASE),
    }
    notes = notes + [name for name, present in marks.items() if present]
    return Times(_value(start), _value(end), notes, position, _further(region, found.end()))


def _further(region: str, position: int) -> tuple[Range, ...]:
    """Ranges listed from a position on, such as `", 4.00 to 6.00 and 8.00 to 9.00"`."""
    ranges: list[Range] = []
    while len(ranges) < _MOST_LABELS and (found := _FURTHER_TIMES.match(region, position)):
        ranges.append((_value(found[2]), _value(found[5])))
        position = found.end()
    return tuple(ranges)


def _value(text: str) -> float:
    """Seconds of `7.5`, `7,5`, `1:07.5`, `0:01:07`, `.5`, `7.5.`, `nan`, `inf`."""
    text = text.replace(",", ".").rstrip(".")  # The full stop of a sentence belongs to no number.
    negative = text.startswith("-")
    seconds = 0.0
    for part in text.lstrip("-").split(":"):
        seconds = seconds * 60 + float(part)
    return -seconds if negative else seconds
