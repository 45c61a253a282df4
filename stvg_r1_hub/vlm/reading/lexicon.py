"""The words that the reader knows, with their forms: text in, tagged words out.

`lexicon.json` holds phrases by kind and value; inflected forms follow from its verbs and nouns.
A word with one wrong letter is read as the word of the lexicon that is one edit away, unless it is
a word of English itself (pyspellchecker's dictionary): "persn" is a person, "talking" no "walking".
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ARTICLES = frozenset({"the", "a", "an", "its", "his", "her", "their"})
"""Words of a phrase that telegrams leave out."""
_SKIPPED = _ARTICLES | {"very", "just", "right"}
"""Words that may stand inside of a phrase without being part of it."""
_SHADES = ("dark", "light", "bright", "pale", "deep")
_VOWELS = "aeiou"
_SHORTEST_TYPO = 4


@dataclass(frozen=True)
class Tag:
    """A stretch of the words with its meaning."""

    kind: str
    """A key of `lexicon.json`, such as `"nouns"`; `"unknown"` for a word that is not in it."""
    value: str
    start: int
    stop: int
    """Half-open range of words."""


@functools.cache
def lexicon() -> dict[str, Any]:
    """The content of `lexicon.json`."""
    path = Path(__file__).with_name("lexicon.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def words_of(text: str) -> list[str]:
    """Lower-case words of a text: contractions written out, hyphens and punctuation gone."""
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'").replace("`", "'")
    text = re.sub(r"\bwon't\b", "will not", text)
    text = re.sub(r"\bcan'?t\b|\bcannot\b", "can not", text)
    text = re.sub(r"n't\b", " not", text)
    text = re.sub(r"'(s|m|re|ll|d|ve)\b", " ", text)
    text = re.split(r"\bbecause\b", text)[0] or text  # Reasons describe no object.
    return re.findall(r"[^\W_]+", text)


def tag(words: list[str]) -> list[Tag]:
    """The longest phrase at each place, ignored words left out.

    Args:
        words: of `words_of`.
    """
    bases = [_bases(word) for word in words]
    tags: list[Tag] = []
    place = 0
    while place < len(words):
        stop, found = _longest(words, bases, place)
        if found and stop - place > 1 and found[0][0] == "motion":
            # "walks in the distance" does not walk in.
            later, other = _longest(words, bases, stop - 1)
            if later > stop and other and other[0][0] in ("where", "crossing", "sides"):
                stop, found = _longest(words[: stop - 1], bases[: stop - 1], place)
        if not found:
            tags.append(Tag("unknown", words[place], place, place + 1))
        elif found[0][0] != "ignored":
            kind, value = _choose(found, words, place, stop, tags)
            tags.append(Tag(kind, value, place, stop))
        place = stop
    return tags


def _longest(
    words: list[str], bases: list[frozenset[str]], place: int
) -> tuple[int, list[tuple[str, str]]]:
    """End of the longest phrase that begins at a place, and all its meanings; none: one word."""
    best, meanings = place + 1, list[tuple[str, str]]()
    for base in bases[place]:
        for phrase, kind, value in _phrases().get(base, ()):
            stop = _match(phrase, bases, words, place)
            if stop is not None and (stop > best or (stop == best and not meanings)):
                best, meanings = stop, [(kind, value)]
            elif stop == best:
                meanings.append((kind, value))
    return best, sorted(set(meanings), key=lambda m: m[0] == "ignored")


def _match(
    phrase: tuple[str, ...], bases: list[frozenset[str]], words: list[str], place: int
) -> int | None:
    """End of a phrase that begins at a place, or None when it does not stand there."""
    for i, word in enumerate(phrase):
        if i and word in _ARTICLES and (place >= len(words) or word not in bases[place]):
            continue
        while i and place < len(words) and word not in bases[place] and words[place] in _SKIPPED:
            place += 1
        if place >= len(words) or word not in bases[place]:
            return None
        place += 1
    return place


def _choose(
    meanings: list[tuple[str, str]], words: list[str], place: int, stop: int, before: list[Tag]
) -> tuple[str, str]:
    """One meaning of a phrase that has several: a noun where none follows, else what describes."""
    if len(meanings) == 1:
        return meanings[0]
    kinds = dict(meanings)
    if "sides" in kinds:
        return "sides", kinds["sides"]
    if "nouns" in kinds and len(kinds) > 1:
        after_article = place > 0 and words[place - 1] in {"the", "a", "an", "that", "this"}
        next_is_noun = stop < len(words) and bool(_things() & _bases(words[stop]))
        if not next_is_noun and (after_article or not before):
            return "nouns", kinds["nouns"]
        del kinds["nouns"]
    kind = next(k for k in (*_KINDS, *kinds) if k in kinds)
    return kind, kinds[kind]


_KINDS = ("colours", "relation", "motion", "where", "rank", "order")


def actions_and_unknown(words: list[str]) -> tuple[bool, tuple[str, ...]]:
    """Whether words name an action that only sight can judge, and those that nobody knows."""
    seen: set[int] = set()
    # "left" is a side far more often than the past of leaving.
    bases = [_bases(word) if word != "left" else frozenset({word}) for word in words]
    for place in range(len(words)):
        for text in lexicon()["seen"]:
            stop = _match(tuple(words_of(text)), bases, words, place)
            seen |= set(range(place, stop or place))
    unknown = [t.value for t in tag(words) if t.kind == "unknown" and t.start not in seen]
    return bool(seen), tuple(unknown)


def classes_of(noun: str) -> tuple[str, ...]:
    """The class names that a noun stands for: members of a group, both kinds of ball."""
    if noun in ("ball", "sports ball"):
        return ("ball", "sports ball")
    return tuple(lexicon()["groups"].get(noun, (noun,)))


@functools.cache
def _phrases() -> dict[str, list[tuple[tuple[str, ...], str, str]]]:
    """First word to all phrases that begin with it: words, kind, value."""
    found: dict[str, list[tuple[tuple[str, ...], str, str]]] = {}

    def add(text: str, kind: str, value: str) -> None:
        phrase = tuple(words_of(text))
        found.setdefault(phrase[0], []).append((phrase, kind, value))

    content = lexicon()
    for kind in ("nouns", "colours", "garments", "where", "motion", "rank", "order", "relation"):
        for value, texts in content[kind].items():
            names = [value] if kind in ("nouns", "colours") else []
            for text in dict.fromkeys([*names, *texts]):
                add(text, kind, value)
                if kind == "colours":
                    for shade in _SHADES:
                        add(f"{shade} {text}", kind, value)
                if kind == "nouns" or (kind == "garments" and not text.endswith("s")):
                    add(_plural(text), kind, value)
    for kind in ("sides", "crossing"):
        for value, texts in content[kind].items():
            for text in texts:
                add(text, kind, value)
    for kind in ("thing", "wearing", "several", "ignored"):
        for text in content[kind]:
            add(text, kind, kind)
            if kind == "thing":
                add(_plural(text), kind, kind)
    return found


@functools.cache
def _things() -> frozenset[str]:
    """First words of all that a colour can stand before."""
    kinds = {"nouns", "garments", "thing"}
    return frozenset(
        first for first, found in _phrases().items() if any(kind in kinds for _, kind, _ in found)
    )


@functools.cache
def _forms() -> dict[str, frozenset[str]]:
    """Every form of a word of the lexicon to the words it may be a form of, itself among them."""
    found: dict[str, set[str]] = {}
    for phrases in _phrases().values():
        for phrase, _, _ in phrases:
            for word in phrase:
                found.setdefault(word, set()).add(word)
    for verb, irregular in lexicon()["verbs"].items():
        for form in (verb, *_inflected(verb), *irregular):
            found.setdefault(form, set()).add(verb)
    return {form: frozenset(bases) for form, bases in found.items()}


def _bases(word: str) -> frozenset[str]:
    """What a word may be a form of, one typing error forgiven; itself where it is unknown."""
    return _forms().get(word) or _forms().get(_corrected(word), frozenset({word}))


@functools.lru_cache(maxsize=4096)
def _corrected(word: str) -> str:
    if len(word) < _SHORTEST_TYPO or not word.isascii() or not word.isalpha() or word in _speller():
        return word
    # Of all English words one edit away the likeliest: frequent, with the same first letter, or
    # with a letter that was left out. Where that is none of ours, it is a word we do not know.
    near = sorted(_speller().known(_speller().edit_distance_1(word)) | _ours_near(word))
    weight = {
        w: max(1, _speller()[w])
        * (100 if w[0] == word[0] else 1)
        * (30 if len(w) > len(word) else 1)
        for w in near
    }
    best = max(near, key=lambda w: weight[w], default=word)
    return best if best in _forms() else word


def _ours_near(word: str) -> set[str]:
    return {w for w in _speller().edit_distance_1(word) if w in _forms()}


@functools.cache
def _speller() -> Any:
    from spellchecker import SpellChecker

    return SpellChecker(language="en", distance=1)


def is_english(words: list[str]) -> bool:
    """Whether at least half of the words are English, the first ones of a long text."""
    checked = words[:60]
    known = sum(1 for w in checked if w in _forms() or (w.isascii() and w in _speller()))
    return not checked or known >= 0.5 * len(checked)


def _plural(noun: str) -> str:
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es"
    if re.search(rf"[^{_VOWELS}]y$", noun):
        return noun[:-1] + "ies"
    return noun + "s"


def _inflected(verb: str) -> list[str]:
    """Third person, gerund and past of a regular verb."""
    if verb.endswith("ie"):
        return [verb + "s", verb[:-2] + "ying", verb + "d"]
    if verb.endswith("e") and not verb.endswith("ee"):
        return [verb + "s", verb[:-1] + "ing", verb + "d"]
    doubled = (
        verb + verb[-1] if re.search(rf"^[^{_VOWELS}]*[{_VOWELS}][^{_VOWELS}wxy]$", verb) else verb
    )
    past = verb[:-1] + "ied" if re.search(rf"[^{_VOWELS}]y$", verb) else doubled + "ed"
    return [_plural(verb) if not verb.endswith("go") else verb + "es", doubled + "ing", past]
