"""A server that is not ours: llama.cpp's, with the bundled model as GGUF, through images.

The bundled model was trained on videos, so what it answers about images is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.cli.parser import main
from stvg_r1_hub.errors import ModelError
from stvg_r1_hub.structures import MarkedFrames
from stvg_r1_hub.vlm.server import ServerVLM
from tests.builders import make_frames, marked
from tests.vlm.llama_server import llama_server, write_gguf

pytestmark = pytest.mark.slow
pytest.importorskip("xllamacpp", reason="llama.cpp's server comes with: pip install xllamacpp")
pytest.importorskip("gguf", reason="its files are written with: pip install gguf")


@pytest.fixture(autouse=True)
def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    write_gguf(folder)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with llama_server(folder) as address:
        yield address


def clip(n: int = 8) -> MarkedFrames:
    pixels = np.random.default_rng(0).integers(0, 255, (n, 112, 168, 3), dtype=np.uint8)
    return marked(make_frames(pixels, sample_fps=4.0), 1, 2)


def ask(vlm: ServerVLM, n: int = 8) -> tuple[list[str], tuple[str, ...]]:
    video = vlm.encode(clip(n))
    return vlm.generate(
        ["Find it.", "Find it.", "And now?"], video, max_new_tokens=12
    ), video.warnings


def test_it_says_what_it_is_and_takes_images(url: str) -> None:
    vlm = ServerVLM(url)
    texts, warnings = ask(vlm)
    assert (vlm.server.software, vlm.server.models) == ("llama.cpp", ("stvg-tiny",))
    assert (vlm.taken, vlm.model, warnings) == ("images", "stvg-tiny", ())
    assert texts[0] == texts[1] and all(texts)


def test_every_pixel_and_time_is_read(url: str) -> None:
    """The count of tokens is that of the images: patches of 14, merged by two, and the times."""
    vlm = ServerVLM(url, input="images")
    ask(vlm)
    used = []
    chat = vlm._client.chat
    for n in (4, 8):
        vlm._client.chat = lambda body: used.append(chat(body)) or used[-1]  # type: ignore
        ask(vlm, n)
    tokens = [answer["usage"]["prompt_tokens"] for answer in used]
    assert len(tokens) == 6
    assert 24 * 4 <= tokens[3] - tokens[0] <= (24 + 14) * 4


def test_a_pipeline_and_the_doctor_go_through(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    from stvg_r1_hub.examples import find_example

    demo = find_example("demo")
    result = STVGPipeline.from_pretrained("tiny", vlm=ServerVLM(url))(demo.query, demo.clip)
    assert result.server_input == "images" and result.raw_text
    assert main(["doctor", "--server", url]) in (0, 1)
    lines = capfd.readouterr().out.splitlines()
    assert lines[:2] == ["software  llama.cpp", "models    stvg-tiny"]
    assert lines[2].startswith("auto      takes images; reads numbers: ")
    assert lines[3].startswith("video     no: ")


def test_without_its_projector_it_has_no_eyes(folder: Path) -> None:
    with llama_server(folder, "--blind") as address, pytest.raises(ModelError) as raised:
        ask(ServerVLM(address))
    assert "serve a model with vision" in str(raised.value)


def test_a_small_context_is_sent_fewer_images(folder: Path) -> None:
    with llama_server(folder, "--context", "512") as address:
        texts, warnings = ask(ServerVLM(address), n=32)
    assert len(texts) == 3
    assert warnings == ("The server was sent 8 of the 32 sampled frames, as images.",)


def test_it_asks_for_its_key(folder: Path) -> None:
    with llama_server(folder, "--key", "secret") as address:
        with pytest.raises(ModelError, match="give its key as token, or in STVG_SERVER_TOKEN"):
            ask(ServerVLM(address))
        assert all(ask(ServerVLM(address, token="secret"))[0])
