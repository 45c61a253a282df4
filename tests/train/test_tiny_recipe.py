"""The rows of the recipe in miniature; boxes written as text are read and scored."""

import numpy as np
import pytest

from stvg_r1_hub.evaluation.sprites.clips import true_tube
from train import tiny_recipe
from train.sprite_questions import answerable_scene
from train.written_boxes import BoxQuestions, read_answer, score, written_answer


def test_the_recipe_leaves_out_each_reward_once():
    options = type("Options", (), {"sft_steps": 5, "grpo_steps": 7, "generations": 8})
    rows = {part.name: part for part in tiny_recipe.parts(options)}
    assert list(rows) == ["boxes", "base", "sft", "grpo", "no_tiou", "no_id", "no_format"]
    assert rows["no_id"].changes["rewards"] == {"tiou": 1.0, "format": 1.0}
    assert rows["grpo"].changes["max_steps"] == 7


def test_written_boxes_are_read_and_scored():
    scene = answerable_scene("easy", 0, 1)
    text = written_answer(scene)
    tiou, viou = score(scene, text)
    assert tiou == 1 and viou > 0.7
    ends, start, end = read_answer(text)
    assert (start, end) == scene.answer_range
    first = next(iter(true_tube(scene).values())) / 336
    assert np.abs(ends[0] - first).max() <= 0.011
    assert score(scene, text.replace("Box", "Fox")) == (0, 0)
    sample = BoxQuestions("easy", 0, 5)[1]
    assert sample.target_text == text
    assert "first and last box" in sample.prompt


@pytest.mark.parametrize("text", ["", "Box: 1 2 3 to 1 2 3 4, Time range: 1.00 to 2.00</answer>"])
def test_what_is_no_box_is_none(text):
    assert read_answer(text) is None
