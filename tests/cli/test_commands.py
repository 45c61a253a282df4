"""The command line: what it prints where, what it writes, and what it says to bad input."""

import importlib
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import av
import imageio.v3 as imageio
import numpy as np
import pytest
from PIL import Image

from stvg_r1_hub import cli, examples
from stvg_r1_hub.cli import commands, doctor, parser
from stvg_r1_hub.errors import require_package
from stvg_r1_hub.hub import BUNDLED
from tests import tiny_sam2
from tests.media import picture, write_audio_only, write_clip

TINY = BUNDLED / "tiny" / "stvg_config.json"
DEMO_CLIP = BUNDLED / "demo" / "clip.mp4"
COCO = BUNDLED / "coco" / "detector.json"
needs_tiny = pytest.mark.skipif(
    not (TINY.is_file() and DEMO_CLIP.is_file()), reason="the bundled model is not built yet"
)
needs_coco = pytest.mark.skipif(not COCO.is_file(), reason="the COCO detector is not there")


def stvg(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "stvg_r1_hub.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": root},
        timeout=300,
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("media") / "clip.mp4", 20)


def bad_video(kind: str, folder: Path) -> str:
    """Make one unusable video, and return what to pass as VIDEO."""
    path = folder / "video.mp4"
    if kind == "directory":
        return str(folder)
    if kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is not a video\n" * 50)
    elif kind == "random bytes":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif kind == "truncated":
        write_clip(path, 20)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "audio only":
        path = write_audio_only(folder / "sound.m4a")
    elif kind == "concat script":
        write_clip(folder / "secret.mp4", 20)
        path.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    elif kind == "playlist":
        write_clip(folder / "secret.ts", 20)
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.ts\n#EXT-X-ENDLIST\n")
    elif kind == "one frame":
        write_clip(path, 1)
    elif kind == "one pixel":
        path = folder / "one.mkv"
        write_clip(path, 5, size=(1, 1), codec="ffv1", pix_fmt="bgr0")
    elif kind == "URL":
        return "https://example.com/clip.mp4"
    elif kind == "empty name":
        return ""
    elif kind == "nothing piped in":
        return "-"
    elif kind == "file URL":
        write_clip(path, 20)
        return path.as_uri()
    return str(path)


BAD_VIDEOS = [
    "missing file",
    "directory",
    "zero bytes",
    "text",
    "random bytes",
    "truncated",
    "audio only",
    "concat script",
    "playlist",
    "one frame",
    "one pixel",
    "URL",
    "file URL",
    "empty name",
    "nothing piped in",
]


def assert_one_sentence(stderr: str) -> None:
    lines = stderr.strip().splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("stvg: ") and "Traceback" not in lines[0]
    assert len(lines[0]) < 600


def test_no_object_is_asked_for(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ground", str(clip), "a dog", "--max-objects", "0"]) == 2
    said = capfd.readouterr().err
    assert_one_sentence(said)
    assert "--max-objects" in said


@pytest.mark.parametrize("command", [["ground", "a.mp4", "a dog"], ["eval", "sprites"]])
@pytest.mark.parametrize("passes", ["0", "3", "-1", "twice", ""])
def test_passes_are_one_two_or_auto(
    command: list[str], passes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main([*command, f"--passes={passes}"])
    said = capsys.readouterr().err
    assert "--passes" in said and "auto" in said


def test_every_look_that_found_something_is_told(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On the terminal a line each, in JSON all of them."""
    out = tmp_path / "result.json"
    arguments = ["ground", str(clip), "the dog jumping", "--passes", "2", "--json", str(out)]
    assert cli.main(arguments) == 0
    looks = json.loads(out.read_text(encoding="utf-8"))["looks"]
    told = capfd.readouterr().err.count("look at ")
    assert told == sum(bool(look["object_ids"]) for look in looks)


@pytest.mark.parametrize("kind", BAD_VIDEOS)
@pytest.mark.parametrize("command", ["ground", "track"])
def test_bad_video_is_one_sentence_and_code_2(
    command: str,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    source, results = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    results.mkdir()
    video = bad_video(kind, source)
    query = ["the dog"] if command == "ground" else []
    files = ["--out", f"{results}/a.mp4", "--json", f"{results}/a.json"]
    capfd.readouterr()
    assert cli.main([command, video, *query, *files]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert_one_sentence(said.err)
    assert list(results.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["ground", "-hello.mp4", "a dog"], ["track", "clip.mp4", "--out", "-x.mp4"]]
)
def test_a_name_with_a_dash_is_not_taken_for_an_option(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    name = next(word for word in words if word.startswith("-") and "." in word)
    assert cli.main(words) == 2
    said = capfd.readouterr().err
    assert_one_sentence(said)
    assert f"write ./{name}" in said
    assert cli.main(["ground", "--json=./README.md/such.json", "--", "-hello.mp4", "-a dog.s"]) == 2
    assert "Cannot write README.md/such.json" in capfd.readouterr().err


@pytest.mark.parametrize("query", ["", "   ", "\n\t", "\x00"])
def test_bad_query(
    query: str, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ground", str(clip), query, "--json", str(tmp_path / "a.json")]) == 2
    assert_one_sentence(capfd.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bounds", [["--start", "9"], ["--start=1", "--end=1"], ["--end", "0"]])
def test_a_trim_of_nothing_is_said_before_a_model_is_loaded(
    bounds: list[str], clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ground", str(clip), "a dog", "--model", "not-there", *bounds]) == 2
    said = capfd.readouterr().err
    assert_one_sentence(said)
    assert "lasts 2.00 s; its start must come before its end" in said


@needs_tiny
def test_a_trimmed_answer_keeps_the_times_of_the_whole(tmp_path: Path) -> None:
    out, json_out = tmp_path / "a.mp4", tmp_path / "a.json"
    words = ["ground", str(DEMO_CLIP), "the dog", "--start", "1", "--end", "3"]
    assert cli.main([*words, "--out", str(out), "--json", str(json_out)]) == 0
    values = json.loads(json_out.read_text(encoding="utf-8"))
    start, end = values["part"].values()
    assert start == pytest.approx(1, abs=0.1) and end == pytest.approx(3, abs=0.1)
    assert values["video"]["duration_seconds"] == 4.0 and out.is_file()
    assert all(start <= box["time_seconds"] < end for box in values["boxes"]) and values["found"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--model", "tinyy"],
        ["--segmenter", "nonsense", "--masks"],
        ["--tracker", "nonsense"],
        ["--max-windows", "3"],
    ],
)
def test_what_is_not_there_is_said_before_the_video_is_tracked(
    wrong: list[str], clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ground", str(clip), "a dog", *wrong, "--out", f"{tmp_path}/a.mp4"]) == 2
    assert_one_sentence(capfd.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--port", "99999999"], "from 1 to 65535"),
        (["--port", "taken"], "Address already in use"),
        (["--host", "192.0.2.1"], "Cannot listen on 192.0.2.1"),
        (["--model", "tinyy"], "no model 'tinyy'"),
        (["--model", "tiny", "--model", "nope"], "no model 'nope'"),
        (["--device", "nonsense"], "device 'nonsense'"),
        (["--max-seconds", "0"], "above 0"),
    ],
)
def test_a_page_that_cannot_be_served_is_one_sentence(
    wrong: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert cli.main(["app", *(port if word == "taken" else word for word in wrong)]) == 2
    err = capfd.readouterr().err
    assert_one_sentence(err)
    assert said in err


@pytest.mark.parametrize("tracker", ["nonsense", "me/unknown-detector", "./no-such-folder"])
def test_unknown_tracker(
    tracker: str, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["track", str(clip), "--tracker", tracker, "--out", f"{tmp_path}/a.mp4"]
    assert cli.main(arguments) == 2
    assert_one_sentence(capfd.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_broken_installation_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lacking = "libxcb.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({lacking!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.setattr(commands, "doctor", lambda options: importlib.import_module("cv2"))
    assert cli.main(["doctor"]) == 2
    said = capfd.readouterr().err
    assert_one_sentence(said)
    assert "libxcb.so.1" in said and "stvg doctor" in said
    assert "no libxcb.so.1 on" in (doctor._problem("cv2") or "")


@pytest.mark.parametrize("wrong", [["--level", "impossible"], ["--n", "0"], ["--seed", "-1"]])
def test_bad_evaluation_request(
    wrong: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", "sprites", *wrong, "--json", str(tmp_path / "a.json")]) == 2
    assert_one_sentence(capfd.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_missing_extra_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def needs_extra(options: object) -> int:
        require_package("no_such_package_here", "yolo")
        return 0

    monkeypatch.setattr(commands, "doctor", needs_extra)
    assert cli.main(["doctor"]) == 2
    said = capfd.readouterr().err
    assert_one_sentence(said)
    assert "pip install 'stvg-r1-hub[yolo]'" in said


@pytest.mark.parametrize(
    ("record", "origin"),
    [
        (None, "stvg-r1-hub"),
        ({"url": "file:///a%20b", "dir_info": {}}, "file:///a%20b"),
        ({"url": "file:///a", "dir_info": {"editable": True}}, "-e file:///a"),
        (
            {"url": "https://host/x", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            "git+https://host/x",
        ),
    ],
)
def test_reinstalling_is_from_where_it_came(
    record: dict[str, object] | None,
    origin: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    metadata = tmp_path / "stvg_r1_hub-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stvg-r1-hub\nVersion: 0.1.0\n")
    if record is not None:
        (metadata / "direct_url.json").write_text(json.dumps(record))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(examples, "FOLDER", tmp_path)
    assert cli.main(["demo", "--out", str(tmp_path / "out")]) == 2
    said = capfd.readouterr().err
    assert_one_sentence(said)
    assert said.endswith(f"pip install --force-reinstall --no-deps {origin}\n")


def test_bad_outputs_are_found_before_the_work(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    bad = [
        ["--out", str(file / "a.mp4")],
        ["--out", str(tmp_path / "a.avi")],
        ["--out", str(tmp_path)],
        ["--out", str(clip)],
        ["--json", str(file / "a.json")],
        ["--json", str(clip)],
        ["--json", f"{tmp_path}/a.mp4", "--out", f"{tmp_path}/a.mp4"],
        ["--plot", f"{tmp_path}/a.png", "--keyframes", f"{tmp_path}/a.png"],
        ["--plot", str(tmp_path / "a.mp4")],
    ]
    for arguments in bad:
        # A model that does not exist: reaching it would be another message.
        code = cli.main(["ground", str(clip), "a dog", "--model", "tinyy", *arguments])
        said = capfd.readouterr().err
        assert code == 2 and "model" not in said, said
        assert_one_sentence(said)
    assert list(tmp_path.iterdir()) == [file]
    assert cli.main(["demo", "--out", str(file)]) == 2
    assert_one_sentence(capfd.readouterr().err)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert cli.main(["track", str(clip), "--json", str(tmp_path / "a.json")]) == 2
    assert_one_sentence(capfd.readouterr().err)


@pytest.mark.parametrize(
    ("module", "name"), [(commands, "doctor"), (parser, "_parser")], ids=["at work", "at the start"]
)
def test_interrupt_is_130(
    module: ModuleType,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, name, interrupted)
    assert cli.main(["doctor"]) == 130
    assert_one_sentence(capfd.readouterr().err)


def test_no_traceback_in_a_real_process(tmp_path: Path) -> None:
    result = stvg("ground", "missing.mp4", "a dog", "--json", "-", cwd=tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    assert_one_sentence(result.stderr)
    assert stvg("no-such-command").returncode == 2
    assert stvg("--version").stdout.startswith("stvg ")


def test_doctor_reports(capfd: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["doctor"])
    said = capfd.readouterr().out
    for word in ("torch", "transformers", "FFmpeg", "libx264", "Hub cache", "COCO detector", "off"):
        assert word in said
    missing = [line for line in said.splitlines() if "missing" in line and "pip install" in line]
    assert code == (0 if "All is well." in said else 1)
    assert all("pip install" in line for line in missing)


@needs_tiny
@pytest.mark.parametrize(
    "model",
    [[], pytest.param(["--model", "tiny"], marks=pytest.mark.slow)],
    ids=["no model", "model"],
)
def test_ground_and_track_take_the_tracker_that_fits_the_footage(
    model: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.json"
    with Image.open(COCO.parents[1] / "backgrounds" / "astronaut.webp") as photograph:
        real = write_clip(tmp_path / "real.mp4", [np.asarray(photograph.convert("RGB"))] * 6)
    for clip, kind, choice in (
        (DEMO_CLIP, "frog", "Tracker: the model's own detector, because"),
        (real, "person", "Tracker: the bundled COCO detector, because"),
    ):
        assert cli.main(["track", str(clip), *model, "--json", str(out)]) == 0
        said = capfd.readouterr().err
        assert choice in said and said.count("Tracker:") == 1
        found = {track["class"] for track in json.loads(out.read_text(encoding="utf-8"))["tracks"]}
        assert kind in found
        assert cli.main(["ground", str(clip), f"the {kind}", *model]) == 0
        said = capfd.readouterr().err
        assert choice in said and said.count("Tracker:") == 1


@needs_tiny
def test_track_refuses_a_model_that_is_not_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.json"
    assert cli.main(["track", str(DEMO_CLIP), "--model", "tinyy", "--json", str(out)]) == 2
    assert_one_sentence(capfd.readouterr().err)
    assert not out.exists()


@needs_tiny
def test_classes_that_are_wanted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tracks.json"
    track = ["track", str(DEMO_CLIP), "--model", "tiny", "--json", str(out)]
    assert cli.main(track) == 0
    every = [t["class"] for t in json.loads(out.read_text())["tracks"]]
    name = every[0]
    assert cli.main([*track, "--classes", name]) == 0
    assert [t["class"] for t in json.loads(out.read_text())["tracks"]] == [name] * every.count(name)
    assert cli.main([*track, "--tracker", "coco", "--classes", "cra"]) == 2
    said = capfd.readouterr().err
    assert "knows no class 'cra'" in said and said.count("Traceback") == 0
    ground = ["ground", str(DEMO_CLIP), "the dog jumping", "--json", str(out), "--classes"]
    assert cli.main([*ground, ",".join(every)]) == 0
    assert json.loads(out.read_text())["found"]
    assert cli.main([*ground, "guitar"]) == 0
    assert not json.loads(out.read_text())["found"], "nothing else has a number"


@needs_coco
@pytest.mark.parametrize("model", [[], ["--model", "tiny"]], ids=["no model", "model"])
def test_tracking_nothing_says_what_else_there_is(
    model: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gray = write_clip(tmp_path / "gray.mp4", [np.full((64, 96, 3), 128, np.uint8)] * 5)
    assert cli.main(["track", str(gray), *model, "--query", "a fish"]) == 0
    said = capfd.readouterr()
    assert said.out == "0 objects\n" and "No object was found" in said.err
    assert "--query is not used" in said.err
    assert "--tracker open with --query" in said.err


@needs_coco
@pytest.mark.slow
def test_track_prints_only_json(clip: Path) -> None:
    result = stvg("track", clip, "--json", "-")
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    assert {"fps", "width", "height", "tracks"} <= values.keys()
    assert (values["width"], values["height"]) == (96, 64)
    assert "Traceback" not in result.stderr


def test_folder_of_pictures_is_tracked_at_the_given_rate(tmp_path: Path) -> None:
    folder, tracks, again = tmp_path / "in", tmp_path / "t.json", tmp_path / "again.json"
    folder.mkdir()
    for i in range(4):
        imageio.imwrite(folder / f"{i}.png", picture(i))
    record = {"id": 3, "frames": [0, 3], "boxes": [[0, 0, 9, 9]] * 2}
    tracks.write_text(json.dumps({"fps": 5, "width": 96, "height": 64, "tracks": [record]}))
    arguments = ["track", str(folder), "--tracker", str(tracks), "--json", str(again)]
    assert cli.main(arguments) == 2
    assert cli.main([*arguments, "--fps", "5"]) == 0
    values = json.loads(again.read_text())
    assert values["fps"] == pytest.approx(5) and values["tracks"][0]["id"] == 3


@needs_coco
def test_track_writes_video_and_json(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out, tracks = tmp_path / "out.mp4", tmp_path / "tracks.json"
    assert cli.main(["track", str(clip), "--out", str(out), "--json", str(tracks)]) == 0
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 20
    again = tmp_path / "again.json"
    # The clip is piped in.
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(clip.read_bytes())))
    assert cli.main(["track", "-", "--tracker", str(tracks), "--json", str(again)]) == 0
    assert json.loads(again.read_text())["tracks"] == json.loads(tracks.read_text())["tracks"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.json", "out.mp4", "tracks.json"]


@needs_tiny
@pytest.mark.parametrize(
    ("style", "n_frames", "is_boxed", "is_sharp", "has_trail"),
    [
        (["trails"], 20, True, True, True),
        (["blur"], 20, True, False, False),
        (["moment", "plain"], 12, False, True, False),
    ],
)
def test_an_answer_is_drawn_as_asked(
    style: list[str], n_frames: int, is_boxed: bool, is_sharp: bool, has_trail: bool, tmp_path: Path
) -> None:
    """A dog passes before a grey board: what is coloured is drawn."""
    board = np.kron(np.indices((16, 24)).sum(0) % 2, np.ones((8, 8))) * 200 + 20
    frames = [np.repeat(board[..., None], 3, 2).astype(np.uint8)] * 20
    clip, out = write_clip(tmp_path / "board.mp4", frames, fps=10), tmp_path / "answer.mp4"
    boxes = [[8 + 10 * i, 24, 40 + 10 * i, 72] for i in range(12)]
    dog = {"id": 3, "class": "dog", "frames": list(range(4, 16)), "boxes": boxes}
    tracks = tmp_path / "tracks.json"
    tracks.write_text(json.dumps({"fps": 10, "width": 192, "height": 128, "tracks": [dog]}))
    asked = ["ground", str(clip), "the dog", "--tracker", str(tracks), "--out", str(out)]
    assert cli.main([*asked, *(word for name in style for word in ("--style", name))]) == 0
    drawn = list(imageio.imiter(out))
    last = drawn[11 if "moment" in style else 15].astype(int)
    left, top, _, bottom = boxes[-1]
    coloured = np.ptp(last, axis=2) > 60
    side = coloured[top + 9 : bottom - 9, left - 1 : left + 2].mean()
    way = coloured[bottom - 2 : bottom + 3, 60 : left - 3].any(0).mean()
    detail = np.abs(np.diff(last[:60, :80, 0])).mean()
    seen = (side > 0.8, detail > 15, way > 0.8)
    assert len(drawn) == n_frames and seen == (is_boxed, is_sharp, has_trail)


@needs_tiny
@pytest.mark.slow
def test_demo_finds_the_objects(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--out", str(tmp_path / "demo")]) == 0
    said = capfd.readouterr().out
    names = {p.name for p in (tmp_path / "demo").iterdir()}
    for label, example in commands.DEMOS.items():
        values = json.loads((tmp_path / "demo" / f"{label}-result.json").read_text("utf-8"))
        ends = ["keyframes.png", "timeline.png", "result.json"]
        # What has no answer is not drawn.
        ours = {f"{label}-{end}" for end in [*ends, *["overlay.mp4"] * values["found"]]}
        assert {name for name in names if name.startswith(label)} == ours
        if example == "demo":
            assert values["found"] and values["boxes"]
            truth = json.loads((DEMO_CLIP.parent / "demo.json").read_text(encoding="utf-8"))
            assert abs(values["start_seconds"] - truth["true_start_seconds"]) <= 0.5
            assert abs(values["end_seconds"] - truth["true_end_seconds"]) <= 0.5
    for name in names:
        assert name in said


@needs_tiny
@pytest.mark.slow
def test_ground_prints_only_json_and_writes_one_file_a_query(tmp_path: Path) -> None:
    result = stvg(
        "ground", DEMO_CLIP, "the dog jumping", "the red car", "--json", "-", "--out",
        tmp_path / "o.mp4",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    assert [v["query"] for v in values] == ["the dog jumping", "the red car"]
    # There is no car: nothing is drawn, and that is said; what is true of both is said once.
    assert [v["found"] for v in values] == [True, False]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o-1.mp4"]
    assert '"the red car" was not found, so' in result.stderr
    (tracker,) = [w for w in values[0]["warnings"] if w.startswith("Tracker:")]
    assert tracker in values[1]["warnings"] and result.stderr.count(tracker) == 1
    (reason,) = [w for w in values[1]["warnings"] if w != tracker]
    assert f'"the red car": {reason}\n' in result.stderr


@needs_tiny
@pytest.mark.slow
def test_masks_of_a_segmenter_by_folder(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = tiny_sam2.save_checkpoint(tmp_path / "sam2")
    out = tmp_path / "r.json"
    asked = ["ground", str(DEMO_CLIP), "the dog jumping", "--masks", "--json", str(out)]
    assert cli.main([*asked, "--segmenter", str(model)]) == 0
    values = json.loads(out.read_text(encoding="utf-8"))
    assert values["found"] and len(values["masks"]) == len(values["boxes"])
    assert any(mask and mask["size"] == [336, 336] for mask in values["masks"])
    out.unlink()
    capfd.readouterr()
    assert cli.main([*asked, "--segmenter", str(tmp_path / "none")]) == 2
    assert_one_sentence(capfd.readouterr().err.splitlines(keepends=True)[-1])
    assert not out.exists()
    tracks = ["track", str(clip), "--tracker", "paper-coco", "--json", str(out)]
    assert cli.main([*tracks, "--segmenter", str(model)]) == 0
    assert "bundled COCO detector on every 15th frame" in capfd.readouterr().err


@needs_tiny
def test_an_answer_outlives_a_drawing_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stopped(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stvg_r1_hub.result.GroundingResult.save_video", stopped)
    out, values = tmp_path / "a.mp4", tmp_path / "a.json"
    words = ["ground", str(DEMO_CLIP), "the dog", "--out", str(out), "--json", str(values)]
    assert cli.main(words) == 130
    said = capfd.readouterr()
    assert said.out.startswith('"the dog": object ') and said.err.endswith("stvg: stopped.\n")
    assert json.loads(values.read_text())["found"] and [*tmp_path.iterdir()] == [values]


@needs_tiny
@pytest.mark.slow
def test_nothing_to_find_is_a_result(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    gray = [np.full((64, 96, 3), 128, np.uint8)] * 20
    video = write_clip(tmp_path / "gray.mp4", gray)
    out, values = tmp_path / "o.mp4", tmp_path / "r.json"
    arguments = ["ground", str(video), "the dog", "--out", str(out), "--json", str(values)]
    assert cli.main(arguments) == 0
    result = json.loads(values.read_text(encoding="utf-8"))
    assert result["found"] is False and result["warnings"] and not out.exists()
    said = capfd.readouterr()
    assert "not found" in said.out and f"so {out} is not written.\n" in said.err
    out.write_bytes(b"an older answer")
    assert cli.main(arguments) == 0
    assert "the file of this name is older" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        (["grund", "a.mp4", "a dog"], "did you mean ground?"),
        (["ground", "a.mp4", "a dog", "--modle", "tiny"], "did you mean --model?"),
        (["ground", "a.mp4", "a dog", "--quantization", "4bits"], "did you mean 4bit?"),
        (["eval", "sprits"], "did you mean sprites?"),
        (["--hepl"], "did you mean --help?"),
        (["track", "a.mp4", "--zzzzz"], "unrecognized arguments: --zzzzz\n"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(
    words: list[str], guess: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert guess in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "find what a query describes"),
        (["ground", "CLIP", "a", "dog"], 0, 'one of several words stands in quotes: "a dog"'),
        (["ground", "CLIP", "a dog", "--prompt-id", "zero-shoot"], 2, "did you mean 'zero-shot'?"),
        (["ground", "CLIP", "a dog", "--time-only"], 0, "has not learned to tell a time alone"),
    ],
    ids=["nothing", "no quotes", "prompt", "time"],
)
def test_a_newcomer_is_told_what_to_do(
    words: list[str], code: int, said: str, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([str(clip) if word == "CLIP" else word for word in words]) == code
    assert said in capfd.readouterr().err


def test_help_shows_examples(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["ground", "--help"])
    assert "stvg ground clip.mp4" in capfd.readouterr().out


def test_a_time_has_no_masks(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ground", str(clip), "a dog", "--time-only", "--masks"]) == 2
    assert "--time-only and --masks" in capfd.readouterr().err


@needs_tiny
def test_time_alone_and_another_prompt(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = cli.main(
        ["ground", str(clip), "a dog", "--time-only", "--prompt-id", "stvg-r1-multi", "--json", "-"]
    )
    shown = capfd.readouterr()
    assert code == 0 and json.loads(shown.out)["boxes"] == []
    assert "The prompt 'stvg-r1-multi' is used" in shown.err
