"""What `stvg` says and does with a server: the stand-in, once with eyes and once without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants

from stvg_r1_hub.cli.parser import main
from stvg_r1_hub.cli.server_check import LEFT, MOVING, RIGHT, drawn_clip
from stvg_r1_hub.examples import FOLDER
from tests.vlm.stand_in import answered, seen_in, serving

TRUTH = {"moves": MOVING, "left": LEFT, "right": RIGHT}


@pytest.fixture(autouse=True)
def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def seeing(body: dict[str, Any]) -> tuple[int, Any]:
    """Answers from the pixels: where the middle column changes, and the number the query needs."""
    seen = seen_in(body)
    middle = seen.pixels[:, :, seen.pixels.shape[2] // 2].astype(int)
    moves = np.abs(np.diff(middle, axis=0)).max(axis=(1, 2)) > 40
    start, end = seen.times[1:][moves][0], seen.times[1:][moves][-1]
    query = seen.text.split('Find: "')[1].split('"')[0]
    number = next(number for word, number in TRUTH.items() if word in query)
    return answered(f"<answer>Target ID: {number}, Time range: {start} to {end}</answer>")


def said_of(reply: Any, capfd: pytest.CaptureFixture[str], **served: Any) -> tuple[int, list[str]]:
    with serving(reply, **served) as server:
        code = main(["doctor", "--server", server.url])
    return code, capfd.readouterr().out.splitlines()


def test_a_server_that_sees(capfd: pytest.CaptureFixture[str]) -> None:
    served = {"models": ("qwen",), "owner": "vllm", "version": "0.33.0"}
    code, lines = said_of(seeing, capfd, **served)
    assert code == 0 and lines[:2] == ["software  vllm 0.33.0", "models    qwen"]
    assert [line.split()[0] for line in lines[2:]] == ["auto", "video", "frames", "images"]
    for line in lines[2:]:
        assert "reads numbers: yes, tells time: yes, " in line and line.endswith(" s a question")
    assert "takes frames; " in lines[2]


def test_a_server_that_guesses_and_takes_images_alone(capfd: pytest.CaptureFixture[str]) -> None:
    def guessing(body: dict[str, Any]) -> tuple[int, Any]:
        if seen_in(body).sample_fps is not None:
            return 400, {"error": "video is not for me"}
        return answered("<answer>Target ID: 5, Time range: 0.0 to 8.0</answer>")

    code, lines = said_of(guessing, capfd)
    assert code == 1 and lines[0] == "software  does not say what it is"
    assert (
        "takes images; reads numbers: no ('the square that stands still on the left' is 3, not 5"
        in lines[2]
    )
    assert "tells time: no (0.0 to 8.0 s instead of 2.0 to 5.0 s)" in lines[2]
    assert lines[3].startswith("video     no: ") and "video is not for me" in lines[3]


def test_a_server_that_answers_nothing_told_no_time(capfd: pytest.CaptureFixture[str]) -> None:
    code, lines = said_of(lambda body: answered("hello there"), capfd)
    assert code == 1 and "tells time: no (none instead of 2.0 to 5.0 s)" in lines[2]


def test_a_web_page_is_said_to_be_one_once(capfd: pytest.CaptureFixture[str]) -> None:
    code, lines = said_of(lambda body: (200, b"<!DOCTYPE html><p>hi"), capfd)
    assert code == 1 and [line.split()[0] for line in lines] == ["software", "models", "auto"]
    assert "is a web page" in lines[2]


@pytest.mark.slow
def test_ground_asks_any_model_and_says_how(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    clip = str(FOLDER / "clip.mp4")
    asked = ["ground", clip, "the square that moves", "--json", str(tmp_path / "r.json")]
    with serving(seeing, models=("qwen3-vl:4b",), owner="library") as server:
        assert main([*asked, "--server", server.url, "--tracker", "coco"]) == 0
        assert main([*asked, "--server", server.url, "--server-input", "video"]) == 0
    values = json.loads((tmp_path / "r.json").read_text())
    assert (values["model"], values["server_input"]) == ("qwen3-vl:4b", "video")
    first = server.bodies[0]["messages"][0]["content"]
    assert [part["type"] for part in first[:3]] == ["text", "text", "image_url"]
    assert "A red number is drawn" in first[0]["text"] and first[1]["text"] == "<0.0 seconds>"


def test_a_server_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--server", "localhost"]) == 2
    assert "must be like 'http://localhost:8000/v1'" in capfd.readouterr().err


def test_nothing_but_the_number_tells_the_squares_apart() -> None:
    pixels, tracks = drawn_clip()
    assert tracks.object_ids == (LEFT, MOVING, RIGHT)
    for track in tracks.tracks:
        for frame in (0, 30, 63):
            x1, y1, x2, y2 = track.boxes[frame].round().astype(int)
            assert (pixels[frame, y1:y2, x1:x2] == (70, 90, 120)).all()


def test_eval_measures_a_served_model(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answer = answered("Target ID: 1, Time range: 0.5 to 1.5")
    with serving(lambda body: answer, models=("llava",)) as server:
        run = ["eval", "sprites", "--n", "1", "--true-tracks", "--server", server.url]
        assert main([*run, "--out", str(tmp_path), "--server-input", "images"]) == 0
    settings = json.loads((tmp_path / "run.json").read_text())
    assert settings["model"] == "llava on a server, asked as zero-shot, by images"
    assert len(server.bodies) == 1 and "figures" not in capfd.readouterr().err
