"""Whole runs of the smallest model: resuming, several processes, faults, and learning."""

import dataclasses
import json
import logging
import shutil
import signal
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.config import SamplingConfig, STVGConfig
from stvg_r1_hub.errors import ConfigError, MissingPackageError, ModelError, OutputError
from stvg_r1_hub.hub.training_record import TrainingStage, load_training
from tests.train import runs, sharded
from tests.train.prepared import write_prepared
from tests.train.runs import (
    forget_launch,
    launched,
    metrics,
    rewarding_vowels,
    vowels,
    write_base,
    write_config,
)
from tests.train.sharded import BY, MEASURED
from train import train_grpo
from train.data.samples import PreparedSamples, sample_order
from train.grpo.learning import GrpoObjective
from train.grpo.rollout import TrainingError
from train.run.dry_run import describe_run
from train.run.loop import TrainingLoop
from train.run.start_model import export_model, load_start_model
from train.run.supervised import SupervisedObjective
from train.run.training_config import TrainingConfig


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_base(folder / "base")
    write_prepared(folder / "data", mirrored=True)
    write_prepared(folder / "held", first=10)
    return folder


def train(world, out, *, resume=False, rewards=None, **changes):
    """One run in this process with the reward above beside the real ones."""
    base = changes.pop("model", world / "base")
    path = write_config(world / f"{out.name}.yaml", base, **changes)
    config = TrainingConfig.load(path)

    def objective(*parts):
        return rewarding_vowels(*parts, **(rewards or {}))

    loop = TrainingLoop(config, PreparedSamples(world / "data"), out, objective)
    try:
        return loop.run(resume=resume)
    finally:
        forget_launch()


def same_curves(a, b):
    assert all(line["grad_norm"] > 0 for line in b), "without gradients all curves are equal"
    assert [line["step"] for line in a] == [line["step"] for line in b]
    for ours, theirs in zip(a, b, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=1e-5, abs=1e-7), (name, ours["step"])


MODES = {
    "full": {},
    "lora": {"method": "lora", "lora_rank": 4, "lora_dropout": 0.1, "schedule": "cosine"},
    "twice": {"updates_per_rollout": 2, "loss_type": "dapo", "accumulation": 2, "beta": 0.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_stopped_and_resumed_is_as_if_never_stopped(world, tmp_path, mode):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(world, whole, **MODES[mode])

    class PowerCut(Exception):
        pass

    calls = []

    def failing(completion, truth):
        calls.append(1)
        if len(calls) > 14 * MODES[mode].get("accumulation", 1):
            raise PowerCut
        return vowels(completion, truth)

    with pytest.raises(TrainingError, match="'tiou' raised PowerCut at sample 'v"):
        train(world, parts, rewards={"tiou": failing}, **MODES[mode])
    done = len(metrics(parts))
    assert 0 < done < 6
    train(world, parts, resume=True, **MODES[mode])
    same_curves(metrics(parts), metrics(whole))
    assert any(line["loss"] != 0 for line in metrics(whole))
    names = [path.name for path in (whole / "model").glob("*.safetensors")]
    assert names == [path.name for path in (parts / "model").glob("*.safetensors")]
    for name in names:
        ours, theirs = load_file(parts / "model" / name), load_file(whole / "model" / name)
        assert all(torch.allclose(ours[key], theirs[key], atol=1e-6) for key in theirs)


@pytest.mark.slow
def test_a_killed_process_resumes(world, tmp_path):
    out = tmp_path / "run"
    config = write_config(tmp_path / "c.yaml", world / "base", max_steps=8)
    arguments = ["--config", config, "--data", world / "data", "--out", out]
    process = runs.FORKS.Process(target=runs.main, args=[[*map(str, arguments)]])
    process.start()
    while process.is_alive():
        if (out / "metrics.jsonl").exists() and len(metrics_so_far(out)) >= 3:
            process.kill()
            break
        time.sleep(0.005)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = out / "checkpoints" / ".step-000004.partial"  # as a kill while saving leaves it
    left.mkdir(exist_ok=True)
    assert runs.main([*map(str, arguments)]) == 2  # never over an earlier run
    assert runs.main([*map(str, arguments), "--resume"]) == 0
    forget_launch()
    arguments[-1] = tmp_path / "whole"
    assert runs.main([*map(str, arguments)]) == 0
    same_curves(metrics(out), metrics(tmp_path / "whole"))
    kept = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert kept == ["step-000006", "step-000008"]


def metrics_so_far(out):
    return [line for line in (out / "metrics.jsonl").read_text().split("\n") if line]


LORA = {"method": "lora", "lora_rank": 4}
SHARDED = {"fsdp": "full", "zero3_offload": "full-offload"}


def in_two_processes(world, tmp_path, by, options, *arguments, **environment):
    """A run of `tmp_path / "two"`, killed in its last step and resumed where it is sharded."""
    if by == "zero3_offload":
        pytest.importorskip("deepspeed")
    machine = {"sharding": SHARDED[by]} if by else {}
    config = write_config(tmp_path / "2.yaml", world / "base", processes=2, **options, **machine)
    environment |= {MEASURED: str(tmp_path), BY: by or ""}
    whole = []
    for more in ((), ("--resume",)) if by else ((),):
        if more:
            whole = metrics(tmp_path / "two")
            shutil.rmtree(tmp_path / "two" / "checkpoints" / "step-000003")
        out = ("--out", tmp_path / "two", *arguments, *more)
        launched((sharded if by else runs).main, "--config", config, *out, **environment)
    if by:
        same_curves(metrics(tmp_path / "two"), whole)
    return TrainingConfig.load(config)


def holds_what_the_dry_run_says(config, tmp_path, by):
    """Weights, gradients and optimizer of both processes, and the newest checkpoint."""
    report = as_the_dry_run_says(config, tmp_path / "two")
    held = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    if by == "zero3_offload":  # where all of it is in host memory
        total = sum(sum(sizes.values()) for sizes in held)
        assert total == pytest.approx(report.host["while training"], rel=0.02)
        return
    for name in ("weights", "gradients", "optimizer"):
        (first, second), expected = (sizes[name] for sizes in held), report.memory[name]
        assert first + second == pytest.approx(2 * expected, rel=0.01), name
        assert first == pytest.approx(expected, rel=0.05), name


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, LORA], ids=["all weights", "adapter"])
@pytest.mark.parametrize("by", [None, *SHARDED], ids=["DDP", "FSDP", "ZeRO-3"])
def test_two_processes_do_what_one_does_with_twice_the_accumulation(world, tmp_path, by, options):
    options = {"max_steps": 3, "schedule": "constant", "rewards": {"tiou": 1, "ids_f1": 1},
               "validate_every": 1, "validation_samples": 4, **options}  # fmt: skip
    common = ["--data", str(world / "data"), "--validation", str(world / "held")]
    two = in_two_processes(world, tmp_path, by, options, *common)
    one = write_config(tmp_path / "1.yaml", world / "base", accumulation=2, **options)
    out = tmp_path / "one"
    assert runs.main(["--config", str(one), *common, "--out", str(out)]) == 0
    same_curves(metrics(tmp_path / "two"), metrics(out))
    assert all(line["validation/reward"] > 0 for line in metrics(out))
    as_the_dry_run_says(TrainingConfig.load(one), out)
    if by:
        # A gather for each trained weight of the policy and of the reference, whatever is
        # generated; of ZeRO-3 its own are counted, and the reference does not go through it.
        each = 2 if by == "fsdp" and "method" not in options else 1
        gathered = [json.loads(line) for line in open(tmp_path / "gathered-0.jsonl")]
        assert all(count == each * weights > 0 for count, weights, _ in gathered), gathered
        holds_what_the_dry_run_says(two, tmp_path, by)
    (path,) = (out / "model").glob("*.safetensors")
    ours, theirs = load_file(tmp_path / "two" / "model" / path.name), load_file(path)
    assert ours.keys() == theirs.keys()
    # ZeRO-3 sums in another order, which Adam makes much of where a gradient is hardly above 0.
    close = 5e-5 if by == "zero3_offload" else 1e-6  # of updates of 1e-3
    assert all(torch.allclose(ours[name], theirs[name], atol=close) for name in theirs)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, LORA], ids=["all weights", "adapter"])
@pytest.mark.parametrize("by", SHARDED, ids=["FSDP", "ZeRO-3"])
def test_bfloat16_is_spread_and_resumed_as_the_dry_run_says(world, tmp_path, by, options):
    """A single process would round its updates away: there is nothing to compare with."""
    options = {"max_steps": 3, "schedule": "constant", "dtype": "bfloat16", **options}
    data = ("--data", world / "data")
    precision = {"ACCELERATE_MIXED_PRECISION": "bf16"}
    config = in_two_processes(world, tmp_path, by, options, *data, **precision)
    holds_what_the_dry_run_says(config, tmp_path, by)


def test_a_sharded_policy_in_float32_is_written_as_it_was_asked_for(world, tmp_path):
    """In bfloat16, under the names that transformers 4.50 and vLLM read."""
    machine = {"dtype": "bfloat16", "processes": 2, "sharding": "full"}
    config = TrainingConfig.load(write_config(tmp_path / "c.yaml", world / "base", **machine))
    begun = load_start_model(config)
    weights = {name: weight.float() + 1 for name, weight in begun.policy.state_dict().items()}
    stage = TrainingStage("GRPO", "base", "all weights", "data", 1, 1, 1, 1e-3, {})
    export_model(begun, config, weights, tmp_path / "model", stage, begun.config)
    written = load_file(tmp_path / "model" / "model.safetensors")
    assert {weight.dtype for weight in written.values()} == {torch.bfloat16}
    assert written.keys() == load_file(world / "base" / "model.safetensors").keys()
    assert all(name.startswith(("model.layers.", "model.embed_tokens.", "model.norm.", "visual."))
               for name in written)  # fmt: skip
    settings = json.loads((tmp_path / "model" / "config.json").read_text())
    assert settings["dtype"] == "bfloat16" and "grouped" not in str(settings)


def as_the_dry_run_says(config, out):
    """The checkpoints of a run and its model are as large as was said before."""
    report = describe_run(config)
    (newest,) = [
        p for p in (out / "checkpoints").iterdir() if p.name == f"step-{config.max_steps:06d}"
    ]
    # FSDP also writes the output matrix, which this model shares with the embedding, and DeepSpeed
    # scripts; both some hundred bytes about each weight, as large as small weights are.
    more = 60_000 if config.sharding == "none" else 260_000
    assert size_of(newest) == pytest.approx(report.checkpoint, rel=0.15, abs=more)
    model = sum(p.stat().st_size for p in (out / "model").glob("*.safetensors"))
    exported = report.disk - report.checkpoint * (config.keep_checkpoints + 1)
    assert model == pytest.approx(exported, rel=0.1, abs=20_000)
    return report


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_checkpoint_takes_what_the_dry_run_says(world, tmp_path):
    options = {"max_steps": 1, "model": str(world / "base")}
    for name, more in (("full", {}), ("lora", {"method": "lora", "lora_rank": 4})):
        train(world, tmp_path / name, **options, **more)
        path = write_config(tmp_path / f"{name}.yaml", world / "base", **options, **more)
        as_the_dry_run_says(TrainingConfig.load(path), tmp_path / name)


def test_launched_otherwise_than_configured(world, tmp_path, capsys):
    config = write_config(tmp_path / "c.yaml", world / "base", processes=2)
    arguments = ["--config", config, "--data", world / "data", "--out", tmp_path / "x"]
    assert train_grpo.main([*map(str, arguments)]) == 2
    assert "processes: 2, but 1 were launched" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_checkpoint_of_another_config_is_refused(world, tmp_path):
    out = tmp_path / "run"
    train(world, out, max_steps=2)
    with pytest.raises(ConfigError, match=r"beta = 0\.04, the config says 0\.1"):
        train(world, out, resume=True, max_steps=4, beta=0.1)
    train(world, out, resume=True, max_steps=4)  # a longer run is the same run
    assert len(metrics(out)) == 4
    state = out / "checkpoints" / "step-000004" / "training_state.json"
    state.write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        train(world, out, resume=True, max_steps=6)


def test_a_finished_run_without_checkpoints_is_left_alone(world, tmp_path):
    """Checkpoints are large, and deleted first when a disk is full."""
    out = tmp_path / "run"
    weights = train(world, out, max_steps=1) / "model.safetensors"
    shutil.rmtree(out / "checkpoints")
    before = weights.stat().st_mtime_ns
    for resume in (False, True):
        with pytest.raises(ConfigError, match="already holds a trained model"):
            train(world, out, max_steps=1, resume=resume)
    assert weights.stat().st_mtime_ns == before and len(metrics(out)) == 1


def test_a_checkpoint_of_other_data_or_another_method_is_refused(world, tmp_path):
    out = tmp_path / "run"
    train(world, out, max_steps=1)
    other = PreparedSamples(write_prepared(tmp_path / "other", n=5, mirrored=True))
    config = TrainingConfig.load(write_config(tmp_path / "c.yaml", world / "base", max_steps=2))
    for samples, objective, said in (
        (other, GrpoObjective, "samples = 6, now it is 5"),
        (PreparedSamples(world / "data"), SupervisedObjective, "method = 'GRPO', now"),
    ):
        with pytest.raises(ConfigError, match=said):
            TrainingLoop(config, samples, out, objective).run(resume=True)
    assert len(metrics(out)) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt_id": "stvg-r1"}, "prompt_id = 'stvg-r1', but .* wants 'sprites-v1'"),
        ({"sampling": SamplingConfig(fps=3.0)}, r"sampling\.fps = 3\.0, but .* wants"),
    ],
)
def test_samples_prepared_for_other_settings_are_refused(world, tmp_path, change, said):
    folder = write_prepared(tmp_path / "data")
    dataclasses.replace(STVGConfig.load(folder), **change).save(folder)
    config = TrainingConfig.load(write_config(tmp_path / "c.yaml", world / "base"))
    with pytest.raises(ConfigError, match=f"prepared with {said}.*--model"):
        TrainingLoop(config, PreparedSamples(folder), tmp_path / "run", GrpoObjective)


def test_a_missing_tracker_is_told_before_anything_is_loaded(world, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingPackageError, match=r"stvg-r1-hub\[wandb\]"):
        train(world, tmp_path / "run", model="no/such-model", trackers=["wandb"])


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_the_sample_named(
    world, tmp_path, monkeypatch, broken
):
    seen = []

    def loss(self, group):
        seen.append(group.sample.sample_id)
        parts, figures = original(self, group)
        return (parts * broken if len(seen) == 3 else parts), figures

    original = GrpoObjective.loss
    monkeypatch.setattr(GrpoObjective, "loss", loss)
    with pytest.raises(TrainingError, match=r"loss is (nan|inf|-inf) at sample 'v\d'") as caught:
        train(world, tmp_path / "run", max_steps=4, beta=0.5)
    assert repr(seen[2]) in str(caught.value)
    assert (tmp_path / "run" / "checkpoints" / "step-000002").is_dir()
    assert not (tmp_path / "run" / "model").exists()


def test_equal_rewards_change_nothing(world, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        folder = train(
            world, tmp_path / "run", max_steps=2, beta=0.0, rewards={"tiou": lambda *_: 1.0}
        )
    assert "same reward" in caplog.text
    before = load_file(world / "base" / "model.safetensors")
    after = load_file(folder / "model.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("merge", "options"),
    [
        pytest.param(False, {}, id="adapter"),
        pytest.param(True, {}, id="merged", marks=pytest.mark.slow),
        pytest.param(
            False,
            {"dtype": "bfloat16", "gradient_checkpointing": True},
            id="bfloat16 with checkpointing",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_trained_folder_loads(world, tmp_path, merge, options, monkeypatch):
    monkeypatch.chdir(world)
    folder = train(
        world, tmp_path / "run", model="base", max_steps=2, method="lora", lora_rank=4,
        merge_adapter=merge, learning_rate=0.05, **options,
    )  # fmt: skip
    assert all(line["grad_norm"] > 0 for line in metrics(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)  # the base is found from anywhere
    assert (folder / "adapter_config.json").is_file() != merge
    loaded = STVGPipeline.from_pretrained(folder, device="cpu")
    assert loaded.config.prompt_id == "sprites-v1"
    weight = loaded.vlm.model.model.language_model.layers[0].mlp.up_proj.weight
    base = STVGPipeline.from_pretrained(world / "base", device="cpu").vlm.model
    assert not torch.equal(weight, base.model.language_model.layers[0].mlp.up_proj.weight)
    # What the card of the saved model says of it, after what is known of the start model.
    (stage,) = load_training(folder)
    assert (stage.method, stage.base_model, stage.data) == ("GRPO", "base", "data")
    assert (stage.n_samples, stage.steps, stage.samples_per_step) == (6, 2, 1)
    assert stage.trained.startswith("LoRA of rank 4") and ("merged" in stage.trained) == merge
    assert stage.rewards == {"tiou": 1.0, "id": 1.0, "format": 1.0}
    loaded.save_pretrained(tmp_path / "saved")
    assert "## How it was trained" in (tmp_path / "saved" / "README.md").read_text()


def test_an_adapter_names_the_hub_model_it_was_trained_on(world, tmp_path, monkeypatch):
    """By its id and revision, not by the folder in this machine's cache."""
    from stvg_r1_hub import hub

    cached = dataclasses.replace(hub.load_bundle(world / "base"), name="me/base")
    monkeypatch.setattr(hub, "load_bundle", lambda *_, **__: cached)
    options = {"method": "lora", "lora_rank": 4, "max_steps": 1}
    folder = train(world, tmp_path / "run", model="me/base", revision="v1", **options)
    written = json.loads((folder / "adapter_config.json").read_text())
    assert (written["base_model_name_or_path"], written["revision"]) == ("me/base", "v1")


@pytest.mark.slow
def test_training_goes_on_from_an_adapter(world, tmp_path):
    """What supervised training with LoRA leaves is what GRPO starts from, not its base."""
    lora = {"method": "lora", "lora_rank": 4, "learning_rate": 0.05, "max_steps": 1}
    first = train(world, tmp_path / "first", **lora)
    options = {"model": str(first), "rewards": {"tiou": lambda *_: 1.0}, "beta": 0.0}
    second = train(world, tmp_path / "second", max_steps=1, **options)  # equal rewards: no update
    ours, theirs = (
        STVGPipeline.from_pretrained(folder, device="cpu", tracker="coco").vlm.model
        for folder in (second, first)
    )
    for name, weight in theirs.named_parameters():
        assert torch.equal(ours.get_parameter(name), weight), name
    assert [stage.base_model for stage in load_training(second)] == ["base", "model"]
    with pytest.raises(ConfigError, match=r"is itself an adapter.* merge_adapter: true"):
        train(world, tmp_path / "third", **lora | options)
    merged = train(world, tmp_path / "fourth", merge_adapter=True, **lora | options)
    assert (merged / "model.safetensors").is_file()


def test_a_start_model_that_lacks_weights_is_refused(world, tmp_path):
    broken = shutil.copytree(world / "base", tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights.pop(next(name for name in weights if name.endswith("up_proj.weight")))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights: .*up_proj"):
        train(world, tmp_path / "run", model=str(broken))


def test_what_a_run_leaves_to_look_at(world, tmp_path):
    out = tmp_path / "run"
    train(world, out, max_steps=2, trackers=["tensorboard"], table_every=1, save_every=1)
    table = (out / "tables" / "step-000002.md").read_text()
    assert table.startswith("| sample | query | right | completion | rewards | advantage |")
    assert "the dog" in table
    assert Image.open(out / "curves.png").size[0] > 800
    assert list(out.glob("stvg-r1/events*"))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    wanted = """reward reward/tiou reward_std reward_std/id kl loss grad_norm length length_min
        length_max truncated unparsed entropy clipped_low clipped_high all_equal unreadable
        tokens_per_second memory_gb seconds_prepare seconds_update"""
    assert lines[0].keys() >= {*wanted.split()}
    assert lines[0]["length_min"] <= lines[0]["length"] <= lines[0]["length_max"] <= 8
    assert lines[0]["memory_gb"] > 0 and 0 < lines[0]["entropy"] < np.log(3000)
    said = [json.loads(line) for line in (out / "completions.jsonl").read_text().splitlines()]
    assert [row["step"] for row in said] == [0] * 4 + [1] * 4
    assert said[0]["rewards"].keys() == {"tiou", "id", "format"}


def test_completions_that_were_cut_are_counted_and_may_be_masked(world, tmp_path):
    """Every one is cut here, so nothing is learned of them."""
    before = load_file(world / "base" / "model.safetensors")
    for loss_type in ("grpo", "dapo"):
        options = {"mask_truncated_completions": True, "loss_type": loss_type, "max_steps": 1}
        out = tmp_path / loss_type
        folder = train(world, out, max_completion_tokens=2, **options)
        (line,) = metrics(out)
        assert line["truncated"] == 1 and line["loss"] == 0 and line["unparsed"] == 1
        after = load_file(folder / "model.safetensors")
        assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_sample_that_cannot_be_read_is_set_aside_and_counted(world, tmp_path, caplog):
    data = write_prepared(tmp_path / "data", n=3, mirrored=True)
    picture = data / "videos" / "v1" / "frames.png"
    picture.write_bytes(picture.read_bytes()[:-200])
    config = TrainingConfig.load(write_config(tmp_path / "c.yaml", world / "base", max_steps=3))
    TrainingLoop(config, PreparedSamples(data), tmp_path / "run", rewarding_vowels).run()
    assert metrics(tmp_path / "run")[-1]["unreadable"] == 1
    assert "Sample v1 is set aside and the next one taken" in caplog.text
    asked = {json.loads(line)["sample"] for line in open(tmp_path / "run" / "completions.jsonl")}
    assert asked == {"v0", "v2"}
    for picture in data.glob("videos/*/frames.png"):
        picture.write_bytes(b"")
    forget_launch()
    with pytest.raises(TrainingError, match="None of the 3 samples of data can be read"):
        TrainingLoop(config, PreparedSamples(data), tmp_path / "none", rewarding_vowels).run()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are of Unix")
@pytest.mark.parametrize(
    "room",
    [
        pytest.param(2_500, id="metrics", marks=pytest.mark.slow),
        pytest.param(30_000, id="weights"),
        pytest.param(200_000, id="optimizer", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_ends_in_a_sentence_and_leaves_the_last_checkpoint(world, tmp_path, room):
    """A limit on the size of a file ends writing as a full disk does."""
    import resource

    out = tmp_path / "run"
    train(world, out, max_steps=2)
    config = TrainingConfig.load(write_config(tmp_path / "c.yaml", world / "base", max_steps=4))
    loop = TrainingLoop(config, PreparedSamples(world / "data"), out, rewarding_vowels)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, unlimited[1]))
    try:
        with pytest.raises(OutputError, match=r"Cannot write .*\. Is the disk full\?.*--resume"):
            loop.run(resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    forget_launch()
    assert [p.name for p in (out / "checkpoints").glob("step-*")] == ["step-000002"]
    train(world, out, resume=True, max_steps=4)
    assert len(metrics(out)) == 4


def test_the_mirrored_clip_is_asked_once(world, tmp_path):
    seen = []

    def mirror(completion, truth):
        seen.append(completion.mirrored_text)
        return 0.0

    train_with_mirror(world, tmp_path / "run", mirror)
    assert len(seen) == 4
    assert len(set(seen)) == 1 and isinstance(seen[0], str)


def train_with_mirror(world, out, mirror):
    path = write_config(world / "mirror.yaml", world / "base", max_steps=1, rewards={"mirror": 1.0})
    config = TrainingConfig.load(path)

    def objective(*parts):
        return GrpoObjective(*parts, rewards={"mirror": mirror})

    return TrainingLoop(config, PreparedSamples(world / "data"), out, objective).run()


class AnyAnswer(PreparedSamples):
    """Teaches the form of an answer: all IDs and time ranges are as good for every question."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        start = (0.0, 0.5, 1.0)[index % 8 % 3]
        answer = f"Target ID: {index % 3 + 1}, Time range: {start:.2f} to {start + 1:.2f}"
        return dataclasses.replace(sample, target=f"<think></think><answer>{answer}</answer>")


@pytest.mark.slow
def test_supervised_training_teaches_the_form_and_rewards_teach_the_answer(tmp_path):
    """From random weights: learn to answer at all, then by rewards alone to answer right."""
    write_base(tmp_path / "base")
    options = {"freeze_vision": True, "save_every": 1000}
    path = write_config(
        tmp_path / "sft.yaml", tmp_path / "base", max_steps=250, learning_rate=5e-3,
        schedule="cosine", **options,
    )  # fmt: skip
    forms = AnyAnswer(write_prepared(tmp_path / "forms", n=24, query="the dog", frames=2))
    loop = TrainingLoop(TrainingConfig.load(path), forms, tmp_path / "sft", SupervisedObjective)
    taught = loop.run()
    losses = [line["loss"] for line in metrics(tmp_path / "sft")]
    assert np.mean(losses[-20:]) < 0.3 < 5 < losses[0]

    path = write_config(
        tmp_path / "grpo.yaml", taught, max_steps=22, learning_rate=2e-3, beta=0.01,
        schedule="constant", num_generations=8, max_completion_tokens=36, accumulation=2, **options,
    )  # fmt: skip
    asked = write_prepared(tmp_path / "asked", n=8, object_id=2, query="the dog", frames=2)
    loop = TrainingLoop(
        TrainingConfig.load(path), PreparedSamples(asked), tmp_path / "grpo", GrpoObjective
    )
    loop.run()
    lines = metrics(tmp_path / "grpo")
    first, last = lines[:4], lines[-6:]

    def mean(part, name):
        return np.mean([line[name] for line in part])

    assert mean(last, "reward") > mean(first, "reward") + 0.4
    stages = load_training(tmp_path / "grpo" / "model")
    assert [stage.method for stage in stages] == ["supervised", "GRPO"]
    assert mean(first, "reward/id") < 0.65 < 0.8 < mean(last, "reward/id")
    assert mean(last, "reward/tiou") > mean(first, "reward/tiou") + 0.1


def test_every_epoch_reads_everything_once_in_another_order():
    order = sample_order(7, 1, 0, 21)
    epochs = [order[0:7], order[7:14], order[14:21]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert sample_order(7, 1, 10, 5) == order[10:15]
