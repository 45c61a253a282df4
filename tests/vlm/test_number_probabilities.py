"""How likely each object number was, digit by digit."""

import pytest

from stvg_r1_hub.vlm.number_probabilities import (
    made_as_sure,
    number_probabilities,
    written_number,
)

END: dict[str, float] = {}


def test_numbers_of_one_token_share_what_they_had() -> None:
    steps = [{" 1": 0.6, " 2": 0.2, " 7": 0.2, " 12": 0.1}, END]
    found = number_probabilities([" 1", ","], steps, "1", [1, 2, 3, 12])
    assert found == pytest.approx({1: 0.6 / 0.9, 2: 0.2 / 0.9, 3: 0, 12: 0.1 / 0.9})


def test_a_number_of_two_digits_is_their_product() -> None:
    steps = [{"1": 0.8, "2": 0.2}, {"2": 0.5, "3": 0.25}, END]
    found = number_probabilities(["1", "2", ","], steps, "12", [1, 12, 13, 20, 25])
    assert found == pytest.approx({1: 0.2, 12: 0.4, 13: 0.2, 20: 0.1, 25: 0.1})


def test_longer_numbers_that_begin_with_the_written_one_count_too() -> None:
    found = number_probabilities(["1", ","], [{"1": 1.0}, {"2": 0.3, ",": 0.7}], "1", [1, 12])
    assert found == pytest.approx({1: 0.7, 12: 0.3})


def test_one_number_as_sure_as_it_is_said_and_the_others_share_the_rest() -> None:
    found = made_as_sure({1: 0.998, 2: 0.0015, 3: 0.0005}, 1, 0.6)
    assert found == pytest.approx({1: 0.6, 2: 0.3, 3: 0.1})
    assert made_as_sure({1: 1.0}, 1, 0.6) == {1: 0.6}


@pytest.mark.parametrize(
    ("tokens", "steps", "number", "candidates"),
    [
        (["7"], [{"7": 1.0}, END], "7", [1, 2]),
        (["1"], [{"1": 1.0}, END], "1", []),
        (["1"], [{"1": 0.0}, END], "1", [1, 2]),
        (["1"], [{"1": float("nan")}, END], "1", [1, 2]),
        (["01"], [{"01": 1.0}, END], "01", [1, 2]),
        (["[1"], [{"1": 1.0}, END], "1", [1, 2]),
        (["1"], [{"1": 1.0}], "1", [1, 2]),
        ([], [], "1", [1, 2]),
    ],
    ids=[
        "not there",
        "no objects",
        "impossible",
        "not a number",
        "leading zero",
        "other token",
        "cut off",
        "nothing",
    ],
)
def test_where_nothing_can_be_said(
    tokens: list[str], steps: list[dict[str, float]], number: str, candidates: list[int]
) -> None:
    assert number_probabilities(tokens, steps, number, candidates) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>Target ID: 9</think><answer>Target ID: [3], Time range: 1 to 2</answer>", "3"),
        ("<answer>Target ID: 4</answer><answer>Target ID: 12, 4, Time range: 1 to 2", "12"),
        ("Target ID: 3", None),
        ("<answer>Target ID: none</answer>", None),
        ("", None),
    ],
)
def test_the_first_number_of_the_last_answer_counts(text: str, expected: str | None) -> None:
    found = written_number(text)
    assert (found and found[1]) == expected
    assert found is None or text[found[0] :].startswith(found[1])
