"""How sure a model was, from what it gave the numbers of the objects."""

import math
import pickle

import numpy as np
import pytest

from stvg_r1_hub.confidence import alternatives_of, confidence_of
from stvg_r1_hub.structures import Generated, Tracks, Tube
from tests.builders import make_track

TRACKS = Tracks(
    64, 48, np.arange(20) / 10, tuple(make_track(i, range(20), (0, 0, 9, 9)) for i in range(1, 9))
)
TUBE = Tube((2,), 0.5, 1.5, ())


def test_the_answered_objects_probability_is_the_confidence() -> None:
    text = Generated("2", {1: 0.25, 2: 0.7, 3: 0.05})
    assert confidence_of(text, (2,)) == 0.7
    assert confidence_of(text, (1, 2)) == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("text", "object_ids"),
    [
        ("2", (2,)),
        (Generated("2", {}), (2,)),
        (Generated("2", {2: 0.5, 1: 0.5}), ()),
        (Generated("2", {1: 1.0}), (2,)),
        (Generated("2", {2: math.nan}), (2,)),
    ],
    ids=["plain text", "no probabilities", "not found", "of others", "not a number"],
)
def test_a_model_that_cannot_say(text: str, object_ids: tuple[int, ...]) -> None:
    assert confidence_of(text, object_ids) is None


def test_alternatives_are_the_likeliest_others_that_are_there() -> None:
    text = Generated(
        "2",
        {1: 0.1, 2: 0.4, 3: 0.2, 4: 0.001, 5: 0.1, 6: 0.05, 7: 0.05, 8: 0.05, 77: 0.049},
        {3: (0.0, 1.0)},
    )
    others = alternatives_of(text, TUBE, TRACKS)
    assert [(o.object_id, o.confidence) for o in others] == [
        *((3, 0.2), (1, 0.1), (5, 0.1), (6, 0.05), (7, 0.05))
    ]
    assert [(o.start_seconds, o.end_seconds) for o in others[:2]] == [(0.0, 1.0), (0.5, 1.5)]
    assert alternatives_of("2", TUBE, TRACKS) == ()


def test_without_an_answered_range_only_those_with_their_own_are_alternatives() -> None:
    text = Generated("none", {1: 0.5, 3: 0.5}, {3: (0.0, 1.0)})
    others = alternatives_of(text, Tube((), 0.0, 0.0, ()), TRACKS)
    assert [o.object_id for o in others] == [3]


def test_a_text_with_probabilities_travels_between_processes() -> None:
    text = Generated("2", {2: 1.0}, {2: (0.0, 1.0)})
    copy = pickle.loads(pickle.dumps(text))
    assert (copy, copy.id_probabilities, copy.id_ranges) == ("2", {2: 1.0}, {2: (0.0, 1.0)})
