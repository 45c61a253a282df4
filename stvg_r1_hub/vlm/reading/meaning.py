"""What a query asks for: tagged words in, one `Meaning` out.

It reads one clause of English about one object: a noun, colours, a place, motion, a rank, first or
last, and one relation to another object. There is no grammar engine behind it; a word that carries
meaning and cannot be placed is `unknown`, and whoever answers then abstains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from stvg_r1_hub.vlm.reading.lexicon import Tag, classes_of, is_english, tag, words_of

_SHARPER = {"left", "right", "towards", "away", "up", "down", "fast", "slow"}
_EVENTS = {"enters", "leaves", "stops", "starts"}
_GOING = {"moving", "fast", "slow", *_EVENTS} - {"stops"}
_ASKED = {"who", "whom", "whose", "whoever"}
_PLACE_OF = {
    "near": "near", "in front of": "near", "behind": "far", "above": "top", "below": "bottom",
    "left of": "left", "right of": "right",
}  # fmt: skip
_PASSIVE = {"follows": "followed by", "followed by": "follows"}


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
    """`"first"` or `"last"` to do it."""
    relation: tuple[str, Meaning] | None = None
    unknown: tuple[str, ...] = ()
    """Words that carry meaning and were not understood, as written."""
    is_english: bool = True

    def words(self) -> list[str]:
        """What was understood, word by word, for people."""
        words = [*self.nouns[:1], *self.colours, self.where and f"place: {self.where}"]
        words += [*self.motion, self.rank, self.order]
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
            "relation": self.relation and [self.relation[0], self.relation[1].to_dict()],
            "unknown": list(self.unknown),
        }
        return {key: value for key, value in values.items() if value}


def read_query(query: str) -> Meaning:
    """What a query means, as far as it is understood; nothing in it makes this function raise."""
    words = words_of(query)
    tags = _settle(_without_preamble(tag(words)), words)
    meaning = _collect(tags, words)
    if not any(ord(c) > 127 and c.isalpha() for c in query) and (
        not meaning.unknown or meaning.nouns or meaning.motion or is_english(words)
    ):
        return meaning
    return replace(meaning, is_english=is_english(words))


def _settle(tags: list[Tag], words: list[str]) -> list[Tag]:
    """Words whose sense hangs on their neighbours, decided: left and right, relations, who."""
    going = any(t.kind == "motion" and t.value in _GOING for t in tags)
    settled: list[Tag] = []
    for i, found in enumerate(tags):
        later = tags[i + 1 :]
        one = found
        if (
            found.kind == "sides"
            and later
            and later[0].start == found.stop
            and (later[0].kind in ("relation", "where"))
        ):
            continue  # "right behind the car"
        if found.kind == "relation" and not any(t.kind in ("nouns", "thing") for t in settled):
            continue  # "with my camera I saw": nothing is described yet
        if _is_question_about_going(found, words):
            continue
        if found.kind == "sides":
            one = _side(found, settled, later, words, going)
        elif found.kind == "crossing":
            one = replace(found, kind="motion")
        elif found.kind == "relation" and not any(t.kind in ("nouns", "thing") for t in later):
            one = _relation_without_object(found, settled, words)
        elif found.kind == "nouns" and words[found.start] in _ASKED and _is_relative(settled):
            continue
        elif (
            found.kind == "motion"
            and found.value in ("towards", "away")
            and _is_aimed(found, later, words)
        ):
            one = replace(found, kind="unknown", value=words[found.start])
        settled.append(one)
    return settled


def _is_question_about_going(found: Tag, words: list[str]) -> bool:
    """Whether it is the going of "where did it go", which is no movement."""
    asked = words[0] == "where" and found.stop - found.start == 1
    return (
        asked and found.kind == "motion" and words[found.start] in {"go", "going", "went", "gone"}
    )


def _side(found: Tag, before: list[Tag], later: list[Tag], words: list[str], going: bool) -> Tag:
    """`left` as a direction, a place, or the past of leaving."""
    is_bare = found.stop - found.start == 1
    if is_bare and found.value == "left":
        follows = words[found.start - 1] if found.start else ""
        is_last = not any(t.kind in ("nouns", "thing") for t in later)
        after_noun = bool(before) and before[-1].kind in ("nouns", "thing", "order")
        if is_last and not going and after_noun and follows not in {"the", "on"}:
            return replace(found, kind="motion", value="leaves")
    next_is_noun = bool(later) and later[0].start == found.stop and later[0].kind in (
        "nouns", "thing", "colours",
    )  # fmt: skip
    if going and not (is_bare and next_is_noun):
        return replace(found, kind="motion")
    return replace(found, kind="where")


def _is_relative(before: list[Tag]) -> bool:
    """Whether a `who` only joins a clause to a noun that was named."""
    return (
        bool(before)
        and any(t.kind in ("nouns", "thing") for t in before)
        and (before[-1].kind != "relation")
    )


def _is_aimed(found: Tag, later: list[Tag], words: list[str]) -> bool:
    """Whether `towards` or `away from` names an object instead of the camera."""
    if words[found.stop - 1] not in {"towards", "toward", "away", "closer", "nearer"}:
        return False
    if found.stop >= len(words) or words[found.stop] not in {"the", "a", "an", "from", "to"}:
        return words[found.stop - 1] in {"towards", "toward"} and bool(later)
    return bool(later) and later[0].kind == "nouns" and later[0].start - found.stop <= 2


def _relation_without_object(found: Tag, before: list[Tag], words: list[str]) -> Tag:
    """A relation word with nothing after it: to walk past is to move, nearby is a place."""
    if found.value == "passes":
        return replace(found, kind="motion", value="moving")
    if found.value in _PASSIVE and sum(t.kind == "nouns" for t in before) > 1:
        return replace(found, kind="turned", value=_PASSIVE[found.value])
    word = words[found.start]
    if word in ("with", "by", "over", "under"):
        return replace(found, kind="skipped")
    if found.value in _PLACE_OF:
        # "on the right of the picture": the picture is no object.
        return replace(found, kind="where", value=_PLACE_OF[found.value])
    return replace(found, kind="unknown", value=word_of(found, words))


def word_of(found: Tag, words: list[str]) -> str:
    """The words of a tag as written."""
    return " ".join(words[found.start : found.stop])


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
            self.is_named = True
            return True
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
