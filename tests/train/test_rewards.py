"""Rewards with numbers worked by hand."""

import math
import re
import time
from dataclasses import replace

import numpy as np
import pytest

from stvg_r1_hub.structures import Tracks
from tests.builders import make_track
from train.rewards import (
    REWARDS,
    Completion,
    GroundTruth,
    box_iou_reward,
    ids_f1_reward,
    mirror_reward,
    mirrored_query,
    scaled_tiou_reward,
)

TRUTH = GroundTruth((4,), 1.0, 3.0, 10.0)
ANSWER = "Target ID: 4, Time range: 1.0 to 3.0"
GOOD = f"<think>x</think>\n<answer>{ANSWER}</answer>"


def said(object_id, start, end, **more):
    answer = f"Target ID: {object_id}, Time range: {start} to {end}"
    return Completion(f"<think>x</think><answer>{answer}</answer>", **more)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, 1),
        (f" \n{GOOD}\t ", 1),
        ("<think></think><answer></answer>", 1),
        ("<think>a</think><think>b</think><answer>c</answer> d <answer>e</answer>", 1),
        (GOOD + "<|im_end|>", 0),
        ("a" + GOOD, 0),
        (f"<think>x</think> so <answer>{ANSWER}</answer>", 0),
        (f"<think>x <answer>{ANSWER}</answer></think>", 0),
        (f"<answer>{ANSWER}</answer>", 0),
        ("<think></think><answer>", 0),
        ("<think></think></answer>", 0),
        ("<Think>x</Think><answer>y</answer>", 0),
        ("", 0),
    ],
)
def test_format_reward(text, expected):
    assert REWARDS["format"](Completion(text), TRUTH) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("4, Time range: 1.0 to 3.0", 1),
        ("4, Time range: 2.0 to 4.0", 1 / 3),
        ("4, Time range: 5.0 to 6.0", 0),
        ("5, Time range: 1.0 to 3.0", 0),
        ("4", 0),
        ("none", 0),
        ("", 0),
    ],
)
def test_the_time_counts_with_the_right_object_alone(answer, expected):
    text = Completion(f"<think>x</think><answer>Target ID: {answer}</answer>")
    assert REWARDS["object_tiou"](text, TRUTH) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("1 to 3", 1.0),
        ("2 to 4", math.exp(-3 / 2)),
        ("6 to 8", math.exp(-3 * 5 / 2)),
        ("0 to 4", math.exp(-3 * 0.5 / 2)),
        ("0 to 2, 2 to 4", math.exp(-3 * 0.5 / 2)),
        ("3 to 1", 0.0),
    ],
)
def test_temporal_wasserstein_tells_misses_apart(answer, expected):
    text = f"<answer>Target ID: 4, Time range: {answer}</answer>"
    assert REWARDS["temporal_wasserstein"](Completion(text), TRUTH) == pytest.approx(expected)


def test_temporal_wasserstein_of_several_moments():
    truth = replace(TRUTH, end_seconds=9.0, ranges=((1.0, 3.0), (7.0, 9.0)))
    both = Completion("<answer>Target ID: 4, Time range: 1 to 3, 7 to 9</answer>")
    one = Completion("<answer>Target ID: 4, Time range: 1 to 3</answer>")
    assert REWARDS["temporal_wasserstein"](both, truth) == pytest.approx(1)
    assert REWARDS["temporal_wasserstein"](one, truth) == pytest.approx(math.exp(-3 * 3.0 / 4))


@pytest.mark.parametrize(
    ("text", "tiou", "right_id"),
    [
        (GOOD, 1.0, 1),
        (said(4, 1, 5).text, 0.5, 1),
        (said(5, 1, 3).text, 1.0, 0),
        (said(5, 7, 9).text, 0.0, 0),
        ("<answer>Target ID: 4, Time range: [1.0 to 3.0]</answer>", 0.0, 0),
        ("<answer>Target ID: 4, Time range: 3.0 to 1.0</answer>", 0.0, 1),
    ],
)
def test_tiou_and_id(text, tiou, right_id):
    assert REWARDS["tiou"](Completion(text), TRUTH) == pytest.approx(tiou)
    assert REWARDS["id"](Completion(text), TRUTH) == right_id


@pytest.mark.parametrize(
    "text", ["</think> <answer>" * 6000, "<think>" * 15_000, "<think></think>" + " " * 100_000]
)
def test_format_reward_is_fast(text):
    start = time.process_time()
    REWARDS["format"](Completion(text), TRUTH)
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize("text", ["", "<answer>Target ID: 4</answer>", "4 from 1 to 3"])
def test_an_incomplete_answer_is_worth_nothing(text):
    completion = Completion(text, mirrored_text=text)
    for name in ("tiou", "id", "format", "scaled_tiou", "mirror"):
        assert REWARDS[name](completion, TRUTH) == 0


def test_scaled_tiou():
    # tIoU 1/4, start 1 s and end 2 s off in a clip of 10 s.
    assert scaled_tiou_reward(said(9, 2, 5), TRUTH) == pytest.approx(1 / 4 * 0.9 * 0.8)
    assert scaled_tiou_reward(said(9, 1, 3), TRUTH) == 1
    assert scaled_tiou_reward(said(9, 1, 300), TRUTH) == 0


def test_box_iou():
    track = make_track(4, range(10), [0, 0, 10, 10])
    tracks = Tracks(100, 100, np.arange(10) * 1.0, (track,))
    # Frames 1 and 2 are true, half of each box; frames 2 and 3 are answered.
    truth = GroundTruth((4,), 1.0, 3.0, 10.0, tracks, {1: [0, 0, 10, 5], 2: [0, 0, 10, 5]})
    assert box_iou_reward(said(4, 2, 4), truth) == pytest.approx(0.5 / 3)
    assert box_iou_reward(said(5, 2, 4), truth) == 0
    assert box_iou_reward(Completion("no"), truth) == 0
    with pytest.raises(ValueError, match="tracks"):
        box_iou_reward(said(4, 2, 4), TRUTH)


@pytest.mark.parametrize(
    ("answered", "true", "expected"),
    [("1, 2", (1, 2), 1.0), ("1, 2", (2, 3), 0.5), ("7", (1, 2), 0.0), ("1", (1, 2), 2 / 3)],
)
def test_ids_f1(answered, true, expected):
    truth = GroundTruth(true, 1.0, 3.0, 10.0)
    assert ids_f1_reward(said(answered, 1, 3), truth) == pytest.approx(expected)


def test_mirror():
    same = said(4, 1, 3).text
    assert mirror_reward(said(4, 1, 3, mirrored_text=same), TRUTH) == 1
    assert mirror_reward(said(5, 1, 3, mirrored_text=same), TRUTH) == 0.5
    assert mirror_reward(said(5, 2, 5, mirrored_text=same), TRUTH) == pytest.approx(1 / 8)
    with pytest.raises(ValueError, match="--mirror"):
        mirror_reward(said(4, 1, 3), TRUTH)


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_where_nothing_is_right_saying_so_earns_everything(name):
    none = "<think></think><answer>Target ID: none</answer>"
    nothing = GroundTruth((), 0.0, 0.0, 10.0)
    reward = REWARDS[name]
    assert reward(Completion(none, mirrored_text=none), nothing) == 1
    guess = said(4, 1, 3).text
    rubbish = "<think></think><answer>?</answer>"
    wrong = int(name == "format")
    assert reward(Completion(guess, mirrored_text=guess), nothing) == wrong
    assert reward(Completion(rubbish, mirrored_text=rubbish), nothing) == wrong
    assert str(nothing) == "none" and str(TRUTH) == "4, 1.00 to 3.00"


@pytest.mark.parametrize("name", sorted(REWARDS))
def test_every_reward_says_its_formula_and_where_it_is_from(name):
    said = REWARDS[name].__doc__
    assert said.count("`") >= 2
    assert re.search(r"\bsource\b|\bown definition\b", said, re.IGNORECASE)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("the dog left of the tree", "the dog right of the tree"),
        ("Right hand, leftmost", "Left hand, rightmost"),
        ("a bright leftover", "a bright leftover"),
        ("the person who left", "the person who right"),
    ],
)
def test_mirrored_query(query, expected):
    # "who left" is the known wrong case: word sense is not looked at.
    assert mirrored_query(query) == expected
