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


@pytest.mark.parametrize("level", ["easy", "medium"])
def test_the_taught_answer_earns_everything(level):
    questions = SpriteQuestions(level, 3, 20)
    for i in sample_order(20, 0, 0, 3):
        sample = questions[i]
        scene = question_scene(level, 3, i)
        assert scene.query == sample.query
        assert scene.answer_range == (None if sample.truth.is_nothing else sample.truth.time_range)
        said = Completion(sample.target_text)
        assert [REWARDS[name](said, sample.truth) for name in ("tiou", "id", "format")] == [1, 1, 1]
        assert sample.frames.shape == (4 * sample.truth.duration_seconds, 140, 140, 3)
        again = questions[i]
        assert again.query == sample.query and np.array_equal(again.frames, sample.frames)
    assert SpriteQuestions(level, 4, 20)[0].query != questions[0].query or level == "easy"


def test_what_nothing_answers_is_asked_too():
    (index,) = [i for i in range(20) if question_scene("medium", 3, i).target_id is None][:1]
    sample = SpriteQuestions("medium", 3, 20)[index]
    assert sample.truth.is_nothing and "Target ID: none" in sample.target_text
    said = Completion(sample.target_text)
    assert [REWARDS[name](said, sample.truth) for name in ("tiou", "id", "format")] == [1, 1, 1]
    assert chosen_scene("medium", 3, index, nothing=False).target_id is not None


def test_requests_that_make_no_sense():
    with pytest.raises(ConfigError, match="levels are"):
        SpriteQuestions("impossible")
    for unlimited_or_other in (None, 999):
        with pytest.raises(ConfigError, match=f"= {unlimited_or_other}; .* 140x140"):
            size_of(unlimited_or_other)
