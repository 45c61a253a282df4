import json
import logging
import time
from pathlib import Path

import pytest

from stvg_r1_hub.errors import AnnotationError
from train.data.dataset import load_examples, normalize_query
from train.rewards import format_reward, localization_reward, total_reward

ANSWER = "Target ID: 4, Time range: 1.0 to 3.0"
GOOD = f"<think>x</think>\n<answer>{ANSWER}</answer>"


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
    assert format_reward(text) == expected


@pytest.mark.parametrize(
    ("text", "solution", "expected"),
    [
        (GOOD, (4, 1.0, 3.0), 2.0),
        (GOOD, (4.0, 1.0, 5.0), 1.5),
        (GOOD, (5, 1.0, 3.0), 1.0),
        (GOOD, (5, 7.0, 9.0), 0.0),
        ("<answer>Target ID: 4, Time range: [1.0 to 3.0]</answer>", (4, 1.0, 3.0), 0.0),
        ("<answer>Target ID: 4, Time range: 3.0 to 1.0</answer>", (4, 1.0, 3.0), 1.0),
        ("", (4, 1.0, 3.0), 0.0),
    ],
)
def test_localization_reward(text, solution, expected):
    assert localization_reward(text, solution) == pytest.approx(expected)


def test_total_reward():
    assert total_reward(GOOD, (4, 1.0, 3.0)) == pytest.approx(3.0)
    assert total_reward(f"<answer>{ANSWER}</answer>", (5, 1.0, 5.0)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "text", ["</think> <answer>" * 6000, "<think>" * 15_000, "<think></think>" + " " * 100_000]
)
def test_format_reward_is_fast(text):
    start = time.process_time()
    format_reward(text)
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (" The Dog runs. ", "the dog runs"),
        ("a.. ", "a."),
        ("walks .", "walks "),
        ("Why?", "why?"),
        (".", ""),
    ],
)
def test_normalize_query(sentence, expected):
    assert normalize_query(sentence) == expected


def write(folder, records):
    path = Path(folder) / "train.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


RECORD = {
    "duration": 20,
    "timestamps": [[1, 4.5], [2, 5]],
    "sentences": ["A dog.", "B"],
    "objectid": [4, 8],
}


def test_examples_of_existing_videos(tmp_path, caplog):
    (tmp_path / "v1.mkv").touch()
    path = write(tmp_path, {"v0": RECORD, "v1": RECORD})
    with caplog.at_level(logging.WARNING):
        examples = load_examples(path, tmp_path, preprocessed_root="PRE", split="eval")
    assert "v0" in caplog.text
    assert [e.problem for e in examples] == ["a dog", "b"]
    assert [e.solution for e in examples] == [(4.0, 1.0, 4.5), (8.0, 2.0, 5.0)]
    assert [e.preprocessed_path for e in examples] == ["PRE/eval/v1_0", "PRE/eval/v1_1"]
    assert {e.video_path for e in examples} == {tmp_path / "v1.mkv"}
    assert {e.duration_seconds for e in examples} == {20.0}


@pytest.mark.parametrize(
    "record",
    [
        {},
        [],
        {**RECORD, "objectid": [4]},
        {**RECORD, "timestamps": [[1, 2, 3], [2, 5]]},
        {**RECORD, "timestamps": [["a", 2], [2, 5]]},
        {key: value for key, value in RECORD.items() if key != "duration"},
    ],
)
def test_contradicting_records_are_refused(tmp_path, record):
    (tmp_path / "v0.mp4").touch()
    with pytest.raises(AnnotationError, match="'v0'"):
        load_examples(write(tmp_path, {"v0": record}), tmp_path, preprocessed_root="PRE")


def test_unreadable_annotation_is_refused(tmp_path):
    (tmp_path / "broken.json").write_text("[")
    for path in (tmp_path / "broken.json", tmp_path / "missing.json", write(tmp_path, [])):
        with pytest.raises(AnnotationError, match=path.name):
            load_examples(path, tmp_path, preprocessed_root="PRE")
