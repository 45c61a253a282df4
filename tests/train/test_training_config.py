"""Configs are checked before anything is loaded; a dry run tells the cost."""

import json
from pathlib import Path

import pytest
import yaml

import train
from stvg_r1_hub.errors import ConfigError
from tests.train.runs import write_base, write_config
from train import train_grpo
from train.run.dry_run import describe_run
from train.run.training_config import TrainingConfig

CONFIGS = Path(train.__path__[0]) / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path):
    config = TrainingConfig.load(path)
    assert TrainingConfig.from_dict(config.to_dict()) == config


def test_the_official_config_is_the_default():
    given = yaml.safe_load((CONFIGS / "official_7b.yaml").read_text())
    machine = {"model", "processes", "sharding"}
    defaults = TrainingConfig(model="x", processes=8, sharding="full")
    for name, value in given.items():
        if name not in machine:
            assert getattr(defaults, name) == value, name


def test_shipped_accelerate_configs_are_known_to_accelerate():
    from accelerate.commands.config.config_args import load_config_from_file

    paths = sorted((CONFIGS / "accelerate").glob("*.yaml"))
    assert {path.stem for path in paths} == {"one_gpu", "ddp", "fsdp", "zero3_offload"}
    for path in paths:
        assert load_config_from_file(str(path)).num_processes in (1, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rte": 1}, "unknown field 'learning_rte' .did you mean 'learning_rate'"),
        ({"zzz": 1}, "unknown field 'zzz'"),
        ({"rewards": {"tio": 1}}, "no 'tio' .did you mean 'tiou'"),
        ({"engine": "vllm"}, "engine must be the address of a vLLM server, .*, got 'vllm'"),
        ({"engine": "http://x/v1", "temperature": 0.7}, "engine needs temperature: 1, .* got 0.7"),
        ({"rewards": "objekt"}, "no set 'objekt' .did you mean 'object'..; known are official"),
        ({"rewards": {"id": 0}}, "one reward needs a weight"),
        ({"rewards": {"id": "much"}}, "weight of id is no number, got 'much'"),
        ({"num_generations": 1}, "at least 2"),
        ({"num_generations": 2.5}, "num_generations must be a whole number, got 2.5"),
        ({"num_generations": True}, "num_generations must be a whole number, got True"),
        ({"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
        ({"learning_rate": 0}, "learning_rate must be above 0, got 0"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"schedule": "step"}, "schedule must be one of 'linear', 'cosine', 'constant'"),
        ({"loss_type": "mean"}, "loss_type must be one of 'grpo', 'bnpo', 'dapo', 'dr_grpo'"),
        ({"importance_sampling_level": "word"}, "must be one of 'token', 'sequence'"),
        ({"attention": "flash_attention_2"}, "attention must be one of 'sdpa', 'eager', got 'fl"),
        ({"top_k": -1}, "top_k must be 0 or above"),
        ({"validate_every": 0}, "validate_every must be at least 1"),
        ({"merge_adapter": True}, "merge_adapter needs method: lora"),
        ({"dtype": "bfloat16"}, "round most updates away"),
        ({"sharding": "full"}, "single process"),
        ({"warmup_steps": 9, "max_steps": 5}, "warmup_steps must be at most max_steps"),
        ({"top_p": 1.5}, "top_p"),
        ({"trackers": ["trakio"]}, "no 'trakio' .did you mean 'trackio'"),
        ({"model": None}, "model must be text"),
    ],
)
def test_a_config_that_makes_no_sense_is_one_sentence(tmp_path, changes, message):
    path = write_config(tmp_path / "c.yaml", "base", **changes)
    with pytest.raises(ConfigError, match=message) as error:
        TrainingConfig.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names to values, got None"),
        ("- a", "to values, got"),
        ("a: [", "read"),
        ("3", "got 3"),
    ],
)
def test_a_file_that_is_no_config(tmp_path, text, said):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"c\.yaml.*{said}|{said}.*c\.yaml"):
        TrainingConfig.load(path)
    with pytest.raises(ConfigError, match="Cannot read"):
        TrainingConfig.load(tmp_path / "missing.yaml")


def test_yaml_scientific_notation_without_a_point_is_a_number(tmp_path):
    path = write_config(tmp_path / "c.yaml", "base")
    path.write_text(path.read_text() + "weight_decay: 1e-2\n")
    assert TrainingConfig.load(path).weight_decay == 0.01


def test_dry_run_of_the_official_shape():
    report = describe_run(TrainingConfig.load(CONFIGS / "official_7b.yaml"))
    assert report.parameters == 8_292_166_656  # as the Hub says of Qwen2.5-VL-7B
    assert report.prompt_tokens == 1820 + 260
    shorter = TrainingConfig.load(CONFIGS / "official_7b.yaml", max_completion_tokens=200)
    report = describe_run(shorter)
    assert (report.packed_tokens, report.plain_tokens) == (3_680, 18_240)
    assert report.fits


def test_dry_run_counts_what_an_engine_reads():
    def report(**changes):
        return describe_run(TrainingConfig.load(CONFIGS / "official_7b.yaml", **changes))

    engine = {"engine": "http://localhost:8000/v1"}
    plain, here = report(), report(**engine)
    assert here.disk - plain.disk == 2 * plain.parameters  # bfloat16
    assert "16.58 GB that the engine reads" in here.text()
    assert report(**engine, engine_folder="/dev/shm/engine").disk == plain.disk


def test_dry_run_refuses_what_cannot_fit(tmp_path, capsys):
    changes = {"sharding": "full", "processes": 2, "dtype": "bfloat16", "gpu_memory_gb": 24}
    path = write_config(tmp_path / "c.yaml", "Qwen/Qwen2.5-VL-7B-Instruct", **changes)
    assert train_grpo.main(["--config", str(path), "--dry-run"]) == 2
    printed = capsys.readouterr().out
    assert "does not fit into 24 GB" in printed
    assert "optimizer" in printed


def test_dry_run_of_adapters_counts_them(tmp_path):
    base = write_base(tmp_path / "base")
    lora = {"method": "lora", "lora_rank": 4}
    report = describe_run(TrainingConfig.load(write_config(tmp_path / "c.yaml", base, **lora)))
    # Two layers of 32 with MLP 64: q and o 32 + 32, k and v 32 + 16, three of the MLP 32 + 64.
    assert report.trained == 4 * 2 * (2 * 64 + 2 * 48 + 3 * 96)


def test_dry_run_fetches_no_weights_and_names_another_architecture(tmp_path, capsys):
    base = write_base(tmp_path / "base")
    (base / "model.safetensors").unlink()
    command = ["--config", str(write_config(tmp_path / "c.yaml", base)), "--dry-run"]
    assert train_grpo.main(command) == 0
    path = base / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "qwen2_vl"}))
    assert train_grpo.main(command) == 2
    assert "is a 'qwen2_vl' model; training supports 'qwen2_5_vl'" in capsys.readouterr().err


def test_dry_run_counts_what_a_trained_vision_tower_keeps():
    def kept(**changes):
        config = TrainingConfig.load(CONFIGS / "official_7b.yaml", **changes)
        return describe_run(config).memory["vision activations"]

    # 7,280 patches of 1280 in bfloat16: the input of 32 blocks, and all of one block.
    assert kept() == 7280 * 2 * (32 * 1280 + 10 * 1280 + 4 * 3420)
    assert kept(share_prefix=False) == 8 * kept()
    assert kept(freeze_vision=True) == 0


def test_dry_run_of_an_unknown_model(tmp_path, capsys):
    path = write_config(tmp_path / "c.yaml", tmp_path / "nowhere")
    assert train_grpo.main(["--config", str(path), "--dry-run"]) == 2
    assert "Cannot find out the sizes" in capsys.readouterr().err


def test_data_and_out_are_needed(tmp_path, capsys):
    path = write_config(tmp_path / "c.yaml", "base")
    assert train_grpo.main(["--config", str(path)]) == 2
    assert "--data and --out" in capsys.readouterr().err


def test_an_interrupt_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("train.run.command_line.open_samples", interrupted)
    path = write_config(tmp_path / "c.yaml", "base")
    arguments = ["--config", path, "--data", "x", "--out", tmp_path / "x"]
    assert train_grpo.main([*map(str, arguments)]) == 130
    assert "--resume" in capsys.readouterr().err


def test_data_that_is_not_prepared(tmp_path, capsys):
    path = write_config(tmp_path / "c.yaml", "base")
    arguments = ["--config", path, "--data", tmp_path, "--out", tmp_path / "x"]
    assert train_grpo.main([*map(str, arguments)]) == 2
    assert "train.prepare" in capsys.readouterr().err
