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
from stvg_r1_hub.evaluation.metrics import best_track
from stvg_r1_hub.evaluation.prediction import Prediction
from stvg_r1_hub.evaluation.protocols import protocols_for
from stvg_r1_hub.evaluation.results import digest_of
from stvg_r1_hub.geometry import mask_area
from stvg_r1_hub.sprites.clips import SIDE, clip_scene, true_tube
from stvg_r1_hub.structures import Tracks
from tests.builders import make_track
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
    samples = read_hcstvg(path, tmp_path, first_frame_number=base).samples
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
    assert read_hcstvg(path, tmp_path / "videos").samples[0].video == video
    assert read_hcstvg(path, tmp_path).samples[0].video == tmp_path / "5_clip.mkv"


def test_vidstg(tmp_path):
    path = write_json(tmp_path / "val.json", vidstg(SCENES))
    samples = read_vidstg(path, tmp_path).samples
    assert [s.qtype for s in samples] == ["declarative", "interrogative", "declarative"]
    assert [s.sample_id for s in samples] == ["100", "101", "102"]
    for sample, scene in zip(samples, SCENES, strict=True):
        tube = true_tube(scene)
        assert sample.frame_indices.tolist() == list(tube)
        assert sample.start_seconds == pytest.approx(min(tube) / scene.fps)
        assert sample.end_seconds == pytest.approx((max(tube) + 1) / scene.fps)
    assert samples[1].clip_seconds[0] == pytest.approx(2 / SCENES[1].fps)
    asked = read_vidstg(path, tmp_path, qtype="interrogative").samples
    assert [s.sample_id for s in asked] == ["101"]


def broken(values, record, key, value):
    values[record] = {**values[record], key: value}
    return values


FIRST = "0_clip.mp4"
WRONG_HCSTVG = [
    ("bbox", [], "at least one entry"),
    ("bbox", {}, "a list"),
    ("bbox", [[1, 2, 0, 4]], "positive size"),
    ("bbox", [[9000, 2, 3, 4]], "wholly outside"),
    ("st_frame", 0, "first_frame_number"),
    ("st_frame", 10**6, "not among frames"),
    ("st_frame", 1.5, "whole number"),
    ("img_num", 10**400, "finite"),
    ("img_num", 1e30, "whole number"),
    ("st_time", None, "st_time is None"),
    ("st_time", float("nan"), "finite"),
    ("ed_time", 0.0, "time range"),
    ("English", "  ", "no text"),
    ("img_size", [5], "img_size"),
]


@pytest.mark.parametrize(("key", "value", "said"), WRONG_HCSTVG)
def test_a_wrong_hcstvg_record_is_named(tmp_path, key, value, said):
    path = write_json(tmp_path / "val.json", broken(hcstvg(SCENES), FIRST, key, value))
    refused_or_set_aside(read_hcstvg, path, FIRST, said)


def refused_or_set_aside(read, path, record, said):
    """A strict reading names file, record and reason; another one lists the record alone."""
    with pytest.raises(AnnotationError) as raised:
        read(path, path.parent, strict=True)
    assert f"{path}, {record}" in str(raised.value) and said in str(raised.value)
    annotations = read(path, path.parent)
    (fault,) = annotations.set_aside
    assert record in fault.record and said in fault.reason and fault.n_boxes == 0
    assert annotations.n_records_set_aside == 1 and annotations.n_boxes_set_aside == 0
    assert record in "\n".join(annotations.warnings())
    return annotations


def test_a_key_that_occurs_twice_is_no_record_and_the_others_are(tmp_path):
    one = json.dumps(hcstvg(SCENES)[FIRST])
    path = tmp_path / "val.json"
    path.write_text(f'{{"a.mp4": {one}, "b.mp4": {one}, "a.mp4": {one}}}')
    kept = refused_or_set_aside(read_hcstvg, path, "a.mp4", "two values under one key")
    assert [sample.sample_id for sample in kept.samples] == ["b.mp4"]
    # Also a field of one record: which value is meant cannot be known.
    field = one.replace('"st_frame"', '"img_num": 9000, "st_frame"')
    path.write_text(f'{{"a.mp4": {field}, "b.mp4": {one}}}')
    refused_or_set_aside(read_hcstvg, path, "a.mp4", "two values under one key")


# As HC-STVG v2's val split has them, and worse.
NO_BOXES = [[-40, 0, -27, -47], [0, 0, 0, 0], [1, 2, 0, 4], [1, 2, "3", 4], None, [1, 2, 3],
            [9000, 2, 3, 4], [-9, 2, 3, 4], [1e308, 0, 1e308, 9], [10**400, 0, 9, 9],
            [1e20, 0, 1, 9]]  # fmt: skip


@pytest.mark.parametrize("box", [*NO_BOXES, [float("nan"), 0, 1, 9]])
def test_a_box_that_is_none_leaves_its_frame_without_one(tmp_path, box):
    values = hcstvg(SCENES)
    boxes = values[FIRST]["bbox"]
    whole = read_hcstvg(write_json(tmp_path / "whole.json", values), tmp_path).samples[0]
    for places in ([2], [0, 1], [len(boxes) - 1]):
        wrong = [box if i in places else right for i, right in enumerate(boxes)]
        path = write_json(tmp_path / "val.json", broken(hcstvg(SCENES), FIRST, "bbox", wrong))
        annotations = read_hcstvg(path, tmp_path)
        (fault,) = annotations.set_aside
        assert (fault.record, fault.n_boxes) == (FIRST, len(places))
        sample = annotations.samples[0]
        kept = [i for i in range(len(boxes)) if i not in places]
        assert sample.frame_indices.tolist() == whole.frame_indices[kept].tolist()
        assert np.array_equal(sample.boxes, whole.boxes[kept])
        assert sample.frame_range == whole.frame_range, "the tube is as long as annotated"
        with pytest.raises(
            AnnotationError, match=rf"{FIRST}: frame {whole.frame_range[0] + places[0]} "
        ):
            read_hcstvg(path, tmp_path, strict=True)
    assert digest_of(annotations.samples) != digest_of([whole, *annotations.samples[1:]])


def test_boxes_after_the_end_of_the_video_are_set_aside(tmp_path):
    values = hcstvg(SCENES)
    last = values[FIRST]["st_frame"] - 1 + len(values[FIRST]["bbox"]) - 1
    path = write_json(tmp_path / "val.json", broken(values, FIRST, "img_num", last - 1))
    annotations = read_hcstvg(path, tmp_path)
    assert [fault.n_boxes for fault in annotations.set_aside] == [2]
    assert annotations.samples[0].frame_range[1] == last - 1


@pytest.mark.slow
def test_a_hundred_thousand_boxes(tmp_path):
    """In one record; every step over boxes is one pass, so this takes a moment, not minutes."""
    n = 100_000
    boxes = [[10, 10, 20 + i % 7, 30] for i in range(n)]
    boxes[5] = [0, 0, -1, -1]
    record = {**hcstvg(SCENES)[FIRST], "bbox": boxes, "st_frame": 1, "img_num": n}
    record |= {"st_time": 0, "ed_time": n / 25}
    path = write_json(tmp_path / "val.json", {FIRST: record})
    annotations = read_hcstvg(path, tmp_path)
    assert annotations.n_boxes_set_aside == 1
    (sample,) = annotations.samples
    moved = make_track(1, range(n), [11, 10, 31, 40])
    times = np.arange(n) / 25
    tracks = Tracks(336, 336, times, (moved,))
    prediction = Prediction(
        text="<think></think><answer>Target ID: 1, Time range: 0.00 to 4000.00</answer>",
        start_seconds=0.0, end_seconds=4000.0, object_ids=(1,), frame_times=times, tracks=tracks,
        frame_indices=moved.frame_indices, boxes=moved.boxes.astype(np.float64),
    )  # fmt: skip
    scores = [protocol.score(sample, prediction) for protocol in protocols_for("tube")]
    assert all(0.5 < score["viou"] < 1 for score in scores)
    assert best_track(tracks, sample.frame_indices, sample.boxes) == 1


def test_a_file_of_another_layout_is_refused(tmp_path):
    for values in ({"a.mp4": {"bbox": []}, "b.mp4": {}}, charades_json(SCENES)):
        with pytest.raises(AnnotationError, match="another layout") as raised:
            read_hcstvg(write_json(tmp_path / "other.json", values), tmp_path)
        assert "other.json" in str(raised.value) and next(iter(values)) in str(raised.value)
    with pytest.raises(AnnotationError, match="videos must be a list"):
        read_vidstg(write_json(tmp_path / "other.json", hcstvg(SCENES)), tmp_path)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(AnnotationError, match=r"deep\.json"):
        read_hcstvg(tmp_path / "deep.json", tmp_path)


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
        ("video_path", "x" * 5000, "no name of a video"),
        ("tube_end_frame", 10**12, "tube"),
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
    kept = refused_or_set_aside(read_vidstg, path, "videos[1]", said)
    assert [sample.sample_id for sample in kept.samples] == ["100", "102"]


def test_of_two_vidstg_sentences_with_one_id_the_first_is_taken(tmp_path):
    values = vidstg(SCENES)
    values["videos"][1]["video_id"] = 100
    path = write_json(tmp_path / "val.json", values)
    kept = refused_or_set_aside(read_vidstg, path, "videos[1]", "two records with the id '100'")
    assert kept.samples[0].query == SCENES[0].query


def test_a_wrong_box_of_a_trajectory_is_set_aside(tmp_path):
    values = vidstg(SCENES)
    boxes = values["trajectories"]["0_clip"][str(SCENES[0].target_id)]
    first, second, *_ = map(str, sorted(map(int, boxes)))
    boxes[first], boxes[second] = {"bbox": [0, 0, -3, 5]}, "nothing"
    boxes |= {"x": {"bbox": [0, 0, 3, 5]}, "-1": {}, "9" * 5000: {}}
    annotations = read_vidstg(write_json(tmp_path / "val.json", values), tmp_path)
    assert (annotations.n_records_set_aside, annotations.n_boxes_set_aside) == (0, 2)
    sample = annotations.samples[0]
    assert sample.frame_range[0] == int(first) < int(second) < sample.frame_indices[0]


def test_stalign(tmp_path):
    path = write_json(tmp_path / "stvg.json", stalign(SCENES))
    for sample, scene in zip(read_stalign(path, tmp_path).samples, SCENES, strict=True):
        tube = true_tube(scene)
        assert sample.query == scene.query
        assert sample.frame_indices.tolist() == list(tube)
        # Without the videos any rate does: these samples cannot be asked.
        assert sample.end_seconds * sample.fps == pytest.approx(max(tube) + 1)


def test_stalign_takes_its_rate_from_the_video(tmp_path):
    from stvg_r1_hub.sprites.clips import write_clip

    write_clip(SCENES[0], tmp_path / "0_clip.mp4")
    sample = read_stalign(write_json(tmp_path / "s.json", stalign(SCENES[:1])), tmp_path).samples[0]
    assert sample.fps == pytest.approx(SCENES[0].fps)
    assert sample.start_seconds == pytest.approx(SCENES[0].answer_range[0], abs=0.05)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time_token": {"<s>": 9, "<e>": 2}}, "inside"),
        ({"time_token": {"<s>": 9}}, "<e> is None"),
        ({"fps": 0}, "positive"),
        ({"spatial_token": {}}, "<bboxes>"),
        ({"spatial_token": {"<bboxes>": {}}}, "no box"),
        ({"split": []}, "split"),
    ],
)
def test_a_wrong_stalign_record_is_named(tmp_path, change, said):
    values = stalign(SCENES)
    values[1]["meta"] |= change
    path = write_json(tmp_path / "stvg.json", values)
    refused_or_set_aside(read_stalign, path, "record 1", said)


def test_charades_in_both_forms(tmp_path):
    (tmp_path / "test.txt").write_text(charades_lines(SCENES) + "\n")
    lines = read_charades(tmp_path / "test.txt", tmp_path).samples
    path = write_json(tmp_path / "t.json", charades_json(SCENES))
    records = read_charades(path, tmp_path).samples
    for one, other, scene in zip(lines, records, SCENES, strict=True):
        assert (one.start_seconds, one.end_seconds) == scene.answer_range
        assert (other.start_seconds, other.end_seconds) == scene.answer_range
        assert one.query == scene.query + "." and other.query == scene.query
        assert one.video == other.video and not one.has_boxes


@pytest.mark.parametrize("line", ["AO8RW 0.0 6.9", "AO8RW 0.0##a", "AO8RW x 6.9##a", "A 5 2##a"])
def test_a_wrong_charades_line_is_named(tmp_path, line):
    (tmp_path / "test.txt").write_text(f"{charades_lines(SCENES)}{line}\n")
    kept = refused_or_set_aside(read_charades, tmp_path / "test.txt", "line 4", "")
    assert len(kept.samples) == len(SCENES)


@pytest.mark.parametrize(
    ("span", "said"),
    [([4.0, 3.0], "time range"), ([4.0, 4.0], "time range"), ([8.0, 9.0], "a video of 6.27 s"),
     ([1.0], "[start, end]"), (["a", 2], "finite"), ([-2.0, 3.0], "time range")],
)  # fmt: skip
def test_a_wrong_charades_range_sets_its_sentence_aside(tmp_path, span, said):
    """As Time-R1's train file has some: 4 of 12,408."""
    record = {"duration": 6.27, "timestamps": [[1.0, 2.0], span], "sentences": ["a b", "c d"]}
    path = write_json(tmp_path / "train.json", {"AAAAA": record, "BBBBB": {**record, "x": 1}})
    annotations = read_charades(path, tmp_path)
    assert [sample.sample_id for sample in annotations.samples] == ["AAAAA:0", "BBBBB:0"]
    assert [fault.record for fault in annotations.set_aside] == ["AAAAA:1", "BBBBB:1"]
    assert said in annotations.set_aside[0].reason
    with pytest.raises(AnnotationError, match=r"train\.json, AAAAA:1: "):
        read_charades(path, tmp_path, strict=True)


def test_tvgbench(tmp_path):
    path = write_json(tmp_path / "tvgbench.json", tvgbench(SCENES))
    samples = read_tvgbench(path, tmp_path).samples
    for sample, scene in zip(samples, SCENES, strict=True):
        assert (sample.start_seconds, sample.end_seconds) == scene.answer_range
    assert samples[1].clip_seconds == (0.25, SCENES[1].duration_seconds)
    assert samples[0].clip_seconds is None
    values = tvgbench(SCENES)
    values[2]["answer"] = "from 3 to 5"
    write_json(path, values)
    refused_or_set_aside(read_tvgbench, path, "item 2", "'from 3 to 5'")


def test_mevis(tmp_path):
    split, _ = mevis(tmp_path, SCENES[:1])
    one, everything = read_mevis(split, split / "JPEGImages").samples
    assert (one.sample_id, everything.sample_id) == ("vid000_0", "vid000_1")
    assert one.query == SCENES[0].query and one.n_frames == len(one.masks)
    areas = [[mask_area(mask) for mask in sample.masks] for sample in (one, everything)]
    assert all(a <= b for a, b in zip(*areas, strict=True)) and areas[0] < areas[1]
    assert read_mevis(split, split, with_masks=False).samples[0].masks is None

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
    with pytest.raises(AnnotationError, match=r"vid000_0.*masks of annotation"):
        read_mevis(split, split, strict=True)
    with pytest.raises(AnnotationError, match="another layout"):
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
