"""Readers of annotation files: what is right comes out right, what is wrong is named."""

import json

import numpy as np
import pytest

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.hcstvg import read_hcstvg
from stvg_r1_hub.evaluation.benchmarks.vidstg import read_vidstg
from stvg_r1_hub.evaluation.sprites.clips import SIDE, clip_scene, true_tube
from tests.evaluation.layouts import hcstvg, vidstg, write_json

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
        assert sample.start_seconds == scene.answer_event.start_seconds
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
