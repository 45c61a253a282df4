"""The model's text in, the answered IDs and time range out.

Two readers: the strict one follows the official parser rule by rule (it decides rewards), the
lenient one, the default, also understands what models write when they slip. Neither raises, and
both take time linear in the length of the text.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Iterator

from stvg_r1_hub.structures import SAYS_NOTHING, Answer

ID_TOO_LONG = "the ID has more than 4300 digits"
"""The official parser raises ValueError on this one answer; here it is a problem like others."""

_MOST_DIGITS = 4300
_MOST_CHARACTERS = 200_000
_MOST_REGION_CHARACTERS = 20_000

_STRICT_ID = re.compile(r"Target ID:\s*(\d+)", re.IGNORECASE)
_STRICT_TIME = re.compile(
    r"Time range:\s*(\d+(?:\.\d*)?)\s*(?:to|and)\s*(\d+(?:\.\d*)?)", re.IGNORECASE
)

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
    re.compile(r"\b(?:target|object|marker|number)s?\b(?=[ :=\"'#\[(]{1,4}\d)", re.IGNORECASE),
]
_ID_LEAD = re.compile(r"[ :=\"'_`\[({#]{0,8}(?:(?:is|are) ?)?[\"'\[({#]{0,2}")
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
_LABELLED_TIMES = re.compile(
    r"([ :=\"'_`\[({]{0,8}(?:is ?)?(?:from |between )?[\[({]?)" + _VALUE + _UNIT
    + r"([\"'\])]? ?(?:to|and|until|till|through|[-,;]|\.\.) ?[\"'\[(]?)"
    + _VALUE + _UNIT + _END,
    re.IGNORECASE,
)  # fmt: skip
_BARE_TIMES = re.compile(
    r"(?<![\w.,:%-])()" + _VALUE + _UNIT
    + r"([\"'\])]? ?(?:to|until|till|through|-) ?[\"'\[(]?)"
    + _VALUE + _UNIT + _END,
    re.IGNORECASE,
)  # fmt: skip
_BARE_BETWEEN = re.compile(
    r"\b(between )" + _VALUE + _UNIT + "( and )" + _VALUE + _UNIT + _END, re.IGNORECASE
)
_BARE_IDS = re.compile(
    r"[^\w.-]{0,9}(\d{1,9}(?: ?(?:,|;|&|and) ?\d{1,9}){0,20})[^\w.]{0,9}(?:from )?"
)
_STRICT_TIMES = re.compile(r"(\d+(?:\.\d*)?) (?:to|and) (\d+(?:\.\d*)?)")
_MOST_LABELS = 50
_NOTHING = re.compile(
    r"\b(?:none|nothing|nobody|null|unknown|unclear|n/a|not (?:found|present|visible|shown|in the)"
    r"|no (?:such |matching |target )?(?:object|target|match|one|person|event|answer|id)s?"
    r"|(?:do|does|did|is|are) not|(?:do|does|did|is|are)n't|can ?not|can't|unable)\b",
    re.IGNORECASE,
)


def parse_answer(text: str, *, strict: bool = False) -> Answer:
    """Read object IDs and a time range from the model's whole output.

    Strict: the official rules. The last closed `<answer>` block counts; in it the first
    `Target ID:` with a number and the first `Time range:` with `number to number` (or `and`);
    all three are required. Source: `parse_timestamp_output` of grpo_video.py,
    XiaowZhang00/stvg-r1 @ 0bea9e5, described anew.

    Lenient (default): also several IDs, square brackets, units, dashes, `mm:ss`, commas as
    decimal point, other labels, and a missing `</answer>` or no answer tags at all.

    Args:
        text: the model's output; nothing in it makes this function raise.
        strict: use the official rules alone.

    Returns:
        `rule` says what was forgiven, or is `"strict"`. When the text is unusable, or its times
        are reversed, empty, negative or not finite, `problem` says why; what was read is kept.
    """
    official = _parse_strictly(text)
    if strict or official.problem == ID_TOO_LONG:
        return official
    lenient = _parse_leniently(text, official.reasoning)
    if not official.object_ids:
        return lenient
    # Both read something: the lenient one may see more (further IDs, 0:30, 3,5), never other.
    agree = (lenient.object_ids[:1], lenient.start_seconds) == (
        official.object_ids,
        official.start_seconds,
    )
    same = (lenient.object_ids, lenient.end_seconds) == (
        official.object_ids,
        official.end_seconds,
    )
    return lenient if agree and not same and lenient.end_seconds is not None else official


def parse_time_answer(text: str, *, strict: bool = False) -> Answer:
    """Read a time range alone from the model's whole output, for questions without objects.

    Strict: the last `number to number` (or `and`) anywhere, with exactly one blank on each side
    of the lower-case word. Source: `parse_timestamp_output` of evaluate.py, www-Ye/Time-R1
    @ d1a0d54, described anew.

    Lenient (default): the last range of the answer block, in any spelling `parse_answer` knows.

    Args:
        text: the model's output; nothing in it makes this function raise.
        strict: use the official rule alone.

    Returns:
        An answer without IDs; `rule` and `problem` as in `parse_answer`.
    """
    reasoning = _reasoning(text)
    if not strict:
        plain = unicodedata.normalize("NFKC", text[-_MOST_CHARACTERS:])
        plain = re.sub(r"\s+", " ", plain.replace("**", "").translate(_PLAIN))
        for region, forgiven in _regions(plain)[:1]:
            region = region.strip()[-_MOST_REGION_CHARACTERS:]
            ranges = list(itertools.islice(_BARE_TIMES.finditer(region), _MOST_LABELS))
            times = (*_seconds(ranges[-1], []), 0) if ranges else _read_times(region)
            if times[0] is not None and times[1] is not None:
                notes = [note for note in [*forgiven, *times[2]] if note != "no time label"]
                rule = ", ".join(dict.fromkeys(notes)) or "strict"
                problem = _problem_of_times(times[0], times[1])
                return Answer((), times[0], times[1], reasoning, rule, problem)
            said = SAYS_NOTHING if _NOTHING.search(region) else "the answer names no time range:"
            if not _STRICT_TIMES.search(region):
                problem = f"{said} {_excerpt(region)!r}"
                return Answer((), None, None, reasoning, "lenient", problem)
            text = region
    found = list(_STRICT_TIMES.finditer(text))
    if not found:
        return Answer((), None, None, reasoning, "strict", "the text names no 'number to number'")
    start, end = float(found[-1][1]), float(found[-1][2])
    return Answer((), start, end, reasoning, "strict", _problem_of_times(start, end))


def _parse_strictly(text: str) -> Answer:
    reasoning = _reasoning(text)

    def failed(problem: str) -> Answer:
        return Answer((), None, None, reasoning, "strict", problem)

    blocks = _closed_blocks(text)
    if not blocks:
        return failed("there is no closed <answer> block")
    found_id, found_time = _STRICT_ID.search(blocks[-1]), _STRICT_TIME.search(blocks[-1])
    if found_id is None:
        return failed("the answer names no 'Target ID: number'")
    if found_time is None:
        return failed("the answer names no 'Time range: number to number'")
    if len(found_id[1]) > _MOST_DIGITS:
        return failed(ID_TOO_LONG)
    start, end = float(found_time[1]), float(found_time[2])
    return Answer(
        (int(found_id[1]),), start, end, reasoning, "strict", _problem_of_times(start, end)
    )


def _closed_blocks(text: str) -> list[str]:
    """Contents of `<answer>...</answer>`, each from the first open tag to the next close tag."""
    blocks = []
    position = text.find("<answer>")
    while position >= 0:
        start = position + len("<answer>")
        stop = text.find("</answer>", start)
        if stop < 0:
            break
        blocks.append(text[start:stop])
        position = text.find("<answer>", stop)
    return blocks


def _reasoning(text: str) -> str:
    """Content of the first think block; an unclosed one ends at the answer."""
    opened = _THINK_OPEN.search(text)
    if opened is None:
        return ""
    closed = _THINK_CLOSE.search(text, opened.end()) or _ANSWER_OPEN.search(text, opened.end())
    return text[opened.end() : closed.start() if closed else len(text)].strip()


def _problem_of_times(start: float, end: float) -> str | None:
    if not (math.isfinite(start) and math.isfinite(end)):
        return f"the time range {start:g} to {end:g} is not finite"
    if start < 0 or end < 0:
        return f"the time range {start:g} to {end:g} is negative"
    if start > end:
        return f"the time range {start:g} to {end:g} is reversed"
    if start == end:
        return f"the time range {start:g} to {end:g} is empty"
    return None


def _parse_leniently(text: str, reasoning: str) -> Answer:
    text = unicodedata.normalize("NFKC", text[-_MOST_CHARACTERS:])
    text = re.sub(r"\s+", " ", text.replace("**", "").translate(_PLAIN))
    best: Answer | None = None
    for region, forgiven in _regions(text):
        answer = _read_region(region, forgiven, reasoning)
        if answer.object_ids and answer.start_seconds is not None:
            return answer
        # A last answer that declines is an answer; an earlier one must not overrule it.
        if answer.problem is not None and answer.problem.startswith("the model says"):
            return answer
        best = best or answer
    if best is None:
        problem = "the text is empty" if not text.strip() else "the text ends within its reasoning"
        best = Answer((), None, None, reasoning, "lenient", problem)
    return best


def _regions(text: str) -> list[tuple[str, list[str]]]:
    """Parts of the text that may hold the answer, the best first, with what each forgives."""
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
    return regions


def _outside_think(text: str) -> str:
    """What stands before and after the think blocks."""
    parts, position = [], 0
    while opened := _THINK_OPEN.search(text, position):
        parts.append(text[position : opened.start()])
        closed = _THINK_CLOSE.search(text, opened.end())
        if closed is None:
            return " ".join(parts)
        position = closed.end()
    return " ".join([*parts, text[position:]])


def _read_region(region: str, forgiven: list[str], reasoning: str) -> Answer:
    region = region.strip()[-_MOST_REGION_CHARACTERS:]
    if not region:
        return Answer((), None, None, reasoning, "lenient", "the answer block is empty")
    ids, id_notes = _read_ids(region)
    start, end, time_notes, times_at = _read_times(region)
    bare = _BARE_IDS.fullmatch(region[:times_at]) if not ids else None
    if bare is not None:
        ids = tuple(int(number) for number in re.findall(r"\d+", bare[1]))
        id_notes = ["no ID label"]
    if not ids and _NOTHING.search(region):
        problem: str | None = f"{SAYS_NOTHING} {_excerpt(region)!r}"
    elif not ids:
        problem = f"the answer names no object ID: {_excerpt(region)!r}"
    elif start is None or end is None:
        problem = f"the answer names no time range: {_excerpt(region)!r}"
    else:
        problem = _problem_of_times(start, end)
    notes = dict.fromkeys([*forgiven, *id_notes, *time_notes])
    return Answer(ids, start, end, reasoning, ", ".join(notes) or "other spelling", problem)


def _excerpt(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _read_ids(region: str) -> tuple[tuple[int, ...], list[str]]:
    """The first list of numbers behind an ID label, and what had to be forgiven for it."""
    for label in _labels(_ID_LABELS, region):
        segment = region[label.end() :]
        lead = _ID_LEAD.match(segment)
        position = lead.end() if lead else 0
        numbers: list[int] = []
        while number := _ID_NUMBER.match(segment, position):
            if len(number[1]) > _MOST_DIGITS or _NOT_AN_ID.match(segment, number.end()):
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


def _labels(patterns: list[re.Pattern[str]], region: str) -> Iterator[re.Match[str]]:
    for pattern in patterns:
        yield from itertools.islice(pattern.finditer(region), _MOST_LABELS)


def _read_times(region: str) -> tuple[float | None, float | None, list[str], int]:
    """Start and end in seconds, what had to be forgiven, and where the times begin."""
    for label in _labels(_TIME_LABELS, region):
        found = _LABELLED_TIMES.match(region, label.end())
        if found is not None:
            notes = [] if label[0].lower() == "time range" else ["time label"]
            return *_seconds(found, notes), label.start()
    bare = _BARE_TIMES.search(region) or _BARE_BETWEEN.search(region)
    if bare is not None:
        return *_seconds(bare, ["no time label"]), bare.start()
    return None, None, [], 0


def _seconds(found: re.Match[str], notes: list[str]) -> tuple[float, float, list[str]]:
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
    return _value(start), _value(end), notes


def _value(text: str) -> float:
    """Seconds of `7.5`, `7,5`, `1:07.5`, `0:01:07`, `.5`, `7.5.`, `nan`, `inf`."""
    text = text.replace(",", ".").rstrip(".")  # The full stop of a sentence belongs to no number.
    negative = text.startswith("-")
    seconds = 0.0
    for part in text.lstrip("-").split(":"):
        seconds = seconds * 60 + float(part)
    return -seconds if negative else seconds
