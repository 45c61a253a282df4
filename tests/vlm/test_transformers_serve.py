"""A second server that is not ours: `transformers serve` with the bundled model, through images.

That model learned from videos, so what counts is not whether its answers are right, but that they
are those of the same weights in this process about the same pictures and times.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub import constants

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.cli.parser import main
from stvg_r1_hub.errors import ModelError
from stvg_r1_hub.examples import find_example
from stvg_r1_hub.hub import BUNDLED
from stvg_r1_hub.video import open_video
from stvg_r1_hub.vlm.server import ServerVLM
from stvg_r1_hub.vlm.server.inputs import as_images

for package in ("openai", "fastapi", "uvicorn"):
    pytest.importorskip(package, reason="comes with: pip install 'transformers[serving]'")

TINY = BUNDLED / "tiny"


@pytest.fixture(autouse=True)
def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(TINY)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("w") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    try:
        while not is_up(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=60)


def is_up(address: str) -> bool:
    try:
        return bool(urllib.request.urlopen(address, timeout=5).status == 200)
    except OSError:
        return False


def in_this_process(prompt: str, parts: list[dict[str, Any]], max_new_tokens: int) -> str:
    """What the weights answer to the same words and pictures, by transformers alone."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(TINY)
    model = AutoModelForImageTextToText.from_pretrained(TINY)
    content = [{"type": "text", "text": prompt}]
    for part in parts:
        shown = part["type"] == "image_url"
        content.append({"type": "image", "url": part["image_url"]["url"]} if shown else part)
    asked = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    answer = model.generate(**asked, do_sample=False, max_new_tokens=max_new_tokens)
    (text,) = processor.batch_decode(
        answer[:, asked["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return str(text)


@pytest.mark.parametrize("name", ["demo", "attribute", "look-alike"])
def test_the_words_of_the_model_in_this_process(url: str, name: str) -> None:
    example = find_example(name)
    pipeline = STVGPipeline.from_pretrained("tiny", vlm=ServerVLM(url))
    with open_video(example.clip) as source:
        marked = pipeline.mark(*pipeline.read(source))
    vlm = ServerVLM(url)
    video = vlm.encode(marked)
    there = vlm.generate([example.query], video, max_new_tokens=40)
    assert (vlm.taken, vlm.served_model) == ("images", str(TINY))
    parts = as_images(marked.frames, model=str(TINY)).parts
    here = in_this_process(example.query, parts, 40)
    # The server parts the thought from the answer, and takes the space before it.
    assert there == [here.replace("<think> ", "<think>")] and "<think>" in here


def test_a_pipeline_and_the_doctor_go_through(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    demo = find_example("demo")
    result = STVGPipeline.from_pretrained("tiny", vlm=ServerVLM(url))(demo.query, demo.clip)
    assert result.server_input == "images" and result.raw_text
    assert main(["doctor", "--server", url]) in (0, 1)
    lines = capfd.readouterr().out.splitlines()
    assert lines[:2] == ["software  does not say what it is", f"models    {TINY}"]
    assert lines[2].startswith("auto      takes images; reads numbers: ")
    assert lines[3].startswith("video     no: ") and "does not know" in lines[3]


def test_what_it_does_not_take_is_said(url: str) -> None:
    demo = find_example("demo")
    pipeline = STVGPipeline.from_pretrained("tiny", vlm=ServerVLM(url, input="video"))
    with pytest.raises(ModelError, match="does not know media_io_kwargs and mm_processor_kwargs"):
        pipeline(demo.query, demo.clip)
