"""The part of the video that a query is about: words in, the other words and a stretch out."""

from __future__ import annotations

import re

SHORT_SECONDS = 1.5
"""The start and the end of a video last so long."""
_NUMBERS = {"couple of": 2.0, "few": 3.0} | {
    word: float(number)
    for number, word in enumerate(
        "one two three four five six seven eight nine ten".split(), start=1
    )
}
_STRETCH = re.compile(
    r"\b(?:(?:at|in|near) (?:the )?(?:very )?(?P<edge>start|beginning|end)"
    r"|(?:in|during|within|for) (?:the )?(?P<side>first|last|final) "
    rf"(?:(?P<number>{'|'.join(_NUMBERS)}|\d+) )?(?:s|secs?|seconds?))"
    r"(?: of (?:the|this) (?:video|clip|film|movie|footage|recording|scene)\b|\b(?! of\b))"
)


def take_stretch(words: list[str]) -> tuple[list[str], tuple[float, float] | None]:
    """Words without those that name the video's start or end, such as "in the last two seconds".

    Args:
        words: of `lexicon.words_of`.

    Returns:
        The other words, and `[start, end)` in seconds, counted from the video's end where they are
        negative; None where no stretch is named.
    """
    text = " ".join(words)
    found = _STRETCH.search(text)
    if found is None:
        return words, None
    number = found["number"] or "one"
    seconds = SHORT_SECONDS if found["edge"] else _NUMBERS.get(number) or float(number)
    rest = (text[: found.start()] + text[found.end() :]).split()
    from_start = found["edge"] in ("start", "beginning") or found["side"] == "first"
    return rest, (0.0, seconds) if from_start else (-seconds, 0.0)
