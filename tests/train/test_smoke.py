"""The whole road, as a user goes it."""

import json

import pytest

from stvg_r1_hub.hub.training_record import load_training
from train import smoke


@pytest.mark.slow
def test_clips_are_prepared_trained_on_and_evaluated(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(smoke, "TRAINED", 3)
    monkeypatch.setattr(smoke, "HELD_OUT", 2)
    out = tmp_path / "smoke"
    assert smoke.main(["--out", str(out)]) == 0
    assert capfd.readouterr().out.count("$ python -m ") == 4
    lines = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert 0 <= lines[-1]["validation/reward"] <= 3
    (stage,) = [one for one in load_training(out / "run" / "model") if one.method == "GRPO"]
    assert (stage.data, stage.n_samples, stage.steps) == ("prepared", 3, 4)
    assert list((out / "results").glob("*.json*"))
    assert smoke.main(["--out", str(out)]) == 2
    assert "is not empty" in capfd.readouterr().err


@pytest.mark.slow
def test_a_command_that_fails_ends_the_road(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(smoke, "write_benchmark", lambda out: out.mkdir())
    assert smoke.main(["--out", str(tmp_path / "smoke")]) == 2
    errors = capfd.readouterr().err
    assert "train_v2.json" in errors and "failed; see above." in errors
