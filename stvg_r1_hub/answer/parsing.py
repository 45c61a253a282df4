"""The model's text in, the answered IDs and time range out.

Two readers: the strict one follows the official parser rule by rule (it decides rewards), the
lenient one, the default, also understands what models write when they slip. Neither raises, and
both take time linear in the length of the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from stvg_r1_hub.answer.spellings import (
    MOST_DIGITS,
    plain,
    read_bare_ids,
    read_frames,
    read_ids,
    read_last_times,
    read_times,
    reasoning_of,
    regions_of,
    says_nothing,
)
from stvg_r1_hub.geometry import joined_ranges
from stvg_r1_hub.structures import SAYS_NOTHING, Answer, Range

MOST_REMARK = 500
"""Characters kept of what stands after the answer."""
ID_TOO_LONG = f"the ID has more than {MOST_DIGITS} digits"
"""The official parser raises ValueError on this one answer; here it is a problem like others."""

_STRICT_ID = re.compile(r"Target ID:\s*(\d+)", re.IGNORECASE)
_STRICT_TIME = re.compile(
    r"Time range:\s*(\d+(?:\.\d*)?)\s*(?:to|and)\s*(\d+(?:\.\d*)?)", re.IGNORECASE
)
_STRICT_TIMES = re.compile(r"(?<!\d)(\d+(?:\.\d*)?) (?:to|and) (\d+(?:\.\d*)?)")
"""The official pattern for time alone; looking behind spares a try from every digit of a number."""


def parse_answer(
    text: str, *, strict: bool = False, frame_times: Sequence[float] | None = None
) -> Answer:
    """Read object IDs and a time range from the model's whole output.

    Strict: the official rules. The last closed `<answer>` block counts; in it the first
    `Target ID:` with a number and the first `Time range:` with `number to number` (or `and`);
    all three are required. Source: `parse_timestamp_output` of grpo_video.py,
    XiaowZhang00/stvg-r1 @ 0bea9e5, described anew.

    Lenient (default): also several IDs, several ranges with commas, square brackets, units, dashes,
    `mm:ss`, commas as decimal point, other labels, JSON, Markdown, frames instead of seconds, and
    a missing `</answer>` or no answer tags at all.

    Args:
        text: the model's output; nothing in it makes this function raise.
        strict: use the official rules alone.
        frame_times: seconds of the frames that the model saw; with them an answer in frames,
            counted from 1 unless it names a frame 0, is one in seconds.

    Returns:
        `rule` says what was forgiven, or is `"strict"`. When the text is unusable, or its times
        are reversed, empty, negative or not finite, `problem` says why; what was read is kept.
        The lenient reader also keeps the `remark` after the answer block.
    """
    official = _parse_strictly(text)
    if strict:
        return official
    answer = _more_of(official, text, frame_times)
    remark = " ".join(text.rpartition("</answer>")[2].split()) if "</answer>" in text else ""
    return replace(answer, remark=remark[:MOST_REMARK]) if remark else answer


def _more_of(official: Answer, text: str, frame_times: Sequence[float] | None) -> Answer:
    """The lenient answer where it agrees with the official one and sees more."""
    if official.problem == ID_TOO_LONG:
        return official
    lenient = _parse_leniently(text, official.reasoning, frame_times)
    if not official.object_ids:
        return lenient
    # Both read something: the lenient one may see more (IDs, ranges, 0:30, 3,5), never other.
    starts = {lenient.start_seconds, *(start for start, _ in lenient.ranges)}
    agree = lenient.object_ids[:1] == official.object_ids and official.start_seconds in starts
    same = (lenient.object_ids, lenient.end_seconds, lenient.ranges) == (
        official.object_ids,
        official.end_seconds,
        official.ranges,
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
    reasoning = reasoning_of(text)

    def answered(start: float, end: float, rule: str) -> Answer:
        return Answer((), start, end, reasoning, rule, _problem_of_times(start, end))

    if not strict:
        for region, forgiven in regions_of(plain(text))[:1]:
            start, end, notes, _, _ = read_last_times(region)
            if start is not None and end is not None:
                # Without objects there is one range: nobody asked for a label.
                notes = [note for note in [*forgiven, *notes] if note != "no time label"]
                return answered(start, end, ", ".join(dict.fromkeys(notes)) or "strict")
            if not _STRICT_TIMES.search(region):
                reason = SAYS_NOTHING if says_nothing(region) else "the answer names no time range:"
                problem = f"{reason} {_excerpt(region)!r}"
                return Answer((), None, None, reasoning, "lenient", problem)
            text = region
    found = list(_STRICT_TIMES.finditer(text))
    if not found:
        return Answer((), None, None, reasoning, "strict", "the text names no 'number to number'")
    return answered(float(found[-1][1]), float(found[-1][2]), "strict")


def _parse_strictly(text: str) -> Answer:
    reasoning = reasoning_of(text)

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
    if len(found_id[1]) > MOST_DIGITS:
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


def _parse_leniently(text: str, reasoning: str, frame_times: Sequence[float] | None) -> Answer:
    text = plain(text)
    best: Answer | None = None
    for region, forgiven in regions_of(text):
        answer = _read_region(region, forgiven, reasoning, frame_times)
        if answer.object_ids and answer.start_seconds is not None:
            return answer
        # A last answer that declines is an answer; an earlier one must not overrule it.
        if answer.problem is not None and answer.problem.startswith(SAYS_NOTHING):
            return answer
        best = best or answer
    if best is None:
        problem = "the text is empty" if not text.strip() else "the text ends within its reasoning"
        best = Answer((), None, None, reasoning, "lenient", problem)
    return best


def _read_region(
    region: str, forgiven: list[str], reasoning: str, frame_times: Sequence[float] | None
) -> Answer:
    if not region:
        return Answer((), None, None, reasoning, "lenient", "the answer block is empty")
    ids, id_notes = read_ids(region)
    start, end, time_notes, times_at, further = read_times(region)
    ranges: tuple[Range, ...] = ()
    frames = read_frames(region) if start is None or "no time label" in time_notes else None
    if frames is not None:
        (start, end), time_notes = _seconds_of(*frames, frame_times), ["frames"]
    if not ids:
        ids = read_bare_ids(region[:times_at])
        id_notes = ["no ID label"] if ids else []
    if not ids and says_nothing(region):
        problem: str | None = f"{SAYS_NOTHING} {_excerpt(region)!r}"
    elif not ids:
        problem = f"the answer names no object ID: {_excerpt(region)!r}"
    elif start is None or end is None:
        what = "no time range" if frames is None else "frames that are not those of the clip"
        problem = f"the answer names {what}: {_excerpt(region)!r}"
    else:
        problem = _problem_of_times(start, end)
        if further and problem is None:
            good = [given for given in further if _problem_of_times(*given) is None]
            ranges = joined_ranges([(start, end), *good])
            start, end = ranges[0][0], ranges[-1][1]
            time_notes = [*time_notes, "several ranges"]
    notes = dict.fromkeys([*forgiven, *id_notes, *time_notes])
    rule = ", ".join(notes) or "other spelling"
    ranges = ranges if len(ranges) > 1 else ()
    return Answer(ids, start, end, reasoning, rule, problem, ranges=ranges)


def _seconds_of(
    first: int, last: int, frame_times: Sequence[float] | None
) -> tuple[float | None, float | None]:
    """When the first frame begins and the last one ends; None where there are no such frames."""
    base = min(first, 1)
    if frame_times is None or not 0 <= first - base <= last - base < len(frame_times):
        return None, None
    following = min(last - base + 1, len(frame_times) - 1)
    return float(frame_times[first - base]), float(frame_times[following])


def _excerpt(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
