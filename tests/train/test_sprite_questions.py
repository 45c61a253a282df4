"""Sprite-world questions: reproducible, told right, and some of them answered by nothing."""

import numpy as np
import pytest

from stvg_r1_hub.errors import ConfigError
from train.data.samples import sample_order
from train.miniature.sprite_questions import (
    SpriteQuestions,
    chosen_scene,
    question_scene,
    size_of,
)
from train.rewards import REWARDS, Completion

TAUGHT = ("tiou", "id", "format", "object_tiou", "box_iou")


@pytest.mark.parametrize("level", ["easy", "medium"])
def test_the_taught_answer_earns_everything(level):
    questions = SpriteQuestions(level, 3, 20)
    for i in sample_order(20, 0, 0, 3):
        sample = questions[i]
        scene = question_scene(level, 3, i)
        assert scene.query == sample.query
        assert scene.answer_range == (None if sample.truth.is_nothing else sample.truth.time_range)
        said = Completion(sample.target_text)
        assert [REWARDS[name](said, sample.truth) for name in TAUGHT] == [1] * 5
        assert sample.frames.shape == (4 * sample.truth.duration_seconds, 140, 140, 3)
        again = questions[i]
        assert again.query == sample.query and np.array_equal(again.frames, sample.frames)
    assert SpriteQuestions(level, 4, 20)[0].query != questions[0].query or level == "easy"


def test_what_nothing_answers_is_asked_too():
    (index,) = [i for i in range(20) if question_scene("medium", 3, i).target_id is None][:1]
    sample = SpriteQuestions("medium", 3, 20)[index]
    assert sample.truth.is_nothing and "Target ID: none" in sample.target_text
    said = Completion(sample.target_text)
    assert [REWARDS[name](said, sample.truth) for name in TAUGHT] == [1] * 5
    assert chosen_scene("medium", 3, index, nothing=False).target_id is not None


@pytest.mark.parametrize(("percent", "expected"), [(0, 0), (33, 0.33), (100, 1)])
def test_a_share_of_the_questions_is_answered_by_nothing(percent, expected):
    questions = SpriteQuestions("medium", 0, 100, percent)
    nothing = [questions.scene(i).target_id is None for i in range(100)]
    assert np.mean(nothing) == pytest.approx(expected, abs=0.12)
    assert f"{percent} %" in questions.fingerprint
    assert questions[nothing.index(max(nothing))].truth.is_nothing == max(nothing)


def test_requests_that_make_no_sense():
    with pytest.raises(ConfigError, match="levels are"):
        SpriteQuestions("impossible")
    with pytest.raises(ConfigError, match="Got 101 percent"):
        SpriteQuestions("medium", 0, 10, 101)
    with pytest.raises(ConfigError, match="no question that is answered by nothing"):
        SpriteQuestions("easy", 0, 10, 100)[0]
    for unlimited_or_other in (None, 999):
        with pytest.raises(ConfigError, match=f"= {unlimited_or_other}; .* 140x140"):
            size_of(unlimited_or_other)
