"""What a Space needs: its front matter, its requirements, and `app.py` as it is."""

from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.web.conftest import Demo

ROOT = Path(__file__).parents[2]
TORCH_ON_ZEROGPU = ("2.8.0", "2.9.1", "2.10.0", "2.11.0")


def requirements() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    parts = (re.match(r"([\w-]+)(.*)", line) for line in lines if line[:1].isalpha())
    return {part[1]: part[2] for part in parts if part}


def front_matter() -> dict[str, str]:
    block = (ROOT / "README.md").read_text(encoding="utf-8").split("---")[1]
    return dict(re.findall(r"^(\w+): *(.+)$", block, re.MULTILINE))


def test_front_matter_and_requirements_agree() -> None:
    matter, pinned = front_matter(), requirements()
    assert pinned["gradio"] == f"=={matter['sdk_version']}"
    assert pinned["torch"].removeprefix("==") in TORCH_ON_ZEROGPU
    assert matter["suggested_hardware"] == "zero-a10g"
    assert len(matter["short_description"]) <= 60
    assert {"spaces", "accelerate", "peft", "ultralytics"} <= set(pinned)


def test_spaces_comes_first() -> None:
    tree = ast.parse((ROOT / "app.py").read_text(encoding="utf-8"))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    first = min(imports, key=lambda node: node.lineno)
    assert isinstance(first, ast.Import) and first.names[0].name == "spaces"


@pytest.mark.slow
def test_app_py_serves_the_page(demo: Demo, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(tmp_path / "gradio"),
        "PYTHONPATH": str(ROOT),
    }
    log = (tmp_path / "log").open("w+")
    server = subprocess.Popen(
        [sys.executable, ROOT / "app.py"], env=environment, cwd=tmp_path, stdout=log, stderr=log
    )
    try:
        url = f"http://127.0.0.1:{port}/"
        for _ in range(600):
            assert server.poll() is None, (tmp_path / "log").read_text()
            try:
                urllib.request.urlopen(url, timeout=5).read()
                break
            except OSError:
                time.sleep(0.1)
        # The page is there before the model is; who asks meanwhile is answered all the same.
        (result,), _ = Client(url, verbose=False, download_files=str(tmp_path)).predict(
            video=handle_file(str(demo.clip)), queries=demo.query, api_name="/ground"
        )
        assert demo.overlap(result["start_seconds"], result["end_seconds"]) > 0.5
    finally:
        server.terminate()
        server.wait(20)
        log.close()


@pytest.mark.slow
def test_uploads_and_results_are_deleted(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradio_client import Client, handle_file

    from stvg_r1_hub.web import launch

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "server"))
    page, url = launch(["tiny"], keep_seconds=8, block=False)
    page.grounder.registry.load("tiny")  # So that the answer comes before its time is over.

    def kept() -> list[Path]:
        # The examples of the page are part of the page, and stay.
        files = (p for p in (tmp_path / "server").rglob("*.*") if p.is_file())
        return [p for p in files if not (demo.clip.parent / p.name).is_file()]

    try:
        upload = tmp_path / "mine.mp4"
        upload.write_bytes(demo.clip.read_bytes() + bytes(8))
        client = Client(url, verbose=False, download_files=str(tmp_path / "client"))
        client.predict(video=handle_file(str(upload)), queries="the frog", api_name="/ground")
        names = {path.name for path in kept()}
        assert {"mine.mp4", "answer-1.mp4", "answer-1.json"} <= names
        deadline = time.monotonic() + 60
        while kept() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not kept()
    finally:
        page.blocks.close(verbose=False)


def test_a_machine_too_busy_for_the_check_of_gradio_serves_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import gradio as gr

    from stvg_r1_hub.web import launch

    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    # While gradio has that check. Once it has not, `_frontend=False` in launching.py can go.
    with gr.Blocks() as blocks:
        pass
    with pytest.raises(ValueError, match="localhost is not accessible"):
        blocks.launch(prevent_thread_lock=True, quiet=True)
    blocks.close(verbose=False)
    page, url = launch(["tiny"], block=False)
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert answer.status == 200
    finally:
        page.blocks.close(verbose=False)
