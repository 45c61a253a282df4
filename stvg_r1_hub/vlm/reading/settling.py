"""Words whose sense hangs on their neighbours, decided: tagged words in, tagged words out."""

from __future__ import annotations

from dataclasses import replace

from stvg_r1_hub.vlm.reading.lexicon import Tag

_GOING = {"moving", "fast", "slow", "enters", "leaves", "starts"}
_ASKED = {"who", "whom", "whose", "whoever"}
_PLACE_OF = {
    "near": "near", "in front of": "near", "behind": "far", "above": "top", "below": "bottom",
    "left of": "left", "right of": "right",
}  # fmt: skip
NEAREST_TO = {"nearest": "nearest to", "farthest": "farthest from"}
"""Ranks by the distance to the camera, and the relations by that to an object."""
_COMING = {"come", "comes", "coming", "came"}
_NAMING = {"nouns", "thing", "colours"}
_PASSIVE = {"follows": "followed by", "followed by": "follows"}


def settle(tags: list[Tag], words: list[str]) -> list[Tag]:
    """The tags that mean something: left and right, relations, ordinals and who decided."""
    tags = _nearest_to(tags, words)
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
        is_described = any(t.kind in ("nouns", "thing") for t in settled)
        if found.kind == "relation" and not is_described and not _opens(found, later, words):
            continue  # "with my camera I saw": nothing is described yet
        if _is_question_about_going(found, words):
            continue
        if found.kind == "sides":
            one = _side(found, settled, later, words, going)
        elif found.kind == "crossing":
            one = _from_side(found, settled, words)
        elif found.kind == "colours" and _is_light(found, later, words):
            one = replace(found, kind="unknown", value=word_of(found, words))
        elif found.kind == "motion" and _is_named_start(found, words):
            one = replace(found, kind="unknown", value=word_of(found, words))
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


def _nearest_to(tags: list[Tag], words: list[str]) -> list[Tag]:
    """The tags with a rank by distance as a relation where it names what the distance is to."""
    for i, found in enumerate(tags):
        if found.kind != "rank" or found.value not in NEAREST_TO:
            continue
        # "closest to the truck", "the closest person to the truck"
        for place in range(i, min(i + 2, len(tags) - 1)):
            stop, after = tags[place].stop, tags[place + 1]
            is_joined = words[stop] in {"to", "from"} or (
                place == i and words[stop] in {"the", "a"}
            )
            if after.start > stop and is_joined and after.kind in _NAMING:
                relation = Tag("relation", NEAREST_TO[found.value], found.start, found.stop)
                rest = [*tags[i + 1 : place + 1], relation, *tags[place + 1 :]]
                return [*tags[:i], *rest]
    return tags


def _opens(found: Tag, later: list[Tag], words: list[str]) -> bool:
    """Whether a relation with its object is all there is of a description: "near the truck"."""
    if not later or later[0].kind not in _NAMING:
        return False
    return set(words[found.stop : later[0].start]) <= {"the", "a", "an", "to", "from"}


def _from_side(found: Tag, before: list[Tag], words: list[str]) -> Tag:
    """`from the left` as where counting begins, after an ordinal, or as the way of an object."""
    order = next((t for t in reversed(before) if t.kind == "order"), None)
    between = set(words[order.stop : found.start]) if order else set()
    moves = any(t.kind == "motion" and order and t.start > order.start for t in before)
    if order is None or moves or _COMING & between or "to" in words[found.start : found.stop]:
        return replace(found, kind="motion")
    far = {"left": "right", "right": "left"}
    side = far[found.value] if order.value != "last" else found.value
    return replace(found, kind="rank", value=f"{side}most")


def _is_named_start(found: Tag, words: list[str]) -> bool:
    """Whether it is the start of something, such as "from the start", and no movement."""
    return (
        found.value == "starts"
        and found.stop - found.start == 1
        and words[found.start] in {"start", "beginning"}
        and words[found.start - 1 : found.start] == ["the"]
    )


def _is_light(found: Tag, later: list[Tag], words: list[str]) -> bool:
    """Whether it is the dark or a light itself, and no shade."""
    kinds = _NAMING | {"garments"}
    is_bare = not later or later[0].start > found.stop or later[0].kind not in kinds
    article = words[found.start - 1] if found.start else ""
    return is_bare and words[found.start] in {"dark", "light"} and article in {"the", "a"}


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
