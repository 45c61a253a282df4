"""Annotations and real clips to training samples, with the bundled detector and tracker."""

import json
import os
import shutil

import numpy as np
import pytest

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.geometry import box_iou
from stvg_r1_hub.tracking import load_tracks
from stvg_r1_hub.video import open_video
from tests.evaluation import layouts
from tests.train.runs import start
from train import prepare
from train.samples import PreparedSamples, read_frames, write_frames

MODEL = ("--model", "tiny")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return folder, layouts.write_videos(folder, 3)


@pytest.fixture
def annotated(scenes, tmp_path):
    """An HC-STVG file with three good clips, a missing, a broken and a hopeless one."""
    videos, listed = scenes
    records = layouts.hcstvg(listed)
    good = records["0_clip.mp4"]
    (videos / "broken.mp4").write_bytes(b"no video at all")
    shutil.copy(videos / "0_clip.mp4", videos / "beyond.mp4")
    shutil.copy(videos / "0_clip.mp4", videos / "empty_corner.mp4")
    records["missing.mp4"] = records["broken.mp4"] = good
    frames = good["img_num"] + len(good["bbox"])
    records["beyond.mp4"] = {**good, "st_frame": good["img_num"], "img_num": frames}
    records["empty_corner.mp4"] = {**good, "bbox": [[0, 0, 2, 2]] * len(good["bbox"])}
    return layouts.write_json(tmp_path / "train.json", records), videos


def run(annotations, videos, out, *options, dataset="hcstvg"):
    arguments = ["--dataset", dataset, "--annotations", annotations, "--videos", videos,
                 "--out", out, *MODEL, *options]  # fmt: skip
    return prepare.main([*map(str, arguments)])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_from_annotations_to_samples(annotated, scenes, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(*annotated, out, "--mirror") == 0
    assert "3 usable, 2 set aside, 2 failed" in capsys.readouterr().err
    failed = {line["samples"][0]: line["reason"] for line in lines(out / "failed.jsonl")}
    assert "There is no video" in failed["missing.mp4"]
    assert "broken.mp4" in failed["broken.mp4"]
    aside = {line["sample_id"]: line["reason"] for line in lines(out / "set_aside.jsonl")}
    assert "follows the annotated object" in aside["empty_corner.mp4"]
    assert "but the video has frames 0.." in aside["beyond.mp4"]
    assert not list((out / "videos").glob(".*"))

    samples = PreparedSamples(out)
    assert [s["sample_id"] for s in samples.records] == [f"{i}_clip.mp4" for i in range(3)]
    for i, scene in enumerate(scenes[1]):
        sample = samples[i]
        event = scene.answer_event
        assert sample.truth.time_range == (event.start_seconds, event.end_seconds)
        assert sample.query == scene.query.lower()
        track = sample.truth.tracks.get(sample.truth.object_ids[0])
        overlaps = [
            float(box_iou(np.reshape(box, (1, 4)), track.box_at(frame).reshape(1, 4))[0, 0])
            for frame, box in sample.truth.boxes.items()
            if track.box_at(frame) is not None
        ]
        assert np.mean(overlaps) > 0.7
    same_as_the_pipeline(samples[0], annotated[1] / "0_clip.mp4")


def same_as_the_pipeline(sample, video):
    """A checkpoint sees in training what it sees when it is asked."""
    pipeline = STVGPipeline.from_pretrained("tiny", device="cpu")
    with open_video(video) as source:
        frames, tracks = pipeline.read(source)
    marked = pipeline.mark(frames, tracks)
    size = (frames.model_height, frames.model_width)
    seen = pipeline.vlm._resized(marked.frames.pixels, size).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(sample.frames, seen)
    assert sample.sample_fps == frames.sample_fps
    plain = pipeline.vlm._resized(frames.pixels, size).permute(0, 2, 3, 1).numpy()
    # Unmarked parts of the flipped clip are those of the clip; the numbers are not mirrored.
    flipped = np.abs(sample.mirrored_frames[:, :, ::-1].astype(int) - plain).max(axis=-1)
    assert 0.5 < (flipped <= 3).mean() < 0.999
    assert not np.array_equal(sample.mirrored_frames[:, :, ::-1], sample.frames)


@pytest.mark.slow
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


@pytest.mark.slow
def test_other_settings_need_another_folder(annotated, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(*annotated, out) == 0
    assert run(*annotated, out, "--match", "official") == 2
    assert "was begun with match = mean-iou, now it is official" in capsys.readouterr().err
    assert len(PreparedSamples(out)) == 3
    assert run(*annotated, tmp_path / "other", "--match", "official") == 0
    # Without a minimum IoU, a box in the corner belongs to whatever touches it, or to nothing.
    ids = [line["object_ids"] for line in lines(tmp_path / "other" / "samples.jsonl")[:3]]
    assert ids == [line["object_ids"] for line in lines(out / "samples.jsonl")]


@pytest.mark.slow
def test_two_processes_share_the_videos(annotated, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    annotations, videos = annotated
    process = start(
        "train.prepare", "--dataset", "hcstvg", "--annotations", annotations, "--videos", videos,
        "--out", tmp_path / "out", *MODEL, launcher=launcher,
    )  # fmt: skip
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    assert len(PreparedSamples(tmp_path / "out")) == 3
    assert len(lines(tmp_path / "out" / "failed.jsonl")) == 2


@pytest.mark.slow
def test_vidstg_and_ready_tracks(scenes, tmp_path):
    videos, listed = scenes
    first = layouts.vidstg(listed[:1])
    path = layouts.write_json(tmp_path / "vidstg.json", first)
    tracks = tmp_path / "tracks"
    tracks.mkdir()
    from stvg_r1_hub.evaluation.sprites.clips import true_tracks
    from stvg_r1_hub.tracking import save_tracks

    save_tracks(true_tracks(listed[0]), tracks / "0_clip.json")
    assert run(path, videos, tmp_path / "out", "--tracks", tracks, dataset="vidstg") == 0
    (record,) = lines(tmp_path / "out" / "samples.jsonl")
    assert record["object_ids"] == [listed[0].target_id]
    stored = load_tracks(tmp_path / "out" / "videos" / record["folder"] / "tracks.json")
    assert stored.object_ids == true_tracks(listed[0]).object_ids


def test_a_record_that_contradicts_itself_is_named(scenes, tmp_path, capsys):
    records = layouts.hcstvg(scenes[1])
    del records["1_clip.mp4"]["st_frame"]
    path = layouts.write_json(tmp_path / "x.json", records)
    assert run(path, scenes[0], tmp_path / "out") == 2
    assert "1_clip.mp4" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_frames_come_back_as_they_were(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    write_frames(tmp_path / "f.png", frames)
    assert np.array_equal(read_frames(tmp_path / "f.png", 3), frames)
    with pytest.raises(AnnotationError, match="damaged"):
        read_frames(tmp_path / "f.png", 4)
    with pytest.raises(AnnotationError, match="missing"):
        read_frames(tmp_path / "g.png", 3)
