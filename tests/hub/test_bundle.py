"""Finding a model's files; the Hub is a small server on this machine."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from stvg_r1_hub import hub
from stvg_r1_hub.config import CONFIG_NAME, TIMES_AS_TEXT, STVGConfig, TrackingConfig
from stvg_r1_hub.errors import ConfigError, ModelError
from stvg_r1_hub.hub.saving import model_files
from tests.hub_server import Hub, Repository, serving


def make_bundle(folder: Path, config: STVGConfig | None = None) -> Path:
    """A folder with the files of a model; their content does not matter here."""
    (folder / "detector").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "detector" / "detector.onnx").write_bytes(b"network")
    (folder / "detector" / "detector.json").write_text("{}")
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (folder / "evil.py").write_text("raise SystemExit")
    (folder / "README.md").write_text("the card of the original")
    if config is not None:
        config.save(folder)
    return folder


def test_a_local_folder_wins_over_a_bundled_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(tmp_path / "tiny", STVGConfig(prompt_id="mine"))
    monkeypatch.chdir(tmp_path)
    bundle = hub.load_bundle("tiny")
    assert bundle.folder == Path("tiny")
    assert bundle.config.prompt_id == "mine"
    assert bundle.warnings == ()


def test_settings_alone_are_for_a_model_elsewhere() -> None:
    bundle = hub.load_bundle("zero-shot", weights=False)
    assert (bundle.name, bundle.config.prompt_id) == ("zero-shot", "zero-shot")
    with pytest.raises(ModelError, match="settings alone, for a model that a server runs; name"):
        hub.load_bundle("zero-shot")


def test_a_bare_model_gets_the_official_preset_and_says_so(tmp_path: Path) -> None:
    bundle = hub.load_bundle(make_bundle(tmp_path / "bare"))
    assert bundle.config == STVGConfig()
    assert len(bundle.warnings) == 1 and "official STVG-R1 preset" in bundle.warnings[0]


@pytest.mark.parametrize(
    "name", ["tinyy", "no/such/folder", "./nothing", "~/nothing", "/nothing", "", "a/", "/"]
)
def test_an_unknown_name_says_what_was_looked_for(name: str, tmp_path: Path) -> None:
    if name in ("", "/"):  # These are folders, but of no model.
        with pytest.raises(ModelError, match="not a model"):
            hub.load_bundle(name)
        return
    with pytest.raises(
        ModelError, match=r"no folder .* no bundled model \(tiny, zero-shot\) and no Hub id"
    ):
        hub.load_bundle(name)


def test_a_missing_path_is_never_looked_up_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder on this disk"):
        hub.load_bundle(Path("owner/name"))


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        hub.load_bundle(tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \.safetensors weights"):
        hub.load_bundle(folder)


def make_adapter(folder: Path, base: str | None, weights: str = "safetensors") -> Path:
    folder.mkdir()
    values = {"base_model_name_or_path": base, "peft_type": "LORA", "revision": None}
    (folder / "adapter_config.json").write_text(json.dumps(values))
    (folder / f"adapter_model.{weights}").write_bytes(b"adapter")
    return folder


def test_an_adapter_brings_its_base_model(tmp_path: Path) -> None:
    """Settings are the adapter's own, else its base's, else the preset; so is the detector."""
    base = make_bundle(tmp_path / "base", STVGConfig(tracking=TrackingConfig(detector="detector")))
    adapter = make_adapter(tmp_path / "adapter", str(base))
    bundle = hub.load_bundle(adapter)
    assert (bundle.folder, bundle.adapter, bundle.own_folder) == (base, adapter, adapter)
    assert bundle.config.tracking.detector == "detector" and bundle.detector_home == base
    STVGConfig(prompt_id="mine").save(adapter)
    assert hub.load_bundle(adapter).config.prompt_id == "mine"
    (adapter / CONFIG_NAME).unlink()
    (base / CONFIG_NAME).unlink()
    assert hub.load_bundle(adapter).config == STVGConfig()
    assert "official STVG-R1 preset" in hub.load_bundle(adapter).warnings[0]


def test_an_adapter_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not say which model"):
        hub.load_bundle(make_adapter(tmp_path / "a", None))
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        hub.load_bundle(make_adapter(tmp_path / "b", "tiny", weights="bin"))
    elsewhere = "/root/.cache/modelscope/hub/models/Qwen/Qwen2___5-VL-7B-Instruct"
    for i, base in enumerate(("nowhere", elsewhere)):
        with pytest.raises(ModelError, match=f"was trained on '{base}', which is no fol") as said:
            hub.load_bundle(make_adapter(tmp_path / f"c{i}", base))
        assert len(str(said.value)) <= 300 + len(str(tmp_path))


def test_an_adapter_with_its_bases_config_is_an_adapter(tmp_path: Path) -> None:
    base = make_bundle(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", str(base))
    (adapter / "config.json").write_text((base / "config.json").read_text())
    (adapter / "tokenizer.json").write_text("{}")
    assert hub.load_bundle(adapter).folder == base
    assert len(hub.load_bundle(adapter).warnings) == 1
    (adapter / "non_lora_state_dict.bin").write_bytes(b"a pickle")
    assert "non_lora_state_dict.bin" in hub.load_bundle(adapter).warnings[1]
    # A merged model that its trainer left the adapter's settings with is a model.
    (adapter / "model.safetensors").write_bytes(b"weights")
    assert hub.load_bundle(adapter).adapter is None


def test_earlier_stages_of_a_training_are_no_part_of_the_model(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"weights")
    before = hub.fingerprint(folder, STVGConfig()), model_files(folder)
    for name in ("checkpoint-50/model.safetensors", "run/checkpoint-5/model.safetensors"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"earlier weights")
    assert (hub.fingerprint(folder, STVGConfig()), model_files(folder)) == before
    inside = folder.rename(tmp_path / "checkpoint-100")  # Itself the model that is asked for.
    assert (hub.fingerprint(inside, STVGConfig()), model_files(inside)) == before


@pytest.mark.parametrize("model_type", TIMES_AS_TEXT)
def test_a_bare_qwen3_model_gets_its_own_units(model_type: str, tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "bare")
    (folder / "config.json").write_text(f'{{"model_type": "{model_type}"}}')
    bundle = hub.load_bundle(folder)
    assert bundle.config.position_rule == "timestamps"
    assert bundle.config.sampling.size_factor == 32
    assert "times as text" in bundle.warnings[0]


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "m")
    (folder / CONFIG_NAME).write_text('{"sampling": {"fpss": 3}}')
    with pytest.raises(ConfigError, match="fpss"):
        hub.load_bundle(folder)
    (folder / CONFIG_NAME).write_text('{"version": 99}')
    with pytest.raises(ConfigError, match=r"version 99, this package reads up to .* upgrade with"):
        hub.load_bundle(folder)


class FakeHub(BaseHTTPRequestHandler):
    """Answers as the Hub does for a good, a gated, a missing and a private repository."""

    files: ClassVar = {"config.json": b"{}", "model.safetensors": b"weights", "run.bin": b"pickle"}
    commit = "a" * 40

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if "gated" in parts:
            self.fail(403, "GatedRepo")
        elif "missing" in parts:
            self.fail(401, "RepoNotFound")
        elif "no-such-branch" in parts:
            self.fail(404, "RevisionNotFound")
        elif "broken" in parts:
            self.fail(500, "")
        elif "resolve" in parts:
            self.send_file(parts[-1])
        elif "tree" in parts:
            self.send_json(
                [
                    {"type": "file", "path": n, "size": len(b), "oid": n}
                    for n, b in self.files.items()
                ]
            )
        else:
            siblings = [{"rfilename": name} for name in self.files]
            self.send_json({"id": "me/good", "sha": self.commit, "siblings": siblings})

    do_HEAD = do_GET

    def fail(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_json(self, values: object) -> None:
        self.send_body(json.dumps(values).encode())

    def send_file(self, name: str) -> None:
        self.send_body(self.files[name], {"ETag": f'"{name}"', "X-Repo-Commit": self.commit})

    def send_body(self, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def fake_hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask_hub(code: str, endpoint: str, home: Path, **environment: str) -> str:
    """Run code in a fresh interpreter: the Hub client reads its settings when imported."""
    script = (
        "from stvg_r1_hub import hub\n"
        "from stvg_r1_hub.errors import ModelError\n"
        + (code if "try:" in code else f"try:\n    {code}\n")
        + "except ModelError as error:\n    print('ModelError:', error)\n"
    )
    settings = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=settings | environment,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("hub.load_bundle('me/gated')", "Access to me/gated is gated: accept its terms"),
        ("hub.load_bundle('me/missing')", "There is no model me/missing on the Hub"),
        (
            "hub.load_bundle('me/good', hub.HubAccess(revision='no-such-branch'))",
            "me/good has no revision 'no-such-branch'",
        ),
        (
            "hub.load_bundle('me/good', hub.HubAccess(local_files_only=True))",
            "downloads are switched off",
        ),
        ("hub.load_bundle('me/two--bad..name')", "is not a valid Hub id"),
    ],
)
def test_each_refusal_of_the_hub_is_one_sentence(code: str, expected: str, tmp_path: Path) -> None:
    with fake_hub() as endpoint:
        said = ask_hub(code, endpoint, tmp_path)
    assert said.startswith("ModelError:") and expected in said
    assert "\n" not in said


def test_a_hub_model_is_fetched_without_pickles_and_then_works_offline(tmp_path: Path) -> None:
    code = "print(sorted(p.name for p in hub.load_bundle('me/good').folder.iterdir()))"
    with fake_hub() as endpoint:
        assert ask_hub(code, endpoint, tmp_path) == "['config.json', 'model.safetensors']"
    offline = ask_hub(code, endpoint, tmp_path, HF_HUB_OFFLINE="1")
    assert offline == "['config.json', 'model.safetensors']"


def test_offline_and_unreachable_are_told_apart(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"
    code = "hub.load_bundle('me/model')"
    assert "switched off" in ask_hub(code, nobody, tmp_path, HF_HUB_OFFLINE="1")
    assert "cannot be reached" in ask_hub(code, nobody, tmp_path)


WITHOUT_WEIGHTS = """
try:
    bundle = hub.load_bundle('me/adapter', weights=False)
    print(*sorted(p.name for p in bundle.adapter.iterdir()), bundle.config.tracking.detector)
    print(*sorted(p.relative_to(bundle.folder) for p in bundle.folder.rglob('*')))
"""


def test_what_a_server_or_a_tracker_needs_of_a_model(tmp_path: Path) -> None:
    """An adapter and its base without their weights, but a detector with its own."""
    config = STVGConfig(tracking=TrackingConfig(detector="detector")).to_dict()
    base = {
        "config.json": b"{}",
        "stvg_config.json": json.dumps(config).encode(),
        "model-00001-of-00002.safetensors": b"weights",
        "model.safetensors.index.json": b"{}",
        "detector/config.json": b"{}",
        "detector/model.safetensors": b"of the detector",
    }
    values = json.dumps({"base_model_name_or_path": "me/base"}).encode()
    adapter = {"adapter_config.json": values, "adapter_model.safetensors": b"weights"}
    with serving() as hub_here:
        for name, files in (("me/base", base), ("me/adapter", adapter)):
            hub_here.repositories[name] = Repository(private=False, branches={"main": files})
        said = ask_hub(WITHOUT_WEIGHTS, hub_here.endpoint, tmp_path).splitlines()
    assert said == [
        "adapter_config.json detector",
        "config.json detector detector/config.json detector/model.safetensors "
        "model.safetensors.index.json stvg_config.json",
    ]


OF_A_TRAINER = """
try:
    bundle = hub.load_bundle('me/lora')
    print(*sorted(str(p.relative_to(bundle.adapter)) for p in bundle.adapter.rglob('*.*')))
    print(*bundle.warnings)
"""


def test_a_trainers_whole_output_folder_on_the_hub(tmp_path: Path) -> None:
    """Earlier stages are not fetched; of the pickle beside the adapter only its name is known."""
    adapter = json.dumps({"base_model_name_or_path": "tiny"}).encode()
    files = {
        "adapter_config.json": adapter,
        "adapter_model.safetensors": b"weights",
        "config.json": b"{}",
        "non_lora_state_dict.bin": b"a pickle",
        "checkpoint-50/adapter_model.safetensors": b"earlier weights",
        "run/checkpoint-50/trainer_state.json": b"{}",
    }
    with serving() as hub_here:
        hub_here.repositories["me/lora"] = Repository(private=False, branches={"main": files})
        fetched, warning = ask_hub(OF_A_TRAINER, hub_here.endpoint, tmp_path).splitlines()
        offline = ask_hub(OF_A_TRAINER, hub_here.endpoint, tmp_path, HF_HUB_OFFLINE="1")
    assert fetched == "adapter_config.json adapter_model.safetensors config.json"
    assert "non_lora_state_dict.bin" in warning and "not used" in warning
    assert offline.splitlines()[0] == fetched


BROKEN = """
from types import SimpleNamespace
import huggingface_hub.file_download as client
client.time = SimpleNamespace(sleep=lambda seconds: None, time=lambda: 0.0)
from stvg_r1_hub.vlm.loading import check_whole
try:
    folder = hub.load_bundle('me/mine').folder
    print(len((folder / 'model.safetensors').read_bytes()))
    check_whole(folder)
    print('whole')
"""


def stored(hub_here: Hub) -> bytes:
    """A repository with a real safetensors file of 400 kB; the file."""
    import numpy as np
    from safetensors.numpy import save

    weights = save({"w": np.arange(100_000, dtype=np.float32)})
    files = {"config.json": b"{}", "model.safetensors": weights}
    hub_here.repositories["me/mine"] = Repository(private=False, branches={"main": files})
    return weights


def test_a_download_that_broke_off_can_be_repeated(tmp_path: Path) -> None:
    with serving() as hub_here:
        weights = stored(hub_here)
        hub_here.hangs_up_after = 50_000
        said = ask_hub(BROKEN, hub_here.endpoint, tmp_path)
        assert said.startswith("ModelError: ") and "\n" not in said and "me/mine" in said
        assert "network" in said and "repeat" in said
        assert not list(tmp_path.rglob("model.safetensors")), "nothing half-written"
        hub_here.hangs_up_after = None
        assert ask_hub(BROKEN, hub_here.endpoint, tmp_path).split() == [str(len(weights)), "whole"]


@pytest.mark.slow
def test_a_damaged_file_in_the_cache_is_named_with_what_mends_it(tmp_path: Path) -> None:
    with serving() as hub_here:
        weights = stored(hub_here)
        assert ask_hub(BROKEN, hub_here.endpoint, tmp_path).endswith("whole")
        (path,) = tmp_path.rglob("model.safetensors")
        path.resolve().write_bytes(weights[:-1000])
        said = ask_hub(BROKEN, hub_here.endpoint, tmp_path).splitlines()[-1]
        assert "model.safetensors of " in said and "is damaged or only half downloaded" in said
        command = said.split("fetch it again with: ")[1]
        assert command == "hf download me/mine model.safetensors --force-download"
        code = f"""
import sys
from huggingface_hub.cli.hf import main
sys.argv = {command.split()}
try:
    main()
except SystemExit:
    pass
"""
        ask_hub(code, hub_here.endpoint, tmp_path)
        assert ask_hub(BROKEN, hub_here.endpoint, tmp_path).endswith("whole")


def test_the_hub_is_asked_with_one_record_everywhere() -> None:
    """Only what users call takes its fields one by one; all else is handed the record."""
    fields = {"cache_dir", "local_files_only"}
    named = {
        f"{path.name}: {node.name}"
        for path in Path(hub.__file__).parents[1].rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        if fields & {arg.arg for arg in [*node.args.args, *node.args.kwonlyargs]}
    }
    assert named == {"pipeline.py: from_pretrained"}


def test_the_record_keeps_a_token_to_itself_and_a_revision_to_its_repository() -> None:
    access = hub.HubAccess("hf_secret", "/cache", True, "v1")
    assert "hf_secret" not in repr(access)
    assert access.elsewhere() == hub.HubAccess("hf_secret", "/cache", True)
    assert access.elsewhere().options() == {
        "token": "hf_secret",
        "cache_dir": "/cache",
        "local_files_only": True,
        "revision": "main",
    }
