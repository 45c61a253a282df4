"""Queries read: the wordings people use, and what each of them is held against in the notes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stvg_r1_hub.structures import Notes, ObjectNote, Segment
from stvg_r1_hub.vlm.reading.matching import NothingFits, find
from stvg_r1_hub.vlm.reading.meaning import read_query

WORDINGS = Path(__file__).parent / "wordings"
BALLS = {"ball", "sports ball"}


def comparable(values: dict[str, Any]) -> dict[str, Any]:
    """A meaning whose lists have no order; the two names of a ball are one."""
    kept = {k: v for k, v in values.items() if k not in ("text", "style")}
    for key, value in kept.items():
        if key == "relation":
            kept[key] = (value[0], comparable(value[1]))
        elif key == "nouns":
            kept[key] = set(value) | (BALLS if BALLS & set(value) else set())
        elif isinstance(value, list):
            kept[key] = set(value)
    return kept


def is_understood(row: dict[str, Any]) -> bool:
    read = read_query(row["text"]).to_dict()
    if "unknown" in row and "unknown" in read:
        return bool(set(" ".join(row["unknown"]).split()) & set(" ".join(read["unknown"]).split()))
    return comparable(row) == comparable(read)


@pytest.mark.parametrize("name", ["first", "second"])
def test_wordings_are_understood_as_meant(name: str) -> None:
    lines = (WORDINGS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    wrong = [row["text"] for row in rows if not is_understood(row)]
    assert len(rows) == 200
    assert len(wrong) <= 0.03 * len(rows), wrong
    by_style = {row["style"] for row in rows}
    assert len(by_style) == 10


@pytest.mark.parametrize(
    "query",
    ["", " ", "?", "a" * 2000, "the " * 400, "\u0000\n", "12 34", "🐶", "left", "left left left of",
     "of the", "who", "follows", "right right right", "not", "in in in red red", "the the dog dog"],
)  # fmt: skip
def test_nothing_makes_reading_fail(query: str) -> None:
    assert read_query(query).to_dict() is not None


@pytest.mark.parametrize("query", ["собака бежит", "狗", "والكلب", "Hund", "der Hündin nach"])
def test_another_language_is_told_apart(query: str) -> None:
    meaning = read_query(query)
    assert not meaning.is_english or meaning.unknown


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("persn", "person"), ("the wlaking man", "the walking man"), ("a bicyle", "a bicycle"),
     ("the MAN walkng left", "the man walking left"), ("a whte car", "a white car")],
)  # fmt: skip
def test_one_wrong_letter_is_forgiven(typed: str, meant: str) -> None:
    assert read_query(typed) == read_query(meant)


@pytest.mark.parametrize("word", ["talking", "hat", "cap", "bald", "dig", "reading", "tall"])
def test_a_word_of_english_is_no_typing_error(word: str) -> None:
    assert read_query(f"the {word} man").unknown == (word,)


def note(
    number: int,
    name: str = "person",
    x: float = 320,
    *,
    seen: tuple[float, float] = (0, 8),
    motion: tuple[tuple[str, float, float], ...] = (),
    **more: Any,
) -> ObjectNote:
    """An object of 40 by 100 pixels that stands at x on a 640 by 480 frame."""
    times = np.arange(seen[0], seen[1], 0.1)
    feet = more.pop("feet", 300)
    size = more.pop("size", 1.0)
    step = more.pop("step", 0.0)
    left = x - 20 * size + step * np.arange(len(times))
    boxes = np.stack(
        [left, 0 * left + feet - 100 * size, left + 40 * size, 0 * left + feet], axis=1
    )
    values: dict[str, Any] = {
        "colours": (), "lower_colours": (), "place": "", "depth": "", "enters": "", "leaves": "",
        "size_rank": 1, "n_of_class": 1, "speeds": np.full(len(times), more.pop("speed", 0.0)),
    }  # fmt: skip
    return ObjectNote(
        object_id=number,
        class_name=name,
        start_seconds=float(seen[0]),
        end_seconds=float(seen[1]),
        motion=tuple(Segment(*m) for m in motion),
        times_seconds=times,
        boxes=boxes.astype(np.float32),
        **{**values, **more},
    )


def street(*objects: ObjectNote) -> Notes:
    return Notes(objects, ("person", "car", "dog", "truck"), 640, 480, 8.0)


PEOPLE = street(
    note(
        1, x=80, colours=("red",), lower_colours=("blue",), motion=(("left", 1, 4), ("still", 4, 8))
    ),
    note(
        2, x=560, colours=("black",), motion=(("left", 0, 2), ("right", 5, 8)), feet=460, speed=1.0
    ),
    note(
        3,
        x=330,
        seen=(2, 6),
        enters="left",
        leaves="within",
        motion=(("right", 2, 6), ("fast", 3, 5)),
        speed=2.0,
        feet=180,
        size=0.6,
    ),
    note(4, "car", x=300, colours=("white",), size=2.0, motion=(("right", 0, 3), ("still", 3, 8))),
    note(5, "dog", x=250, step=2, motion=(("right", 0, 8),), size=0.4),
    note(6, x=330, step=2, motion=(("right", 0, 8),), colours=("black",)),
)


@pytest.mark.parametrize(
    ("query", "number", "start", "end"),
    [
        ("the car", 4, 0, 8),
        ("the vehicle", 4, 0, 8),
        ("the person walking to the left", 1, 1, 4),
        ("someone running", 3, 3, 5),
        ("the man in red", 1, 0, 8),
        ("the man in blue trousers", 1, 0, 8),
        ("the person on the left", 1, 0, 8),
        ("the person on the right", 2, 0, 8),
        ("the nearest person", 2, 0, 8),
        ("the farthest person", 3, 2, 6),
        ("the smallest person", 3, 2, 6),
        ("who comes in", 3, 2, 3.5),
        ("who leaves first", 3, 4.5, 6),
        ("the car that stops", 4, 2, 3.5),
        ("the man who stands still", 1, 4, 8),
        ("the dog following a person", 5, 0, 8),
        ("the person followed by a dog", 6, 0, 8),
        ("the leftmost person", 1, 0, 8),
        ("the fastest one", 3, 2, 6),
        ("the animal", 5, 0, 8),
        ("the white car parked in the street", 4, 3, 8),
        ("the second person from the left", 3, 2, 6),
        ("third from the right", 3, 2, 6),
        ("the 2nd biggest person", 2, 0, 8),
        ("the second to last person from the left", 6, 2, 6),
        ("the last man from the left", 2, 0, 8),
        ("the second person walking right", 3, 2, 6),
        ("the person on the left at the start", 1, 0, 1.5),
        ("a person walking left in the first two seconds", 2, 0, 2),
        ("at the end of the video, the car", 4, 6.5, 8),
        ("the person leaving in the last 3 seconds", 3, 5, 6),
        ("the man in a dark jacket on the right", 2, 0, 8),
        ("the woman wearing dark blue jeans", 1, 0, 8),
        ("the person closest to the car", 6, 0, 8),
        ("closest to the white car", 5, 0, 8),
        ("what is left of the car", 1, 0, 8),
        ("the closest person to the white car", 6, 0, 8),
        ("the person farthest from the dog", 2, 0, 8),
    ],
)
def test_what_fits(query: str, number: int, start: float, end: float) -> None:
    best = find(read_query(query), PEOPLE)[0]
    assert best.note.object_id == number
    assert (best.start_seconds, best.end_seconds) == pytest.approx((start, end), abs=0.15)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("the truck", "No truck was found; there is: car, dog, person."),
        ("the frog", "does not know 'frog': it knows person, car, dog, truck; another object"),
        (
            "the man in green",
            "No person is clearly green (colours by number: 1: red, blue; 2: black",
        ),
        ("the white dog", "The colour of no dog is clear enough to say which is white."),
        ("the dog walking left", "No dog goes left."),
        ("the dog left of the car in green", "No car is clearly green"),
        ("the man who stops and moves fast", "No person stops and moves fast at once."),
        ("the dog in the background", "The one that fits is not far from the camera."),
        ("the car next to the man in red", "None is near a person."),
        ("the fifth person", "Only 4 objects fit, so there is no fifth one."),
        ("the second person", "3 do so at the same time, so none is the second; say how they"),
        ("the person closest to the truck", "No truck was found; there is: car, dog, person."),
        ("the car moving in the last second", "No car moves from 7.00 to 8.00 s."),
        ("the man who leaves in the first second", "No person leaves from 0.00 to 1.00 s."),
    ],
)
def test_why_nothing_fits(query: str, said: str) -> None:
    with pytest.raises(NothingFits) as raised:
        find(read_query(query), PEOPLE)
    assert said in str(raised.value)


def test_the_longest_comes_first_and_the_others_after_it() -> None:
    found = find(read_query("people walking left"), PEOPLE)
    assert [(m.note.object_id, m.start_seconds, m.end_seconds) for m in found] == [
        (1, 1, 4),
        (2, 0, 2),
    ]


def test_an_object_seen_once_can_be_the_answer() -> None:
    single = street(note(7, "dog", seen=(3, 3.05)))
    (found,) = find(read_query("the dog"), single)
    assert found.note.object_id == 7
    with pytest.raises(NothingFits):
        find(read_query("the dog going left"), single)
