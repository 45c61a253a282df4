"""Annotations and real clips to training samples, with the bundled detector and tracker."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import AnnotationError, OutputError
from stvg_r1_hub.geometry import box_iou
from stvg_r1_hub.sprites.clips import (
    clip_scene,
    frame_times,
    true_tracks,
    true_tube,
    write_clip,
)
from stvg_r1_hub.tracking import load_tracks, save_tracks
from stvg_r1_hub.video import open_video
from stvg_r1_hub.vlm.resizing import model_frames
from tests.evaluation.layouts import hcstvg, vidstg, write_json
from tests.tiny_detectors import save_grounding_dino
from train import prepare
from train.data import preparer
from train.data.samples import PreparedSamples, read_frames, write_frames

MODEL = ("--model", "tiny")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "clips").mkdir()
    made = [clip_scene("easy", 21, i) for i in range(3)]
    for i, scene in enumerate(made):
        write_clip(scene, folder / "clips" / f"{i}_clip.mp4")
        save_tracks(true_tracks(scene), folder / f"{i}_clip.json")
    for name in ("beyond", "empty_corner", "broken"):
        save_tracks(true_tracks(made[0]), folder / f"{name}.json")
    return folder / "clips", made


@pytest.fixture
def annotated(scenes, tmp_path):
    """An HC-STVG file with three good clips, a missing, a broken and a hopeless one."""
    videos, listed = scenes
    records = hcstvg(listed)
    good = records["0_clip.mp4"]
    (videos / "broken.mp4").write_bytes(b"no video at all")
    shutil.copy(videos / "0_clip.mp4", videos / "beyond.mp4")
    shutil.copy(videos / "0_clip.mp4", videos / "empty_corner.mp4")
    shutil.copy(videos / "0_clip.mp4", videos / "other_size.mp4")
    records["missing.mp4"] = records["broken.mp4"] = good
    frames = good["img_num"] + len(good["bbox"])
    records["beyond.mp4"] = {**good, "st_frame": good["img_num"], "img_num": frames}
    records["1_clip.mp4"]["img_num"] += 9  # only a doubt: the boxes are in the video
    records["other_size.mp4"] = {**good, "img_size": [336, 448]}
    records["empty_corner.mp4"] = {**good, "bbox": [[0, 0, 2, 2]] * len(good["bbox"])}
    return write_json(tmp_path / "train.json", records), videos


def arguments(annotations, videos, out, *options, dataset="hcstvg", detect=False):
    """Of the command line; tracks are ready unless the detector shall find them."""
    # HC-STVG's sentences are about persons, which these clips have none of.
    tracks = ("--classes", "all") if detect else ("--tracks", videos.parent)
    return ["--dataset", dataset, "--annotations", annotations, "--videos", videos,
            "--out", out, *MODEL, *tracks, *options]  # fmt: skip


def run(*given, **options):
    return prepare.main([*map(str, arguments(*given, **options))])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_from_annotations_to_samples(annotated, scenes, tmp_path, capsys, caplog):
    out = tmp_path / "out"
    assert run(*annotated, out, "--mirror") == 0
    assert "3 usable, 3 set aside, 2 failed" in capsys.readouterr().err
    failed = {line["samples"][0]: line["reason"] for line in lines(out / "failed.jsonl")}
    assert "There is no video" in failed["missing.mp4"]
    assert "broken.mp4" in failed["broken.mp4"]
    aside = {line["sample_id"]: line["reason"] for line in lines(out / "set_aside.jsonl")}
    assert "follows the annotated object" in aside["empty_corner.mp4"]
    # All but one of its boxes are after the end of the video, so no track can follow them.
    assert "follows the annotated object" in aside["beyond.mp4"]
    assert "448x336 pixels but its video has 336x336" in aside["other_size.mp4"]
    assert "Sample 1_clip.mp4 is annotated for" in caplog.text
    assert not list((out / "videos").glob(".*"))

    samples = PreparedSamples(out)
    assert [s["sample_id"] for s in samples.records] == [f"{i}_clip.mp4" for i in range(3)]
    for i, scene in enumerate(scenes[1]):
        sample = samples[i]
        assert sample.truth.time_range == scene.answer_range
        assert sample.query == scene.query.lower()
        assert sample.truth.object_ids == (scene.target_id,)
    same_as_the_pipeline(samples[0], annotated[1] / "0_clip.mp4")


@pytest.mark.slow
def test_the_models_own_detector_finds_the_objects(scenes, tmp_path):
    records = hcstvg(scenes[1][:1])
    path = write_json(tmp_path / "one.json", records)
    assert run(path, scenes[0], tmp_path / "out", detect=True) == 0
    truth = PreparedSamples(tmp_path / "out")[0].truth
    track = truth.tracks.get(truth.object_ids[0])
    overlaps = [
        float(box_iou(np.reshape(box, (1, 4)), track.box_at(frame).reshape(1, 4))[0, 0])
        for frame, box in truth.boxes.items()
    ]
    assert np.mean(overlaps) > 0.7
    # "auto" may be another tracker on another machine.
    made = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert (made["tracker"], made["classes"]) == ("detector or coco", "all")


def test_persons_are_the_objects_of_hcstvg(scenes, tmp_path, capsys):
    path, out = write_json(tmp_path / "one.json", hcstvg(scenes[1][:1])), tmp_path / "out"
    given = arguments(path, scenes[0], out, detect=True)
    options = [option for option in given if option not in ("--classes", "all")]
    assert prepare.main([*map(str, options)]) in (0, 2)
    assert "knows no class 'person'" in capsys.readouterr().err, "the tiny model's own detector"
    assert json.loads((out / "prepare.json").read_text())["classes"] == "person"
    (tracks,) = out.glob("videos/*/tracks.json")
    assert {track.class_name for track in load_tracks(tracks).tracks} <= {"person"}
    assert prepare.main([*map(str, given), "--tracker", "coco"]) == 2
    assert "begun with classes = person, now it is all" in capsys.readouterr().err
    ready = arguments(path, scenes[0], tmp_path / "b", "--classes", "person")
    assert prepare.main([*map(str, ready)]) == 2
    assert "--classes person with --tracks" in capsys.readouterr().err


def test_a_tracker_that_looks_for_words_gets_the_sentences(scenes, tmp_path, capsys):
    folder = save_grounding_dino(tmp_path / "dino")
    path = write_json(tmp_path / "one.json", hcstvg(scenes[1][:1]))
    out = tmp_path / "out"
    code = run(path, scenes[0], out, "--tracker", str(folder), detect=True)
    # Random weights find something, but hardly the annotated object.
    assert "0 failed" in capsys.readouterr().err and code in (0, 2)
    (record,) = (out / "videos").glob("*/tracks.json")
    assert load_tracks(record).object_ids


def same_as_the_pipeline(sample, video):
    """A checkpoint sees in training what it sees when it is asked."""
    tracks = video.parent.parent / "0_clip.json"
    pipeline = STVGPipeline.from_pretrained("tiny", device="cpu", tracker=tracks)
    with open_video(video) as source:
        frames, tracks = pipeline.read(source)
    marked = pipeline.mark(frames, tracks)
    assert np.array_equal(sample.frames, model_frames(marked.frames))
    assert sample.sample_fps == frames.sample_fps
    plain = model_frames(frames)
    # Unmarked parts of the flipped clip are those of the clip; the numbers are not mirrored.
    flipped = np.abs(sample.mirrored_frames[:, :, ::-1].astype(int) - plain).max(axis=-1)
    assert 0.5 < (flipped <= 3).mean() < 0.999
    assert not np.array_equal(sample.mirrored_frames[:, :, ::-1], sample.frames)


def test_a_second_run_goes_on_where_the_first_stopped(annotated, tmp_path):
    out = tmp_path / "out"
    assert run(*annotated, out) == 0
    before = {path: path.stat().st_mtime_ns for path in (out / "videos").rglob("*.png")}
    gone = sorted((out / "videos").iterdir())[1]
    shutil.rmtree(gone)
    (out / "videos" / f".{gone.name}.partial").mkdir()
    os.remove(out / "samples.jsonl")
    with pytest.raises(AnnotationError, match="to its end first"):
        PreparedSamples(out)
    assert run(*annotated, out) == 0
    after = {path: path.stat().st_mtime_ns for path in (out / "videos").rglob("*.png")}
    assert after.keys() == before.keys()
    redone = {path.parent for path in before if after[path] != before[path]}
    assert redone == {gone}
    assert len(PreparedSamples(out)) == 3


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("a bug in the tracker\nmore"), 0, "2 usable, 0 set aside, 1 failed"),
        (OutputError("Cannot write it"), 2, "Cannot write it"),
        (OSError("a bad sector"), 0, "2 usable, 0 set aside, 1 failed"),
        (KeyboardInterrupt(), 130, "the same command goes on"),
    ],
    ids=["crash", "disk full", "unreadable", "interrupt"],
)
def test_one_bad_clip_and_a_bad_disk(error, code, said, scenes, tmp_path, capsys, monkeypatch):
    path, out = write_json(tmp_path / "three.json", hcstvg(scenes[1])), tmp_path / "out"
    written = preparer.write_frames

    def failing(target, frames):
        if "1_clip" in str(target):
            raise error
        written(target, frames)

    monkeypatch.setattr(preparer, "write_frames", failing)
    assert run(path, scenes[0], out) == code
    assert said in capsys.readouterr().err
    if code == 0:
        (line,) = lines(out / "failed.jsonl")
        assert line["reason"].endswith("Error: " + str(error).split("\n")[0])
    monkeypatch.undo()
    assert run(path, scenes[0], out, "--retry-failed") == 0
    assert len(PreparedSamples(out)) == 3 and not list((out / "videos").glob(".*"))


def test_other_settings_need_another_folder(annotated, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    # Ready tracks need no tracker, which may be a download.
    monkeypatch.delattr(prepare, "load_tracker")
    assert run(*annotated, out) == 0
    assert run(*annotated, out, "--match", "official") == 2
    assert "was begun with match = mean-iou, now it is official" in capsys.readouterr().err
    assert len(PreparedSamples(out)) == 3
    assert run(*annotated, tmp_path / "other", "--match", "official") == 0
    # Without a minimum IoU, a box in the corner belongs to whatever touches it, or to nothing.
    ids = [line["object_ids"] for line in lines(tmp_path / "other" / "samples.jsonl")[:3]]
    assert ids == [line["object_ids"] for line in lines(out / "samples.jsonl")]


def test_the_official_way_has_one_name(annotated, scenes, tmp_path, capsys):
    given = arguments(*annotated, tmp_path / "a")
    official = [option for option in given if option not in MODEL]  # without one: official settings
    assert prepare.main([*map(str, official), "--official"]) == 0
    made = json.loads((tmp_path / "a" / "prepare.json").read_text())
    assert (made["match"], made["first_frame_number"], made["classes"]) == ("official", 0, "all")
    assert STVGConfig.load(tmp_path / "a") == STVGConfig()
    for extra, message in (
        (("--match", "mean-iou"), "--official means --match official, got mean-iou"),
        (("--first-frame", "1"), "--official means --first-frame 0, got 1"),
        (("--tracker", "coco"), "--official means --tracker paper, got coco"),
        (MODEL, "tiny has sampling = .* instead of"),
    ):
        assert prepare.main([*map(str, official), "--official", *extra]) == 2
        assert re.search(message, capsys.readouterr().err)


def test_damaged_samples_are_made_anew(annotated, tmp_path, caplog):
    out = tmp_path / "out"
    assert run(*annotated, out, "--mirror") == 0
    folders = {path.parent.name: path.parent for path in out.glob("videos/*/frames.png")}
    first, second, third, *others = sorted(folders.values())
    cut(first / "frames.png")
    cut(second / "mirrored.png")
    cut(third / "tracks.json")
    before = {path: path.stat().st_mtime_ns for folder in others for path in folder.iterdir()}
    assert run(*annotated, out, "--mirror", "--retry-failed") == 0
    assert caplog.text.count("is made anew") == 3
    samples = PreparedSamples(out)
    assert [samples[i].frames.shape[-1] for i in range(len(samples))] == [3, 3, 3]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.slow
def test_two_processes_share_the_videos(annotated, tmp_path):
    """Killed after the first finished clip, and started again."""
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone",
        "-m", "train.prepare", *map(str, arguments(*annotated, out, "--mirror")),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if list((out / "videos").glob("[0-9]*/record.json")):
            for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                one.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    assert process.wait() == -signal.SIGKILL and not (out / "samples.jsonl").exists()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("videos/[0-9]*/*.png")}
    subprocess.run(command, cwd=ROOT, check=True, timeout=600)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert not list((out / "videos").glob(".*")), "nothing half-written stays"
    assert len(PreparedSamples(out)) == 3
    assert len(lines(out / "failed.jsonl")) == 2


def test_vidstg_and_ready_tracks(scenes, tmp_path):
    videos, listed = scenes
    first = vidstg(listed[:1])
    path = write_json(tmp_path / "vidstg.json", first)
    assert run(path, videos, tmp_path / "out", dataset="vidstg") == 0
    (record,) = lines(tmp_path / "out" / "samples.jsonl")
    assert record["object_ids"] == [listed[0].target_id]
    stored = load_tracks(tmp_path / "out" / "videos" / record["folder"] / "tracks.json")
    assert stored.object_ids == true_tracks(listed[0]).object_ids


@pytest.mark.parametrize("ready", [True, False], ids=["ready tracks", "own detector"])
def test_a_clip_that_shows_a_part_of_its_file(ready, scenes, tmp_path):
    """Everything counts from the first shown frame, as when the evaluation asks about it."""
    videos, listed = scenes
    scene, tube = listed[0], true_tube(listed[0])
    assert min(tube) >= 2, "the part must hold the event"
    values = vidstg([scene])
    values["videos"][0]["start_frame"] = 2
    path = write_json(tmp_path / "vidstg.json", values)
    assert run(path, videos, tmp_path / "out", dataset="vidstg", detect=not ready) == 0
    (record,) = lines(tmp_path / "out" / "samples.jsonl")
    whole = frame_times(scene)
    assert min(map(int, record["boxes"])) == min(tube) - 2
    assert record["start_seconds"] == pytest.approx(whole[min(tube)] - whole[2], abs=2e-3)
    assert record["duration_seconds"] == pytest.approx(scene.duration_seconds - whole[2], abs=2e-3)
    stored = load_tracks(tmp_path / "out" / "videos" / record["folder"] / "tracks.json")
    assert stored.frame_times == pytest.approx(np.array(whole[2:]) - whole[2], abs=1e-3)
    track = stored.get(record["object_ids"][0])
    for frame, box in tube.items():
        overlap = box_iou(box.reshape(1, 4), track.box_at(frame - 2).reshape(1, 4))
        assert overlap[0, 0] > (0.99 if ready else 0.5)


def test_wrong_annotations_are_set_aside_and_listed(scenes, tmp_path, capsys):
    """A record without its frame, a box that is none, and boxes after the end of the video."""
    records = hcstvg(scenes[1])
    del records["1_clip.mp4"]["st_frame"]
    records["0_clip.mp4"]["bbox"][1] = [-40, 0, -27, -47]
    late = records["2_clip.mp4"]
    missing = late["img_num"] - (late["st_frame"] - 1 + len(late["bbox"]))
    late["bbox"] += [late["bbox"][-1]] * (missing + 2)
    late["img_num"] += 2
    path, out = write_json(tmp_path / "x.json", records), tmp_path / "out"
    assert run(path, scenes[0], out, "--strict") == 2
    assert "0_clip.mp4: frame" in capsys.readouterr().err
    assert not out.exists()
    for _ in range(2):  # A second run lists the same.
        assert run(path, scenes[0], out) == 0
        said = capsys.readouterr().err
        assert "set aside: records 1 of 3, boxes of the others 1." in said
        assert "2 usable, 1 set aside, 0 failed, 3 boxes set aside" in said
        aside = {(line["sample_id"], line["n_boxes"]) for line in lines(out / "set_aside.jsonl")}
        assert aside == {("0_clip.mp4", 1), ("1_clip.mp4", 0), ("2_clip.mp4", 2)}
    usable = {line["sample_id"]: line for line in lines(out / "samples.jsonl")}
    first = records["0_clip.mp4"]["st_frame"] - 1
    assert str(first + 1) not in usable["0_clip.mp4"]["boxes"]
    assert max(map(int, usable["2_clip.mp4"]["boxes"])) == late["img_num"] - 3
    assert len(PreparedSamples(out)) == 2


def test_a_clip_that_another_machine_wrote_elsewhere_is_named(tmp_path):
    work = preparer.Work("000000-clip", ())
    (tmp_path / "failed").mkdir()
    with pytest.raises(OutputError, match=r"000000-clip.record\.json is missing; .* one disk"):
        prepare.finish(tmp_path, [work])
    assert not (tmp_path / "samples.jsonl").exists()


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (" The Dog runs. ", "the dog runs"),
        ("a.. ", "a."),
        ("walks .", "walks "),
        ("Why?", "why?"),
        (".", ""),
    ],
)
def test_a_sentence_is_asked_as_in_training(sentence, expected):
    assert preparer.normalize_query(sentence) == expected


def test_frames_come_back_as_they_were(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    write_frames(tmp_path / "f.png", frames)
    assert np.array_equal(read_frames(tmp_path / "f.png", 3), frames)
    with pytest.raises(AnnotationError, match="damaged"):
        read_frames(tmp_path / "f.png", 4)
    with pytest.raises(AnnotationError, match="missing"):
        read_frames(tmp_path / "g.png", 3)
    with pytest.raises(OutputError, match="disk full"):
        write_frames(tmp_path / "no" / "folder.png", frames)


def test_every_option_says_what_it_is() -> None:
    assert not [a.dest for a in prepare._parser()._actions if not a.help]
