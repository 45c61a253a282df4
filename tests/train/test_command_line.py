"""Every kind of `--data` trains, leaves a checkpoint, and goes on from there."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.hub.training_record import load_training
from tests.train.prepared import write_prepared
from tests.train.runs import forget_launch, metrics, write_base, write_config
from train import train_grpo, train_sft
from train.run.command_line import WORLDS

TITLES = {
    "folder": "data",
    "sprites": "sprite world, level easy, seed 3",
    "boxes": "sprite world without numbers, level easy, seed 3",
}


TRAINING = ["--config", "train/configs/tiny.yaml", "--out", "x", "--data"]
PREPARING = ["--dataset", "hcstvg", "--annotations", "no.json", "--videos", "x", "--out", "x"]
MISTAKES = [
    *((name, ["--config", "no.yaml"]) for name in ("train.train_grpo", "train.train_sft")),
    ("train.train_grpo", [*TRAINING, "no-folder"]),
    ("train.train_sft", [*TRAINING, "sprites:easy:x"]),
    ("train.prepare", PREPARING),
    ("train.smoke", ["--out", "README.md/x"]),
    ("stvg_r1_hub.cli", ["ground", "no.mp4", "a dog"]),
    ("stvg_r1_hub.cli", ["track", "no.mp4"]),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_base(folder / "base")
    write_prepared(folder / "data")
    return folder


@pytest.mark.parametrize(
    ("kind", "program"),
    [
        *((kind, train_sft) for kind in ("folder", *WORLDS)),
        *((kind, train_grpo) for kind in ("folder", "sprites")),
    ],
)
def test_every_kind_of_data_trains_saves_and_goes_on(world, tmp_path, capsys, kind, program):
    out = tmp_path / "run"

    def train(kind, steps, *options):
        forget_launch()
        data = f"{kind}:easy:3:6" if kind in WORLDS else world / "data"
        config = write_config(tmp_path / "c.yaml", world / "base", max_steps=steps)
        arguments = ["--config", config, "--data", data, "--out", out, *options]
        return program.main([*map(str, arguments)])

    assert train(kind, 2) == 0
    state = json.loads((out / "checkpoints/step-000002/training_state.json").read_text())
    assert state["step"] == len(metrics(out)) == 2
    assert [stage.data for stage in load_training(out / "model")] == [TITLES[kind]]
    # A model is asked as it was taught.
    prompt_id = "sprites-boxes-v1" if kind == "boxes" else "sprites-v1"
    assert STVGConfig.load(out / "model").prompt_id == prompt_id
    assert train("folder" if kind == "sprites" else "sprites", 3, "--resume") == 2
    assert f"was made with data = {state['made_of']['data']!r}" in capsys.readouterr().err
    assert train(kind, 3, "--resume") == 0
    assert len(metrics(out)) == 3


def test_boxes_have_nothing_to_reward_and_an_answer_always(world, tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml", world / "base")
    for program, data, said in (
        (train_grpo, "boxes:easy", "train on it with train.train_sft"),
        (train_sft, "boxes:easy:1:2:33", "boxes always have an answer: leave PERCENT out"),
    ):
        arguments = ["--config", config, "--data", data, "--out", tmp_path / "x"]
        assert program.main([*map(str, arguments)]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_held_out_samples_are_answered_now_and_then(world, tmp_path, capsys):
    held_out = write_prepared(tmp_path / "held_out", n=5, first=10)
    options = {"max_steps": 4, "validate_every": 2, "validation_samples": 3, "accumulation": 2}
    for program, figure in ((train_grpo, "reward"), (train_sft, "loss")):
        forget_launch()
        config = write_config(tmp_path / "c.yaml", world / "base", **options)
        out = tmp_path / figure
        common = ["--config", config, "--data", world / "data", "--out", out, "--validation"]
        assert program.main([*map(str, [*common, held_out])]) == 0
        lines = metrics(out)
        seen = [f"validation/{figure}" in line for line in lines]
        assert seen == [False, True, False, True]
        assert np.isfinite(lines[-1][f"validation/{figure}"])
        forget_launch()
        common[5] = tmp_path / "other"
        assert program.main([*map(str, [*common, world / "data"])]) == 2
        assert "6 of the 6 validation samples (data) are trained on too, the first is 'v0'" in (
            capsys.readouterr().err
        )


@pytest.mark.parametrize("request_", ["easy:-1", "easy:1:2:3:4", "easy:\u00b2", "easy:"])
def test_a_request_that_is_not_understood(world, tmp_path, capsys, request_):
    config = write_config(tmp_path / "c.yaml", world / "base")
    arguments = ["--config", config, "--data", f"sprites:{request_}", "--out", tmp_path / "x"]
    assert train_grpo.main([*map(str, arguments)]) == 2
    assert "write sprites:LEVEL[:SEED[:COUNT[:PERCENT]]]" in capsys.readouterr().err


def test_mistakes_in_a_call_are_told_before_torch_is_loaded():
    code = f"""
import importlib, sys
for name, words in {MISTAKES!r}:
    assert importlib.import_module(name).main(words) == 2, name
    assert "torch" not in sys.modules, name
"""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert said.returncode == 0, said.stderr
    assert len(said.stderr.splitlines()) == len(MISTAKES)
