"""Saving and pushing: the real client sends to a small Hub on this machine."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub import constants, parse_eval_result_entries

from stvg_r1_hub import STVGPipeline, hub
from stvg_r1_hub.config import CONFIG_NAME, SamplingConfig, STVGConfig
from stvg_r1_hub.errors import ModelError, OutputError
from stvg_r1_hub.hub import saving
from stvg_r1_hub.hub.card import model_card
from stvg_r1_hub.hub.training_record import (
    TRAINING_NAME,
    TrainingStage,
    load_training,
    save_training,
)
from tests.hub.test_bundle import ask_hub, make_adapter, make_bundle
from tests.hub_server import Hub, serving


def test_saved_bundle_has_the_same_settings_and_files_but_no_pickle(tmp_path: Path) -> None:
    config = replace(STVGConfig(), sampling=SamplingConfig(fps=4.0), prompt_id="sprites-v1")
    source = make_bundle(tmp_path / "source", STVGConfig())
    target = saving.save_bundle(source, config, "mine", tmp_path / "a" / "b")
    loaded = hub.load_bundle(target)
    assert loaded.config == config
    names = {str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()}
    assert names == {
        "config.json",
        "model.safetensors",
        "detector/detector.onnx",
        "detector/detector.json",
        "README.md",
        CONFIG_NAME,
    }
    assert (target / "model.safetensors").read_bytes() == b"weights"
    assert "# mine" in (target / "README.md").read_text()
    again = saving.save_bundle(target, config, "mine", tmp_path / "again")
    assert hub.load_bundle(again).config == config


def test_saving_replaces_a_bundle_but_nothing_else(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "source", STVGConfig())
    target = tmp_path / "target"
    target.mkdir()
    saving.save_bundle(source, STVGConfig(), "one", target)
    (target / "left-over.json").write_text("{}")
    saving.save_bundle(source, STVGConfig(prompt_id="two"), "two", target)
    assert not (target / "left-over.json").exists()
    assert hub.load_bundle(target).config.prompt_id == "two"

    (target / ".git").mkdir()
    (target / ".git" / "HEAD").write_text("mine")
    with pytest.raises(OutputError, match="other files"):
        saving.save_bundle(source, STVGConfig(), "x", target)
    assert (target / ".git" / "HEAD").read_text() == "mine"

    other = tmp_path / "holiday"
    other.mkdir()
    (other / "photo.jpg").write_bytes(b"dear")
    with pytest.raises(OutputError, match="no saved pipeline"):
        saving.save_bundle(source, STVGConfig(), "x", other)
    assert (other / "photo.jpg").read_bytes() == b"dear"
    with pytest.raises(OutputError, match="loaded from there"):
        saving.save_bundle(source, STVGConfig(), "x", source)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"source", "target", "holiday"}, "something half-written stayed"


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "source", STVGConfig())
    (source / "broken.json").symlink_to(tmp_path / "nowhere")
    (source / "folder.json").mkdir()
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(OutputError):
        saving.save_bundle(source, STVGConfig(), "x", file / "inside")
    assert {p.name for p in tmp_path.iterdir()} == {"source", "file"}


def results_of(source: Path, config: STVGConfig, path: Path, **more: Any) -> Path:
    """A results file as `stvg eval` writes it, of these weights."""
    summary = {
        "benchmark": "hcstvg-v2",
        "model": "/home/me/secret/best",
        "model_fingerprint": hub.fingerprint(source, config),
        "tracker": "rtdetr",
        "tracks": "",
        "answers": "ids",
        "hub_dataset": "",
        "hub_task": "",
        "n": 200,
        "n_failed": 3,
        "protocols": {
            "strict": {"n": 200, "m_tIoU": 0.51234, "m_vIoU": 0.345678},
            "stvg-r1": {"n": 197, "m_vIoU": 0.36},
        },
    }
    path.write_text(json.dumps(summary | more))
    return path


def test_the_card_says_what_is_known_and_nothing_else(tmp_path: Path) -> None:
    source, config = make_bundle(tmp_path / "source", STVGConfig()), STVGConfig()
    front = "---\nlicense: apache-2.0\nbase_model: Qwen/Qwen2.5-VL-7B-Instruct\n---\n"
    (source / "README.md").write_text(front + "the card of the original")
    results = tmp_path / "figures.json"
    results_of(source, config, results)
    saved = saving.save_bundle(source, config, "mine", tmp_path / "a", results=results)
    card = (saved / "README.md").read_text()
    assert card.startswith(
        "---\nlicense: apache-2.0\nbase_model: Qwen/Qwen2.5-VL-7B-Instruct\n"
        "base_model_relation: finetune\nlibrary_name"
    )
    assert "| strict | 200 | 51.2 | 34.6 |" in card
    assert (
        "The weights: apache-2.0." in card
        and "NanoDet" in card
        and "How it was trained" not in card
    )
    again = saving.save_bundle(saved, config, "mine", tmp_path / "b")
    card = (again / "README.md").read_text()
    assert "license: apache-2.0" in card and "Measured" not in card, "figures only from results"
    for text, said in (
        ("[1]", "one JSON object"),
        ("{", "Cannot read the results"),
        ('{"n": 100, "id_accuracy": 0.99}', "not what `stvg eval` writes"),
        ('{"protocols": {"strict": {"m_tIoU": 1}}}', "not what `stvg eval` writes"),
    ):
        results.write_text(text)
        with pytest.raises(ModelError, match=said):
            saving.save_bundle(source, config, "mine", tmp_path / "c", results=results)
    with pytest.raises(ModelError, match=r"summary\.json .* finished `stvg eval`"):
        saving.save_bundle(source, config, "mine", tmp_path / "c", results=tmp_path)
    assert not (tmp_path / "c").exists()


def test_figures_belong_to_the_weights_that_are_saved(tmp_path: Path) -> None:
    """Of a copy they are the same weights; of trained ones or other settings they are not."""
    source, config = make_bundle(tmp_path / "source"), STVGConfig()
    results = results_of(source, config, tmp_path / "summary.json")
    saved = saving.save_bundle(source, config, "mine", tmp_path / "a", results=results)
    saving.save_bundle(saved, config, "mine", tmp_path / "b", results=results)
    card = (tmp_path / "b" / "README.md").read_text()
    assert "| strict | 200 | 51.2 | 34.6 |" in card and "secret" not in card
    other = replace(config, prompt_id="sprites-v1")
    with pytest.raises(ModelError, match="other weights or settings"):
        saving.save_bundle(source, other, "mine", tmp_path / "c", results=results)
    (source / "model.safetensors").write_bytes(b"WEIGHTS")
    with pytest.raises(ModelError, match="measure this one with `stvg eval`, or save it without"):
        saving.save_bundle(source, config, "mine", tmp_path / "c", results=results)
    assert not (tmp_path / "c").exists()


def test_a_fingerprint_sees_all_of_a_large_file(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    marks = set()
    for place in (None, 0, 40 << 20, (80 << 20) - 1):
        with weights.open("wb") as file:
            file.truncate(80 << 20)  # Sparse: it takes no room.
            if place is not None:
                file.seek(place - place % 65536 if place < 79 << 20 else place)
                file.write(b"\1" * 400_000 if 0 < place < 79 << 20 else b"\1")
        marks.add(hub.fingerprint(tmp_path, STVGConfig()))
    assert len(marks) == 4


def test_results_for_the_hub_name_their_dataset(tmp_path: Path) -> None:
    """Read by the Hub's own parser; never written where no dataset of the Hub was named."""
    source, config = make_bundle(tmp_path / "source", STVGConfig()), STVGConfig()
    results = results_of(source, config, tmp_path / "s.json")
    saved = saving.save_bundle(source, config, "mine", tmp_path / "a", results=results)
    assert not (saved / ".eval_results").exists()
    named = {"hub_dataset": "me/hcstvg", "hub_task": "v2_val"}
    results_of(source, config, results, **named)
    saved = saving.save_bundle(source, config, "mine", tmp_path / "b", results=results)
    (path,) = (saved / ".eval_results").iterdir()
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert path.name == "stvg-hcstvg-v2.yaml"
    assert (entry.dataset_id, entry.task_id, entry.value) == ("me/hcstvg", "v2_val", 34.57)
    assert entry.notes == "m_vIoU in percent, 200 samples, failed ones as 0; tracker rtdetr"
    listed = saving.push_bundle(source, config, "me/m", results=results, dry_run=True)
    assert ".eval_results/stvg-hcstvg-v2.yaml" in listed
    saving.save_bundle(source, config, "mine", saved)  # A saved pipeline may be replaced,
    assert not (saved / ".eval_results").exists()  # and figures are not taken over.
    for change in ({"benchmark": "../x"}, {"protocols": {"strict": {"n": 1, "x": 0.5}}}):
        results_of(source, config, results, **named, **change)
        with pytest.raises(ModelError, match="not what `stvg eval` writes"):
            saving.save_bundle(source, config, "mine", tmp_path / "c", results=results)


STAGE = TrainingStage(
    "GRPO", "Qwen/Qwen2.5-VL-7B-Instruct", "all weights", "hcstvg", 900, 300, 8, 1e-6,
    {"tiou": 1.0, "id": 0.5},
)  # fmt: skip


def test_the_card_says_how_the_weights_were_trained(tmp_path: Path) -> None:
    source, config = make_bundle(tmp_path / "source", STVGConfig()), STVGConfig()
    before = hub.fingerprint(source, config)
    save_training((STAGE, replace(STAGE, method="supervised", base_model="x", rewards={})), source)
    assert hub.fingerprint(source, config) == before
    card = model_card("mine", config, saving.card_facts(source, config))
    assert "base_model: Qwen/Qwen2.5-VL-7B-Instruct\nbase_model_relation: finetune" in card
    assert (
        "1. GRPO from `Qwen/Qwen2.5-VL-7B-Instruct`: all weights; 900 samples of hcstvg, "
        "300 steps of 8, learning rate 1e-06; rewards tiou x 1, id x 0.5.\n"
        "2. supervised from `x`" in card
    )
    saved = saving.save_bundle(source, config, "mine", tmp_path / "saved")
    assert load_training(saved) == load_training(source) != ()
    for text in ("{", "[]", '{"stages": [{"method": "GRPO"}]}', '{"stages": [1]}'):
        (source / TRAINING_NAME).write_text(text)
        with pytest.raises(ModelError, match="how the model was trained"):
            saving.save_bundle(source, config, "mine", tmp_path / "c")


def test_the_card_of_an_adapter_names_its_base(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter", "Qwen/Qwen2.5-VL-3B-Instruct")
    card = (
        saving.save_bundle(adapter, STVGConfig(), "x", tmp_path / "y") / "README.md"
    ).read_text()
    assert "base_model: Qwen/Qwen2.5-VL-3B-Instruct\nbase_model_relation: adapter" in card


def test_an_adapter_of_a_folder_on_this_disk_is_not_pushed(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "adapter", str(make_bundle(tmp_path / "base")))
    with pytest.raises(ModelError, match=r"the folder .*base on this disk: push that first"):
        saving.push_bundle(adapter, STVGConfig(), "me/mine", dry_run=True)


def test_model_card_front_matter() -> None:
    card = model_card("mine", STVGConfig())
    assert card.startswith("---\nlibrary_name: stvg_r1_hub\n")
    assert "name it in a `license:` line" in card
    assert "| frames per second | 2 |" in card


# The upload


@pytest.fixture
def hub_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The client of this process talks to a Hub on this machine, large files go as LFS objects."""
    with serving() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        no_waiting = SimpleNamespace(sleep=lambda seconds: None, time=lambda: 0.0)
        monkeypatch.setattr("huggingface_hub.utils._http.time", no_waiting)
        yield server


def large_bundle(folder: Path) -> Path:
    """Two large files of different size."""
    source = make_bundle(folder, STVGConfig())
    (source / "model.safetensors").unlink()
    for number, size in ((1, 300_000), (2, 100_000)):
        content = hashlib.shake_128(bytes([number])).digest(size)
        (source / f"model-0000{number}-of-00002.safetensors").write_bytes(content)
    return source


def push(source: Path, **options: Any) -> str:
    return saving.push_bundle(source, STVGConfig(), "me/mine", token="hf_x", **options)


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


PUSH_TWICE = """
import os, sys, time
from pathlib import Path
from stvg_r1_hub import hub
from stvg_r1_hub.hub import saving
from stvg_r1_hub.errors import ModelError
import huggingface_hub.utils._http as http
from types import SimpleNamespace
http.time = SimpleNamespace(sleep=lambda seconds: None, time=lambda: 0.0)
bundle = hub.load_bundle("tiny")
for attempt in range(2):
    try:
        print(saving.push_bundle(bundle.folder, bundle.config, "me/mine", token="hf_x"))
    except ModelError as error:
        print("ModelError:", error)
        Path(sys.argv[1]).touch()
        while Path(sys.argv[1]).exists():
            time.sleep(0.01)
"""


@pytest.mark.slow
def test_through_xet_what_arrived_before_a_break_is_not_sent_again(tmp_path: Path) -> None:
    """As users have it: HF_ENDPOINT and hf_xet; the commit fails at first."""
    broken = tmp_path / "broken"
    with serving() as server:
        server.refuse("/commit/", 500, "under repair")
        process = subprocess.Popen(
            [sys.executable, "-c", PUSH_TWICE, str(broken)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "HF_ENDPOINT": server.endpoint,
                "HF_HOME": str(tmp_path / "home"),
                "HF_HUB_OFFLINE": "0",
                "HF_XET_XORB_COMPRESSION_POLICY": "none",
                "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "1",
            },
        )
        while not broken.exists() and process.poll() is None:
            time.sleep(0.01)
        sent = dict(server.received)
        server.faults.clear()
        broken.unlink(missing_ok=True)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    said = "ModelError: Sending to me/mine broke off (HTTP 500: under repair); repeat the same call"
    assert said in output and f"{server.endpoint}/me/mine/commit/" in output
    assert sent and server.received == sent
    assert not any(path.endswith("/objects/batch") for path in server.paths("POST"))
    bundle = hub.load_bundle("tiny")
    saved = saving.save_bundle(bundle.folder, bundle.config, "me/mine", tmp_path / "saved")
    assert server.files("me/mine") == hashes(saved)


def test_a_pipeline_on_the_hub_is_what_it_saves(
    hub_here: Hub, tmp_path: Path, tiny: STVGPipeline
) -> None:
    address = tiny.push_to_hub(
        "me/mine", token="hf_x", private=True, revision="v2", commit_message="the first"
    )
    repository = hub_here.repositories["me/mine"]
    assert address == f"{hub_here.endpoint}/me/mine/commit/{repository.oid('v2')}"
    assert repository.private and repository.messages == [("v2", "the first")]
    assert repository.branches["main"] == {}
    tiny.save_pretrained(tmp_path / "saved")
    saved, arrived = hashes(tmp_path / "saved"), hub_here.files("me/mine", "v2")
    assert saved.pop("README.md") and arrived.pop("README.md")
    assert arrived == saved
    card = repository.branches["v2"]["README.md"].decode()
    assert 'from_pretrained("me/mine")' in card and "in the folder `detector`" in card
    example = card.replace("# me/mine", "# tiny").replace('"me/mine"', '"."')
    assert example == (tmp_path / "saved/README.md").read_text()


@pytest.mark.slow
def test_the_example_of_a_card_answers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny: STVGPipeline,
) -> None:
    """The demo's clip beside it, its code runs in the saved folder as it stands."""
    folder = tmp_path / "saved"
    tiny.save_pretrained(folder)
    shutil.copy(hub.BUNDLED / "demo" / "clip.mp4", folder)
    monkeypatch.chdir(folder)
    example = re.search(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    assert example is not None
    exec(example[1], {})
    assert re.fullmatch(r"True \(\d+,\) \d\.\d+ \d\.\d+\n", capsys.readouterr().out)
    assert Path("overlay.mp4").stat().st_size > 10_000


def test_what_was_pushed_can_be_fetched(hub_here: Hub, tmp_path: Path) -> None:
    source = large_bundle(tmp_path / "source")
    hub_here.part_bytes = 64_000
    assert push(source).startswith(f"{hub_here.endpoint}/me/mine/commit/")
    assert any(path.startswith("/part/") for path in hub_here.paths("PUT"))
    saved = saving.save_bundle(source, STVGConfig(), "me/mine", tmp_path / "saved")
    assert hub_here.files("me/mine") == hashes(saved)
    code = "print(hub.load_bundle('me/mine').folder)"
    fetched = Path(ask_hub(code, hub_here.endpoint, tmp_path / "home"))
    assert hashes(fetched) == hashes(saved)
    n = len(hub_here.repositories["me/mine"].messages)
    push(source)
    assert len(hub_here.repositories["me/mine"].messages) == n, "nothing changed"


@pytest.mark.parametrize("status", [0, 500], ids=["hangs up", "500"])
def test_a_broken_upload_goes_on_where_it_was(status: int, hub_here: Hub, tmp_path: Path) -> None:
    source = large_bundle(tmp_path / "source")
    first, second = (
        hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(source.glob("*.safe*"))
    )
    hub_here.refuse(f"PUT /objects/{second}", status, "full of sand")
    with pytest.raises(ModelError, match=r"Sending to me/mine broke off .*repeat the same") as said:
        push(source)
    assert "\n" not in str(said.value)
    assert hub_here.repositories["me/mine"].branches["main"] == {}, "nothing half-written"
    assert hub_here.received[first] == 300_000
    hub_here.faults.clear()
    push(source)
    assert hub_here.received[first] == 300_000 and hub_here.received[second] == 100_000
    assert hub_here.files("me/mine")["model-00002-of-00002.safetensors"] == second


def test_a_push_removes_the_weights_of_the_one_before(hub_here: Hub, tmp_path: Path) -> None:
    """They would be loaded instead of the new ones; other files of the repository stay."""
    push(large_bundle(tmp_path / "sharded"))
    files = hub_here.repositories["me/mine"].branches["main"]
    files |= {"demo.png": b"dear", ".eval_results/stvg-x.yaml": b"old", ".eval_results/y.yaml": b""}
    push(make_bundle(tmp_path / "single", STVGConfig()))
    there = hub_here.files("me/mine")
    assert [name for name in there if name.endswith(".safetensors")] == ["model.safetensors"]
    assert {"demo.png", ".eval_results/y.yaml"} <= set(there)
    assert ".eval_results/stvg-x.yaml" not in there


@pytest.mark.parametrize(
    ("pattern", "status", "message", "expected"),
    [
        ("/create", 401, "Invalid credentials in Authorization header", "may not be written"),
        ("/create", 403, "You don't have the rights", r"may not be written .*HTTP 403: You don't"),
        ("/preupload/", 403, "read-only token", "with a token that may write: hf auth login"),
        ("batch", 403, "Private repository storage limit reached", "storage limit reached"),
        ("PUT /objects", 413, "too large", r"refused what was sent to me/mine \(HTTP 413"),
        ("/commit/", 400, "bad file", "refused what was sent .*HTTP 400: .*bad file"),
        ("/commit/", 402, "Payment required", "HTTP 402: .*Payment required"),
        ("/validate-yaml", 400, "", "broke off|refused"),
    ],
)
def test_a_refused_upload_is_one_sentence(
    pattern: str, status: int, message: str, expected: str, hub_here: Hub, tmp_path: Path
) -> None:
    hub_here.refuse(pattern, status, message)
    with pytest.raises(ModelError, match=expected) as said:
        push(make_bundle(tmp_path / "source", STVGConfig()))
    assert "\n" not in str(said.value)
    assert not any(r.messages for r in hub_here.repositories.values())


def test_nobody_there_and_offline_are_told_apart(
    hub_here: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_bundle(tmp_path / "source", STVGConfig())
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"Sending to me/mine broke off .*refused"):
        push(source)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE keeps this process from the network"):
        push(source)
    with pytest.raises(ModelError, match="not a valid Hub id"):
        saving.push_bundle(source, STVGConfig(), "me/two--bad..name", token="hf_x")


def test_a_dry_run_lists_what_would_be_sent_and_sends_nothing(
    hub_here: Hub, tmp_path: Path
) -> None:
    """No pickle and no code among it."""
    listed = push(make_bundle(tmp_path / "source", STVGConfig()), dry_run=True)
    files = dict(reversed(line.split()) for line in listed.splitlines())  # type: ignore[misc]
    assert files["model.safetensors"] == str(len(b"weights"))
    assert set(files) == {
        "README.md", "config.json", "detector/detector.json", "detector/detector.onnx",
        "model.safetensors", CONFIG_NAME,
    }  # fmt: skip
    assert hub_here.requests == []
