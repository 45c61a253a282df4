"""A query in, the one prompt out, with what reads its answer.

A checkpoint answers only to the prompt it was trained with, so templates are named and the
name travels in the checkpoint's config. Nothing else in the project holds prompt text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches

from stvg_r1_hub.answer import parse_answer, parse_time_answer
from stvg_r1_hub.errors import ConfigError, QueryError
from stvg_r1_hub.structures import Answer, Prompt

MAX_QUERY_CHARACTERS = 2000

_PLACEHOLDER, _NOTES = "[EVENT]", "[NOTES]"
_UNTRAINED = (
    "You see the frames of a video in order. Times are in seconds from the beginning of the video; "
    "where a time stands before a frame, it is the time of that frame. A red number is drawn at "
    "the center of every object. It is not part of the scene, and an object keeps its number "
    "through the whole video."
)
_UNTRAINED_QUESTION = (
    'Find: "[EVENT]"\n\n'
    "Which numbers are the objects that this describes: one, several or none? From when to when "
    "does it happen, once or several times? Look at all frames before you decide, then end with "
    "one line like these, in seconds with two decimals:\n"
    "<answer>Target ID: 3, Time range: 2.50 to 7.00</answer>\n"
    "<answer>Target ID: 1, 4, Time range: 0.00 to 3.50</answer>\n"
    "<answer>Target ID: 2, Time range: 1.00 to 2.50, 6.00 to 8.00</answer>\n"
    "<answer>Target ID: none</answer>"
)

PROMPTS: dict[str, str] = {
    # Verbatim interface of the released checkpoint: XiaowZhang00/stvg-r1 @ 0bea9e5,
    # GROUND_TEMPLATE of evaluate.py and grpo_video.py.
    "stvg-r1": (
        "Each object in the video is marked with a red number at its center, representing its "
        'object ID. To accurately pinpoint the event "[EVENT]" in the video:\n\n'
        "1.Determine the precise time period of the event occurs.\n\n"
        "2.Identify which object ID is corresponding to the described event.\n\n"
        "Output your thought process within the <think> </think> tags, including both a temporal "
        'analysis (e.g., specific timestamps "xx.xx" or time ranges "xx.xx to xx.xx") and a '
        'spatial analysis (e.g., object ID "xx").\n\n'
        "Then, provide the start and end times (in seconds, precise to two decimal places), and "
        'object ID in the format "Target ID: [ID], Time range: [start time to end time]" within '
        'the <answer> </answer> tags. For example: "Target ID: 1, Time range: 12.54 to 17.83".'
    ),
    # The official prompt, changed only where it asks for one ID: for queries that mean several
    # objects, or none. The released checkpoint was not trained with it.
    "stvg-r1-multi": (
        "Each object in the video is marked with a red number at its center, representing its "
        'object ID. To accurately pinpoint the event "[EVENT]" in the video:\n\n'
        "1.Determine the precise time period of the event occurs.\n\n"
        "2.Identify which object IDs are corresponding to the described event: one, several or "
        "none.\n\n"
        "Output your thought process within the <think> </think> tags, including both a temporal "
        'analysis (e.g., specific timestamps "xx.xx" or time ranges "xx.xx to xx.xx") and a '
        'spatial analysis (e.g., object ID "xx").\n\n'
        "Then, provide the start and end times (in seconds, precise to two decimal places), and "
        'all object IDs in the format "Target ID: [ID, ID, ...], Time range: [start time to end '
        'time]" within the <answer> </answer> tags. For example: "Target ID: 1, 4, Time range: '
        '12.54 to 17.83". If no object matches the description, answer "Target ID: none".'
    ),
    # Verbatim prompt of www-Ye/Time-R1 @ d1a0d54: a time range alone, no numbers on the video.
    "time-r1": (
        'To accurately pinpoint the event "[EVENT]" in the video, determine the precise time '
        "period of the event.\n\n"
        "Output your thought process within the <think> </think> tags, including analysis with "
        "either specific timestamps (xx.xx) or time ranges (xx.xx to xx.xx) in <timestep> "
        "</timestep> tags.\n\n"
        "Then, provide the start and end times (in seconds, precise to two decimal places) in the "
        'format "start time to end time" within the <answer> </answer> tags. For example: '
        '"12.54 to 17.83".'
    ),
    # For plain vision-language models that write boxes themselves, a baseline of the paper; our
    # own wording, with the key that Qwen2.5-VL uses for boxes.
    "boxes": (
        'When and where in this video is "[EVENT]"? Answer with JSON only: {"start": seconds, '
        '"end": seconds, "boxes": [{"time": seconds, "bbox_2d": [x1, y1, x2, y2]}, ...]}, with '
        "one box a second from start to end, in pixels of the frames you see."
    ),
    # For models that were never trained for any of this; our own wording. With notes, for those
    # that see little.
    "zero-shot": f"{_UNTRAINED}\n\n{_UNTRAINED_QUESTION}",
    "zero-shot-notes": (
        f"{_UNTRAINED} This was measured of the numbered objects; where it contradicts the frames, "
        f"the frames are right:\n[NOTES]\n\n{_UNTRAINED_QUESTION}"
    ),
    # Short form for the bundled small models, which are trained from scratch.
    "sprites-v1": 'Find "[EVENT]". Give its ID and time.',
    # Without numbers on the video, to compare with: see train/miniature/written_boxes.py.
    "sprites-boxes-v1": 'Find "[EVENT]". Give its first and last box and time.',
}
"""Prompt templates by id; `[EVENT]` stands for the query, `[NOTES]` for a line an object."""
TIME_ALONE = ("time-r1",)
"""Those that ask for a time range and no object."""

# Full-width and small forms count too: some tokenizers fold them into the ASCII character.
_LESS, _GREATER = "[<\uff1c\ufe64]", "[>\uff1e\ufe65]"
_BAR, _SLASH = "[|\uff5c\uffe8]", "[/\uff0f]"
_TOKEN = re.compile(rf"{_LESS}({_BAR}[^<>]{{0,80}}?{_BAR}){_GREATER}")
_TOKEN_START = re.compile(rf"{_LESS}(?={_BAR})")
_TAG = re.compile(rf"{_LESS}(\s*{_SLASH}?\s*\w[\w.:-]*\s*{_SLASH}?\s*){_GREATER}")
_LOOK_ALIKE_LESS, _LOOK_ALIKE_GREATER = "\u2039", "\u203a"
# Characters nobody sees: zero-width space, word joiner, byte order mark, text-direction marks.
# The joiners U+200C and U+200D stay, emoji and several scripts need them.
_INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def clean_query(query: str) -> str:
    """The query as harmless text: it can no longer look like a part of the prompt.

    Line breaks and tabs become blanks; control characters, invisible format characters and lone
    surrogates go; the angle brackets of chat-template tokens (`<|im_end|>`) and of tags
    (`</answer>`) become single guillemets that look alike. Ordinary text of any language
    stays unchanged, apart from blanks at both ends.

    Raises:
        QueryError: not a string, nothing left, or longer than 2000 characters.
    """
    if not isinstance(query, str):
        raise QueryError(
            f"Got a query of type {type(query).__name__}; give a text such as 'the dog jumping'."
        )
    if len(query) > 50 * MAX_QUERY_CHARACTERS:
        raise QueryError(_too_long(len(query)))
    text = "".join(" " if c in "\t\n\v\f\r\x85\u2028\u2029" else c for c in query)
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cs"))
    text = _INVISIBLE.sub("", text).strip()
    if not any(unicodedata.category(c)[0] in "LNS" for c in text):
        raise QueryError(
            f"Got a query without a word ({query[:20]!r}); "
            "describe the object and what it does, such as 'the dog jumping'."
        )
    if len(text) > MAX_QUERY_CHARACTERS:
        raise QueryError(_too_long(len(text)))
    harmless = rf"{_LOOK_ALIKE_LESS}\1{_LOOK_ALIKE_GREATER}"
    text = _TOKEN.sub(harmless, _TAG.sub(harmless, text))
    return _TOKEN_START.sub(_LOOK_ALIKE_LESS, text)


def clean_queries(query: str | list[str] | tuple[str, ...]) -> list[str]:
    """One or several queries as a list of harmless texts, see `clean_query`.

    Raises:
        QueryError: none at all, or one without usable text.
    """
    if not isinstance(query, str | list | tuple):
        raise QueryError(
            f"Got a query of type {type(query).__name__}; give a text such as 'the dog "
            "jumping', or a list of texts."
        )
    queries = [query] if isinstance(query, str) else list(query)
    if not queries:
        raise QueryError("Got an empty list of queries; give at least one description.")
    return [clean_query(text) for text in queries]


def _too_long(length: int) -> str:
    return (
        f"Got a query of {length} characters; at most {MAX_QUERY_CHARACTERS} are allowed, "
        "shorten it to one sentence."
    )


def build_prompt(
    query: str,
    prompt_id: str = "stvg-r1",
    *,
    notes: Sequence[str] = (),
) -> Prompt:
    """The text part of the question, word for word as in training; it goes before the video.

    The query is inserted as it is, once: `[EVENT]` inside of it stays text. Give text of users
    through `clean_query` first.

    >>> build_prompt("the man", "sprites-v1")
    'Find "the man". Give its ID and time.'

    Args:
        query: what is asked for.
        prompt_id: one of `PROMPTS`.
        notes: what was measured of the objects, a line each, for prompts that tell it.

    Raises:
        ConfigError: there is no template of this name.
    """
    if prompt_id not in PROMPTS:
        near = "".join(f" (did you mean {n!r}?)" for n in get_close_matches(prompt_id, PROMPTS, 1))
        raise ConfigError(
            f"There is no prompt {prompt_id!r}{near}; prompt_id must be one of "
            f"{', '.join(PROMPTS)}."
        )
    before, mark, after = PROMPTS[prompt_id].partition(_PLACEHOLDER)
    measured = "\n".join(map(clean_query, notes)) or "nothing"
    before, after = (part.replace(_NOTES, measured) for part in (before, after))
    text = before + query + after if mark else before
    if prompt_id in TIME_ALONE:
        return Prompt(text, query, _parse_time, needs_objects=False)
    return Prompt(text, query, parse_answer, needs_objects=True)


def _parse_time(text: str, *, frame_times: Sequence[float] | None = None) -> Answer:
    return parse_time_answer(text)
