"""Readers of annotation files: what is right comes out right, what is wrong is named."""

import json

import numpy as np
import pytest
from PIL import Image

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.catalogue import BENCHMARKS, read_benchmark
from stvg_r1_hub.evaluation.benchmarks.hcstvg import read_hcstvg
from stvg_r1_hub.evaluation.benchmarks.mevis import read_mevis, save_submission
from stvg_r1_hub.evaluation.benchmarks.sprites import read_sprites
from stvg_r1_hub.evaluation.benchmarks.stalign import read_stalign
from stvg_r1_hub.evaluation.benchmarks.temporal import read_charades, read_tvgbench
from stvg_r1_hub.evaluation.benchmarks.vidstg import read_vidstg
from stvg_r1_hub.evaluation.sprites.clips import SIDE, clip_scene, true_tube
from stvg_r1_hub.geometry import mask_area
from tests.evaluation.layouts import (
    charades_json,
    charades_lines,
    hcstvg,
    mevis,
    stalign,
    tvgbench,
    vidstg,
    write_json,
)

SCENES = [clip_scene("easy", 21, i) for i in range(3)]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("base", [0, 1])
def test_hcstvg(tmp_path, version, base):
    values = hcstvg(SCENES, version=version, first_frame_number=base)
    path = write_json(tmp_path / "val.json", values)
    samples = read_hcstvg(path, tmp_path, first_frame_number=base)
    assert [s.sample_id for s in samples] == list(values)
    for sample, scene in zip(samples, SCENES, strict=True):
        tube = true_tube(scene)
        assert sample.query == scene.query
        assert sample.frame_indices.tolist() == list(tube)
        assert np.allclose(sample.boxes, list(tube.values()), atol=0.011)
        assert sample.start_seconds == scene.answer_range[0]
        assert (sample.width, sample.height, sample.frame_base) == (SIDE, SIDE, base)


def test_videos_are_found_in_sub_folders_and_with_another_suffix(tmp_path):
    values = {"5_clip.mkv": hcstvg(SCENES)["0_clip.mp4"]}
    (tmp_path / "videos/3").mkdir(parents=True)
    video = tmp_path / "videos/3/5_clip.mp4"
    video.write_bytes(b"x")
    path = write_json(tmp_path / "val.json", values)
    assert read_hcstvg(path, tmp_path / "videos")[0].video == video
    assert read_hcstvg(path, tmp_path)[0].video == tmp_path / "5_clip.mkv"


def test_vidstg(tmp_path):
    path = write_json(tmp_path / "val.json", vidstg(SCENES))
    samples = read_vidstg(path, tmp_path)
    assert [s.qtype for s in samples] == ["declarative", "interrogative", "declarative"]
    assert [s.sample_id for s in samples] == ["100", "101", "102"]
    for sample, scene in zip(samples, SCENES, strict=True):
        tube = true_tube(scene)
        assert sample.frame_indices.tolist() == list(tube)
        assert sample.start_seconds == pytest.approx(min(tube) / scene.fps)
        assert sample.end_seconds == pytest.approx((max(tube) + 1) / scene.fps)
    assert samples[1].clip_seconds[0] == pytest.approx(2 / SCENES[1].fps)
    assert [s.sample_id for s in read_vidstg(path, tmp_path, qtype="interrogative")] == ["101"]


def broken(values, record, key, value):
    values[record] = {**values[record], key: value}
    return values


FIRST = "0_clip.mp4"
WRONG_HCSTVG = [
    ("bbox", [], "at least one entry"),
    ("bbox", [[1, 2, 0, 4]], "positive size"),
    ("bbox", [[1, 2, "3", 4]], "positive size"),
    ("bbox", [[9000, 2, 3, 4]], "wholly outside"),
    ("st_frame", 0, "first_frame_number"),
    ("st_frame", 10**6, "img_num"),
    ("st_frame", 1.5, "whole number"),
    ("st_time", None, "st_time = None"),
    ("st_time", float("nan"), "finite"),
    ("ed_time", 0.0, "time range"),
    ("English", "  ", "no text"),
    ("img_size", [5], "img_size"),
]


@pytest.mark.parametrize(("key", "value", "said"), WRONG_HCSTVG)
def test_a_wrong_hcstvg_record_is_named(tmp_path, key, value, said):
    path = write_json(tmp_path / "val.json", broken(hcstvg(SCENES), FIRST, key, value))
    with pytest.raises(AnnotationError) as raised:
        read_hcstvg(path, tmp_path)
    assert FIRST in str(raised.value) and said in str(raised.value)


def test_a_key_that_occurs_twice_is_refused(tmp_path):
    one = json.dumps(hcstvg(SCENES)[FIRST])
    path = tmp_path / "val.json"
    path.write_text(f'{{"a.mp4": {one}, "a.mp4": {one}}}')
    with pytest.raises(AnnotationError, match=r"'a.mp4' twice"):
        read_hcstvg(path, tmp_path)


@pytest.mark.parametrize(
    ("read", "site"), [(read_hcstvg, "github.com/tzhhhh123"), (read_vidstg, "Guaranteer")]
)
def test_a_missing_file_says_where_to_get_it(tmp_path, read, site):
    with pytest.raises(AnnotationError, match=site):
        read(tmp_path / "none.json", tmp_path)
    for text in ("{", "[]", "{}"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(AnnotationError, match=r"bad\.json"):
            read(tmp_path / "bad.json", tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("qtype", "rhetorical", "rhetorical"),
        ("tube_end_frame", 1, "tube"),
        ("fps", 0, "positive"),
        ("target_id", 77, "no trajectory"),
        ("caption", "", "no text"),
        ("video_id", None, "video_id"),
    ],
)
def test_a_wrong_vidstg_record_is_named(tmp_path, key, value, said):
    values = vidstg(SCENES)
    values["videos"][1][key] = value
    path = write_json(tmp_path / "val.json", values)
    with pytest.raises(AnnotationError, match=r"videos\[1\]") as raised:
        read_vidstg(path, tmp_path)
    assert said in str(raised.value)


def test_two_vidstg_sentences_with_one_id_are_refused(tmp_path):
    values = vidstg(SCENES)
    values["videos"][1]["video_id"] = 100
    with pytest.raises(AnnotationError, match="two records with the id '100'"):
        read_vidstg(write_json(tmp_path / "val.json", values), tmp_path)


def test_stalign(tmp_path):
    path = write_json(tmp_path / "stvg.json", stalign(SCENES))
    for sample, scene in zip(read_stalign(path, tmp_path), SCENES, strict=True):
        tube = true_tube(scene)
        assert sample.query == scene.query
        assert sample.frame_indices.tolist() == list(tube)
        # Without the videos any rate does: these samples cannot be asked.
        assert sample.end_seconds * sample.fps == pytest.approx(max(tube) + 1)


def test_stalign_takes_its_rate_from_the_video(tmp_path):
    from stvg_r1_hub.evaluation.sprites.clips import write_clip

    write_clip(SCENES[0], tmp_path / "0_clip.mp4")
    sample = read_stalign(write_json(tmp_path / "s.json", stalign(SCENES[:1])), tmp_path)[0]
    assert sample.fps == pytest.approx(SCENES[0].fps)
    assert sample.start_seconds == pytest.approx(SCENES[0].answer_range[0], abs=0.05)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time_token": {"<s>": 9, "<e>": 2}}, "inside"),
        ({"time_token": {"<s>": 9}}, "<e> = None"),
        ({"spatial_token": {}}, "<bboxes>"),
        ({"spatial_token": {"<bboxes>": {}}}, "no box"),
        ({"split": []}, "split"),
    ],
)
def test_a_wrong_stalign_record_is_named(tmp_path, change, said):
    values = stalign(SCENES)
    values[1]["meta"] |= change
    with pytest.raises(AnnotationError, match="record 1") as raised:
        read_stalign(write_json(tmp_path / "stvg.json", values), tmp_path)
    assert said in str(raised.value)


def test_charades_in_both_forms(tmp_path):
    (tmp_path / "test.txt").write_text(charades_lines(SCENES) + "\n")
    lines = read_charades(tmp_path / "test.txt", tmp_path)
    records = read_charades(write_json(tmp_path / "t.json", charades_json(SCENES)), tmp_path)
    for one, other, scene in zip(lines, records, SCENES, strict=True):
        assert (one.start_seconds, one.end_seconds) == scene.answer_range
        assert (other.start_seconds, other.end_seconds) == scene.answer_range
        assert one.query == scene.query + "." and other.query == scene.query
        assert one.video == other.video and not one.has_boxes


@pytest.mark.parametrize("line", ["AO8RW 0.0 6.9", "AO8RW 0.0##a", "AO8RW x 6.9##a", "A 5 2##a"])
def test_a_wrong_charades_line_is_named(tmp_path, line):
    (tmp_path / "test.txt").write_text(f"{charades_lines(SCENES)}{line}\n")
    with pytest.raises(AnnotationError, match=r"line 4|A:4"):
        read_charades(tmp_path / "test.txt", tmp_path)


def test_tvgbench(tmp_path):
    path = write_json(tmp_path / "tvgbench.json", tvgbench(SCENES))
    samples = read_tvgbench(path, tmp_path)
    for sample, scene in zip(samples, SCENES, strict=True):
        assert (sample.start_seconds, sample.end_seconds) == scene.answer_range
    assert samples[1].clip_seconds == (0.25, SCENES[1].duration_seconds)
    assert samples[0].clip_seconds is None
    values = tvgbench(SCENES)
    values[2]["answer"] = "from 3 to 5"
    with pytest.raises(AnnotationError, match=r"item 2.*'from 3 to 5'"):
        read_tvgbench(write_json(path, values), tmp_path)


def test_mevis(tmp_path):
    split, _ = mevis(tmp_path, SCENES[:1])
    one, everything = read_mevis(split, split / "JPEGImages")
    assert (one.sample_id, everything.sample_id) == ("vid000_0", "vid000_1")
    assert one.query == SCENES[0].query and one.n_frames == len(one.masks)
    areas = [[mask_area(mask) for mask in sample.masks] for sample in (one, everything)]
    assert all(a <= b for a, b in zip(*areas, strict=True)) and areas[0] < areas[1]
    assert read_mevis(split, split, with_masks=False)[0].masks is None

    save_submission(one, {1: one.masks[1]}, tmp_path / "sub")
    written = sorted((tmp_path / "sub/vid000/0").iterdir())
    assert [path.name for path in written[:2]] == ["00000.png", "00001.png"]
    assert len(written) == one.n_frames
    first, second = (np.asarray(Image.open(path)) for path in written[:2])
    assert first.max() == 0 and set(np.unique(second)) == {0, 255}
    assert (second > 0).sum() == areas[0][1]

    masks = json.loads((split / "mask_dict.json").read_text())
    masks[next(iter(masks))].pop()
    write_json(split / "mask_dict.json", masks)
    with pytest.raises(AnnotationError, match=r"vid000.*masks of annotation"):
        read_mevis(split, split)
    (split / "mask_dict.json").unlink()
    with pytest.raises(AnnotationError, match="CC BY-NC-SA"):
        read_mevis(split, split)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_says_where_to_get_it(tmp_path, name):
    with pytest.raises(AnnotationError, match="https://"):
        read_benchmark(name, tmp_path / "none.json", tmp_path)
    with pytest.raises(AnnotationError, match="https://"):
        read_benchmark(name, tmp_path / "none.json", tmp_path / "nowhere")


def test_sprites_with_and_without_an_answer(tmp_path):
    samples = read_sprites("medium", 3, 30, tmp_path)
    assert len({sample.sample_id for sample in samples}) == 30
    assert {sample.answerable for sample in samples} == {True, False}
    for sample in samples:
        assert sample.answerable == sample.has_boxes
        assert {"objects", "fps"} <= sample.groups.keys()
        assert all(isinstance(value, str) for value in sample.groups.values())
