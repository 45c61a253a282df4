"""The rows of the recipe in miniature; boxes written as text are read and scored."""

import re

import numpy as np
import pytest

from stvg_r1_hub.sprites.clips import true_tube
from tests.train import tiny
from train.miniature import recipe as tiny_recipe
from train.miniature.answers import answer_questions
from train.miniature.sprite_questions import chosen_scene
from train.miniature.worn_base import main as wear
from train.miniature.written_boxes import BoxQuestions, read_answer, score, written_answer
from train.rewards import REWARD_SETS


def test_the_recipe_leaves_out_each_reward_once():
    numbers = {"sft_steps": 5, "grpo_steps": 7, "generations": 8, "grpo_rate": 1e-4}
    options = type("Options", (), numbers)
    rows = {part.name: part for part in tiny_recipe.parts(options)}
    assert tuple(rows) == tiny_recipe.ROWS
    assert rows["no_id"].changes["rewards"] == {"tiou": 1.0, "format": 1.0}
    assert rows["grpo"].changes["max_steps"] == 7
    assert rows["object_third"].changes["rewards"] == REWARD_SETS["object"]
    assert rows["box_iou"].changes["rewards"] == {"box_iou": 1.0, "id": 1.0, "format": 1.0}
    assert [name for name, part in rows.items() if part.request] == ["third", "object_third"]


@pytest.mark.slow
def test_the_recipe_trains_measures_and_goes_on(tmp_path, capsys):
    sizes = "--clips 2 --grpo-steps 1 --accumulation 2 --generations 2 --rows base grpo"
    command = ["--base", str(tiny.BUNDLE), "--out", str(tmp_path), "--level", "easy"]
    command += sizes.split()
    assert tiny_recipe.main(command) == 0
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "nothing fits in 0;" in table
    for title in ("base, numbers drawn", "GRPO"):
        # Over all questions, of which each has an answer here; then the right object and "none".
        assert re.search(rf"\| {title} \| (0\.\d+) \| 1\.000 \| - \| .* \| \1 \|$", table, re.M)
    assert (tmp_path / "rewards.png").stat().st_size > 5000
    weights = tmp_path / "grpo" / "model" / "model.safetensors"
    trained = weights.stat().st_mtime_ns
    capsys.readouterr()
    # A row made again, or alone, leaves the others in the table.
    assert tiny_recipe.main([*command[: command.index("--rows")], "--rows", "base"]) == 0
    assert weights.stat().st_mtime_ns == trained
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == table


@pytest.mark.slow
def test_a_worn_base_is_worse_and_made_once(tmp_path, capsys):
    found = []
    for noise in ("0", "0.6"):
        out = ["--out", str(tmp_path / noise)]
        assert wear(["--noise", noise, *out]) == 0
        found.append(answer_questions(tmp_path / noise, "medium", seed=2, n=10))
    whole, worn = found
    assert whole["m_viou_all"] > worn["m_viou_all"] and whole["nothing"] == worn["nothing"]
    nothing = whole["nothing"]
    every = whole["m_viou"] * (10 - nothing) + whole.get("none_accuracy", 0) * nothing
    assert whole["m_viou_all"] == pytest.approx(every / 10)
    for wrong, said in ((out, "is there already"), (["--noise", "-1", "--out", "x"], "0 or above")):
        assert wear(wrong) == 2 and said in capsys.readouterr().err


def test_a_base_that_is_not_there_is_one_sentence(tmp_path, capsys):
    command = ["--base", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--rows", "base"]
    assert tiny_recipe.main([*command, "--clips", "1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_written_boxes_are_read_and_scored():
    scene = chosen_scene("easy", 0, 1, nothing=False)
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
