"""What a query asks for: tagged words in, one `Meaning` out.

It reads one clause of English about one object: a noun, colours, a place, motion, a rank, first or
last, and one relation to another object. There is no grammar engine behind it; a word that carries
meaning and cannot be placed is `unknown`, and whoever answers then abstains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from stvg_r1_hub.vlm.reading.lexicon import Tag, classes_of, is_english, tag, words_of
from stvg_r1_hub.vlm.reading.settling import settle, word_of
from stvg_r1_hub.vlm.reading.stretches import take_stretch

_SHARPER = {"left", "right", "towards", "away", "up", "down", "fast", "slow"}
_EVENTS = {"enters", "leaves", "stops", "starts"}


@dataclass(frozen=True)
class Meaning:
    """What one object is asked to be and to do."""

    nouns: tuple[str, ...] = ()
    """Names of the lexicon, any of which it may be; empty for anything."""
    colours: tuple[str, ...] = ()
    """All of them; `"upper:red"` and `"lower:red"` for a person's clothes."""
    where: str = ""
    """`"left"`, `"middle"`, `"right"`, `"near"`, `"far"`, `"top"`, `"bottom"`."""
    motion: tuple[str, ...] = ()
    """Words of the notes' segments, `"up"`, `"down"`, `"slow"`, or the events `"enters"`,
    `"leaves"`, `"stops"`, `"starts"`."""
    rank: str = ""
    """Such as `"biggest"`, among all that fit."""
    order: str = ""
    """A key of `ranking.ORDERS`, such as `"first"` or `"last"`: to do it, or by the rank."""
    during: tuple[float, float] | None = None
    """Stretch of the video, see `stretches.take_stretch`."""
    relation: tuple[str, Meaning] | None = None
    unknown: tuple[str, ...] = ()
    """Words that carry meaning and were not understood, as written."""
    is_english: bool = True

    def words(self) -> list[str]:
        """What was understood, word by word, for people."""
        words = [*self.nouns[:1], *self.colours, self.where and f"place: {self.where}"]
        words += [*self.motion, self.order, self.rank]
        if self.during is not None:
            seconds = f"{max(map(abs, self.during)):g} s"
            words.append(f"the {'last' if self.during[0] < 0 else 'first'} {seconds}")
        if self.relation is not None:
            name, other = self.relation
            words.append(f"{name} ({', '.join(other.words()) or 'anything'})")
        return [word for word in words if word]

    def to_dict(self) -> dict[str, Any]:
        """The parts that say something, as JSON values."""
        values: dict[str, Any] = {
            "nouns": list(self.nouns),
            "colours": list(self.colours),
            "where": self.where,
            "motion": list(self.motion),
            "rank": self.rank,
            "order": self.order,
            "during": self.during and list(self.during),
            "relation": self.relation and [self.relation[0], self.relation[1].to_dict()],
            "unknown": list(self.unknown),
        }
        return {key: value for key, value in values.items() if value}


def read_query(query: str) -> Meaning:
    """What a query means, as far as it is understood; nothing in it makes this function raise."""
    words, during = take_stretch(words_of(query))
    tags = settle(_without_preamble(tag(words)), words)
    meaning = replace(_collect(tags, words), during=during)
    if not any(ord(c) > 127 and c.isalpha() for c in query) and (
        not meaning.unknown or meaning.nouns or meaning.motion or is_english(words)
    ):
        return meaning
    return replace(meaning, is_english=is_english(words))


def _collect(tags: list[Tag], words: list[str]) -> Meaning:
    """The tags as one meaning; those after a relation describe the other object first."""
    main, other = _Part(), _Part()
    relation, unknown = "", list[str]()
    part = main
    for i, found in enumerate(tags):
        match found.kind:
            case "relation":
                if relation:
                    unknown.append(word_of(found, words))
                else:
                    relation, part = found.value, other
            case "turned":
                # "Who is the dog following": the second noun is the other object.
                relation, other.nouns = found.value, main.nouns[1:2]
                main.nouns = main.nouns[:1]
            case "nouns" | "thing":
                if part is other and other.is_named and found.value in main.nouns:
                    continue
                turned = any(t.kind == "turned" for t in tags)
                if not part.add_noun(found, words, several=turned):
                    unknown.append(word_of(found, words))
            case "colours":
                part.add_colour(found.value)
            case "garments":
                if not part.add_garment(found.value, tags[: i + 2]):
                    unknown.append(word_of(found, words))
            case "where" | "rank" | "order":
                # A place or rank before the other object's noun is the other's.
                target = other if part is other and not other.is_named else main
                if not target.set(found.kind, found.value):
                    unknown.append(word_of(found, words))
            case "motion":
                main.motion.append(found.value)
                part = main if other.is_named else part
            case "several":
                after = words[found.stop : found.stop + 1]
                unit = after if after in (["second"], ["seconds"]) else []
                unknown.append(" ".join([word_of(found, words), *unit]))
            case "unknown":
                unknown.append(found.value)
    meaning = main.meaning()
    if relation:
        meaning = replace(meaning, relation=(relation, other.meaning()))
        if meaning.motion == ("moving",):
            meaning = replace(meaning, motion=())
    return replace(meaning, unknown=tuple(dict.fromkeys(unknown)))


def _without_preamble(tags: list[Tag]) -> list[Tag]:
    """Unknown words before the description, such as "the clip my aunt sent has a ...", left out.

    The description begins with the first word that is known and names, ranks or colours an object;
    unknown words right before it may describe it and stay, as numbers do: they may be seconds.
    """
    first = next((i for i, t in enumerate(tags) if t.kind in ("nouns", "thing")), 0)
    while first and tags[first - 1].stop == tags[first].start:
        first -= 1
    return [
        t for i, t in enumerate(tags) if i >= first or t.kind != "unknown" or t.value.isdecimal()
    ]


class _Part:
    """One object's description while it is collected."""

    def __init__(self) -> None:
        self.nouns: list[str] = []
        self.is_named = False
        self.colours: list[str] = []
        self.motion: list[str] = []
        self.words: dict[str, str] = {}
        self._garment = ""
        self._last_noun = 0

    def add_noun(self, found: Tag, words: list[str], *, several: bool) -> bool:
        """Take a noun; False for a second, other one that is not an alternative."""
        if found.kind == "thing" or found.value in self.nouns:
            # "the man and the woman" are two, though the tracker knows persons alone.
            is_second = "and" in words[max(0, found.start - 2) : found.start]
            again = self.is_named and found.kind == "nouns" and is_second
            self.is_named = True
            return not again
        if any(found.value in classes_of(group) for group in self.nouns):
            self.nouns = []  # "my animals: where is the frog"
        is_alternative = self._last_noun and words[found.start - 1] == "or"
        if self.nouns and not is_alternative and not several:
            return False
        self.nouns.append(found.value)
        self.is_named, self._last_noun = True, found.stop
        return True

    def add_colour(self, name: str) -> None:
        """Take a colour, of the garment before it where that had none."""
        self.colours.append(f"{self._garment}:{name}" if self._garment else name)
        self._garment = ""

    def add_garment(self, part: str, tags: list[Tag]) -> bool:
        """Give the colours just before a garment to it, or else the one just after.

        Args:
            part: `"upper"`, `"lower"` or `"whole"`.
            tags: up to the garment and one more.

        Returns:
            False where there is no colour.
        """
        place = next(i for i in reversed(range(len(tags))) if tags[i].kind == "garments")
        count = 0
        while count < place and tags[place - 1 - count].kind == "colours":
            count += 1
        if not count:
            has_colour = tags[-1].kind == "colours"
            self._garment = part if has_colour and part != "whole" else ""
            return has_colour
        if part != "whole":
            for i in range(len(self.colours) - count, len(self.colours)):
                self.colours[i] = f"{part}:{self.colours[i].rpartition(':')[2]}"
        return True

    def set(self, kind: str, value: str) -> bool:
        """Keep one place, rank and order each; False for a second, other one."""
        return self.words.setdefault(kind, value) == value

    def meaning(self) -> Meaning:
        """What was collected."""
        motion = list(dict.fromkeys(self.motion))
        if _SHARPER & set(motion) or _EVENTS & set(motion) or "still" in motion:
            motion = [word for word in motion if word != "moving"]
        if "starts" in motion or "stops" in motion:
            motion = [word for word in motion if word not in ("still",)]
        if self.words.get("rank") in ("fastest", "slowest"):
            motion = [word for word in motion if word not in ("fast", "slow", "moving")]
        return Meaning(
            nouns=tuple(self.nouns),
            colours=tuple(dict.fromkeys(self.colours)),
            where=self.words.get("where", ""),
            motion=tuple(motion),
            rank=self.words.get("rank", ""),
            order=self.words.get("order", ""),
        )
