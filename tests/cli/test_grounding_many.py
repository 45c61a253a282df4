"""`stvg ground` of many videos: a line each, what is bad set aside, and taken up again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stvg_r1_hub.cli import main
from stvg_r1_hub.examples import FOLDER
from stvg_r1_hub.outputs import LineWriter
from tests.media import write_clip
from tests.vlm.stand_in import answered, serving

QUERY = ["--query", "the dog jumping"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands are given in: two clips, of which one is found something in."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(FOLDER / "clip.mp4", "dog.mp4")
    write_clip(tmp_path / "plain.mp4", 20)
    return tmp_path


def lines_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def test_what_is_bad_is_set_aside_and_what_is_done_is_skipped(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "bad.mp4").write_text("no video")
    asked = ["ground", "bad.mp4", "dog.mp4", "./dog.mp4", "gone.mp4", *QUERY, "--out", "answers"]
    assert main(asked) == 1
    said = capfd.readouterr()
    assert '[2/3] dog.mp4: "the dog jumping": object 3' in said.out
    assert "[1/3] bad.mp4: set aside: " in said.err and "2 set aside (see answers/" in said.err
    (line,) = lines_of("answers/results.jsonl")
    assert line["path"] == str(here / "dog.mp4") and line["results"][0]["found"]
    failed = lines_of("answers/failed.jsonl")
    assert [Path(one["path"]).name for one in failed] == ["bad.mp4", "gone.mp4"]

    # Killed within a line; the bad one is mended, another joins.
    with (here / "answers/results.jsonl").open("a") as file:
        file.write('{"path": "cut')
    shutil.copy("plain.mp4", "bad.mp4")
    assert main(["ground", *QUERY, "--out", "answers", "plain.mp4", "dog.mp4", "bad.mp4"]) == 0
    said = capfd.readouterr()
    assert "1 of 3 videos are answered already; skipped." in said.err and "dog" not in said.out[:20]
    assert [Path(one["path"]).name for one in lines_of("answers/results.jsonl")] == [
        "dog.mp4",
        "plain.mp4",
        "bad.mp4",
    ]
    assert not (here / "answers/failed.jsonl").exists()

    assert main(["ground", "dog.mp4", "--query", "a cat", "--out", "answers"]) == 2
    assert "holds other answers (queries was ['the dog jumping'], is ['a cat'])" in (
        capfd.readouterr().err
    )


def test_what_is_wrong_with_the_model_ends_it_and_keeps_what_is_done(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    tracks = {"id": 2, "frames": [0, 9], "boxes": [[0, 0, 40, 40]] * 2}
    (here / "t.json").write_text(
        json.dumps({"fps": 10, "width": 96, "height": 64, "tracks": [tracks]})
    )
    shutil.copy("plain.mp4", "second.mp4")
    replies = iter([answered(), (200, b"<html>gone</html>")])
    with serving(lambda body: next(replies)) as server:
        asked = ["ground", "plain.mp4", "second.mp4", *QUERY, "--tracker", "t.json"]
        assert main([*asked, "--server", server.url, "--out", "answers"]) == 2
    assert "is a web page" in capfd.readouterr().err
    assert len(lines_of("answers/results.jsonl")) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dog.mp4"], "Got no question"),
        (["dog.mp4", "plain.mp4", "a dog"], "Got the file plain.mp4 where a question belongs"),
        (["dog.mp4", "plain.mp4", *QUERY], "give a folder as --out"),
        (["dog.mp4", "plain.mp4", *QUERY, "--out", "o.mp4"], "give a folder as --out"),
        (["dog.mp4", "plain.mp4", *QUERY, "--out", "o", "--json", "-"], "are for one video"),
        (["dog.mp4", "--query", " ", "--out", "o"], "query"),
        (["dog.mp4", *QUERY, "--out", "dog.mp4/o"], "Cannot create the folder"),
        (["dog.mp4", "a dog", "--style", "blur"], "name one as --out"),
        (["dog.mp4", "a dog", "--style", "blur", "moment"], "--style blur --style moment"),
        (["dog.mp4", *QUERY, "--out", "o", "--style", "blur"], "name one as --out"),
    ],
)
def test_what_is_missing_is_one_sentence(
    here: Path, words: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["ground", *words]) == 2
    (sentence,) = capfd.readouterr().err.splitlines()
    assert sentence.startswith("stvg: ") and said in sentence


def test_two_runs_do_not_write_one_folder(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "answers").mkdir()
    with LineWriter(here / "answers/results.jsonl"):
        assert main(["ground", "dog.mp4", *QUERY, "--out", "answers"]) == 2
    assert "Another run is writing" in capfd.readouterr().err
    LineWriter(here / "answers/results.jsonl").__exit__()  # The end of a run lets the next begin.


@pytest.mark.parametrize(
    "words",
    [
        ["dog.mp4", "--device", "cpu", "the dog jumping"],
        ["--device", "cpu", "dog.mp4", "the dog jumping"],
        ["dog.mp4", "the dog jumping", "--device", "cpu"],
        ["dog.mp4", "--device", "cpu", *QUERY],
    ],
)
def test_a_question_may_stand_anywhere(
    here: Path, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["ground", *words]) == 0
    assert '"the dog jumping": object 3' in capfd.readouterr().out
