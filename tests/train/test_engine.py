"""Completions of a server that speaks vLLM's protocol: weights, tokens, and what goes wrong."""

import contextlib

import pytest
import torch
from huggingface_hub import constants
from transformers import Qwen2_5_VLForConditionalGeneration

from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.vlm.server import client
from tests.train.engine_server import TinyEngine
from tests.train.prepared import write_prepared
from tests.train.runs import forget_launch, metrics, rewarding_vowels, write_base, write_config
from tests.vlm.stand_in import serving
from train.data.samples import PreparedSamples
from train.grpo import engine
from train.grpo.rollout import TrainingError
from train.run.loop import TrainingLoop
from train.run.start_model import load_start_model
from train.run.training_config import TrainingConfig


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(client, "_FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(engine, "WAIT_SECONDS", 0.0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_base(folder / "base")
    write_prepared(folder / "data")
    return folder


@contextlib.contextmanager
def vllm(reply, version="0.31.0", owner="vllm"):
    with serving(reply, models=("tiny",), owner=owner, version=version) as server:
        yield server


def train(world, out, url, *, resume=False, **changes):
    options = {"max_steps": 3, "save_every": 1, "accumulation": 2, "engine": url, **changes}
    config = TrainingConfig.load(write_config(world / "c.yaml", world / "base", **options))
    loop = TrainingLoop(config, PreparedSamples(world / "data"), out, rewarding_vowels)
    try:
        return loop.run(resume=resume)
    finally:
        forget_launch()


LORA = {"method": "lora", "lora_rank": 4, "learning_rate": 0.05}


@pytest.mark.slow
@pytest.mark.parametrize("method", [{}, pytest.param(LORA, marks=pytest.mark.slow)])
def test_the_server_has_each_steps_weights_and_the_loss_corrects(world, tmp_path, method):
    tiny_engine = TinyEngine(world / "base")
    with vllm(tiny_engine) as server:
        train(world, tmp_path / "run", server.url, **method)
    lines = metrics(tmp_path / "run")
    # Frames went out as JPEG, so both see nearly the same, and never quite.
    assert all(0.5 < line["correction"] < 1.5 and line["correction"] != 1 for line in lines)
    assert all(line["grad_norm"] > 0 for line in lines)
    assert len(set(tiny_engine.read)) == len(lines) == 3
    assert set(tiny_engine.told) == set(engine._CACHES)
    # One set of weights is left: those that the last completions came from.
    (left,) = (tmp_path / "run" / "engine").iterdir()
    assert str(left) == tiny_engine.read[-1]
    before = Qwen2_5_VLForConditionalGeneration.from_pretrained(world / "base").state_dict()
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(before[name], tiny_engine.policy.qwen.state_dict()[name])
    with vllm(TinyEngine(world / "base")) as server:
        train(world, tmp_path / "again", server.url, **method)
    assert metrics(tmp_path / "again") == lines


def test_weights_of_an_adapter_are_sent_merged_in(world, tmp_path):
    options = {"method": "lora", "lora_rank": 4}
    config = TrainingConfig.load(write_config(tmp_path / "c.yaml", world / "base", **options))
    policy = load_start_model(config).policy
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    sent = engine.whole_weights(policy)
    merged = policy.model.merge_and_unload().state_dict()
    merged.pop("lm_head.weight")
    assert sent.keys() == merged.keys()
    assert all(torch.allclose(sent[name], merged[name], atol=1e-6) for name in merged)


def failing(reply, calls, when):
    """A server that is down at the given requests for completions."""

    def answer(body):
        if body["path"].endswith("/chat/completions"):
            calls.append(body)
            if when(len(calls)):
                return 503, {"error": "restarting"}
        return reply(body)

    return answer


@pytest.mark.slow
def test_a_server_that_is_down_costs_nothing(world, tmp_path):
    def run(name, when=lambda call: False, **options):
        with vllm(failing(TinyEngine(world / "base"), [], when)) as server:
            train(world, tmp_path / name, server.url, **options)
        return metrics(tmp_path / name)

    whole = run("whole")
    assert run("repeated", lambda call: 3 <= call <= 12) == whole
    with pytest.raises(TrainingError, match=r"did not answer .* Nothing is lost: .* --resume"):
        run("down", lambda call: call > 2)
    assert metrics(tmp_path / "down") == whole[:1]
    # The server has another address after its restart, which changes nothing.
    assert run("down", resume=True) == whole


def changed(**parts):
    """A server whose answers are changed, or whose choices are by the names of their fields."""

    def change(reply):
        def answer(body):
            status, said = reply(body)
            for name, how in parts.items() if "choices" in said else ():
                if name in said:
                    said[name] = how(said[name])
                else:
                    for choice in said["choices"]:
                        choice[name] = how(choice[name])
            return status, said

        return answer

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(prompt_token_ids=lambda ids: ids[:-2]), r"read \d+ tokens where .* its own"),
        (changed(prompt_token_ids=lambda ids: [5, *ids[1:]]), "or other ones; serve the model"),
        (changed(prompt_token_ids=lambda ids: None), "does not return tokens"),
        (changed(choices=lambda all_: all_[1:]), "4 of 1 to 8 tokens were asked for"),
        (changed(token_ids=lambda ids: [*ids, 7]), "with .* log-probabilities; 4 of 1 to 8"),
        (changed(token_ids=lambda ids: None), "does not return tokens"),
        (changed(logprobs=lambda told: None), "does not return tokens"),
        (lambda reply: lambda body: (400, {"error": "too long"}), "did not do /collective_rpc"),
    ],
)
def test_other_tokens_than_were_asked_for_stop_the_run(world, tmp_path, change, said):
    with (
        vllm(change(TinyEngine(world / "base"))) as server,
        pytest.raises(TrainingError, match=said),
    ):
        train(world, tmp_path / "run", server.url)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"version": "0.30.2"}, "must be a vLLM server, 0.31 or later, and is vllm 0.30.2"),
        ({"owner": "llamacpp"}, "must be a vLLM server, 0.31 or later, and is llama.cpp"),
    ],
)
def test_another_server_is_no_engine(world, tmp_path, options, said):
    with vllm(None, **options) as server, pytest.raises(ConfigError, match=said):
        train(world, tmp_path / "run", server.url)


def test_an_engine_that_is_not_there_is_said_before_training(world, tmp_path):
    with pytest.raises(ConfigError, match=r"engine: .* did not answer .* leave engine out"):
        train(world, tmp_path / "run", "http://localhost:9/v1")
