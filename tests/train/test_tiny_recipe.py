"""The recipe in miniature runs from end to end; boxes written as text are read and scored."""

import json

import numpy as np
import pytest

from stvg_r1_hub.evaluation.sprites.clips import true_tube
from tests.train.runs import write_base
from train import tiny_recipe
from train.sprite_questions import answerable_scene
from train.written_boxes import BoxQuestions, read_answer, score, written_answer


@pytest.mark.slow
def test_one_command_makes_table_and_figure(tmp_path, capfd):
    write_base(tmp_path / "base")
    out = tmp_path / "out"
    arguments = ["--base", tmp_path / "base", "--out", out, "--level", "easy", "--clips", "1",
                 "--grpo-steps", "1", "--sft-steps", "1", "--accumulation", "1",
                 "--generations", "2"]  # fmt: skip
    # Each trained row is a process of its own: here only those of three kinds are run.
    kept = ("boxes", "base", "grpo")
    parts = tiny_recipe.parts
    try:
        tiny_recipe.parts = lambda options: [p for p in parts(options) if p.name in kept]
        assert tiny_recipe.main([*map(str, arguments)]) == 0
        first = (out / "table.md").read_text()
        assert tiny_recipe.main([*map(str, arguments)]) == 0  # everything is there already
    finally:
        tiny_recipe.parts = parts
    assert (out / "table.md").read_text() == first
    assert [line.split("|")[1].strip() for line in first.splitlines()[4:]] == [
        "base, boxes written as text, no numbers", "base, numbers drawn", "GRPO",
    ]  # fmt: skip
    assert (out / "rewards.png").stat().st_size > 5000
    assert json.loads((out / "grpo.json").read_text())["n"] == 1


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
