"""TimeLens-Bench, QVHighlights, MeViS v2, V-STaR, AnyGroundBench: readers and their scores."""

import json

import numpy as np
import pytest

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.evaluation.benchmarks.anyground import read_anyground
from stvg_r1_hub.evaluation.benchmarks.catalogue import read_benchmark
from stvg_r1_hub.evaluation.benchmarks.mevis import read_mevis
from stvg_r1_hub.evaluation.benchmarks.temporal import (
    read_charades,
    read_qvhighlights,
    read_timelens,
)
from stvg_r1_hub.evaluation.benchmarks.vstar import read_vstar
from stvg_r1_hub.evaluation.metrics import temporal_set_iou
from stvg_r1_hub.evaluation.prediction import Prediction
from stvg_r1_hub.evaluation.protocols import PROTOCOLS, protocols_for, summarize
from stvg_r1_hub.evaluation.samples import AnnotatedSample
from stvg_r1_hub.geometry import encode_mask
from stvg_r1_hub.sprites.clips import SIDE, clip_scene, frame_times, true_tube, write_clip
from tests.evaluation import layouts
from tests.evaluation.layouts import write_json

SCENES = [clip_scene("easy", 21, i) for i in range(3)]


def set_aside(annotations):
    return {fault.record: fault.reason for fault in annotations.set_aside}


def test_timelens(tmp_path):
    path = write_json(tmp_path / "t.json", layouts.timelens(SCENES))
    samples = read_timelens(path, tmp_path).samples
    for i, (sample, scene) in enumerate(zip(samples, SCENES, strict=True)):
        assert (sample.sample_id, sample.query) == (f"{i}_clip:0", f"{scene.query}.")
        assert sample.all_ranges == (scene.answer_range,) and not sample.ranges


def test_two_charades_are_not_mixed(tmp_path):
    """The refined times and the old ones are figures of two benchmarks."""
    for values, read, name in (
        (layouts.timelens(SCENES), read_charades, "charades-timelens"),
        (layouts.charades_json(SCENES), read_timelens, "charades-sta"),
    ):
        with pytest.raises(AnnotationError, match=f"another layout.*{name}"):
            read(write_json(tmp_path / "c.json", values), tmp_path)
    old, new = layouts.charades_json(SCENES), layouts.timelens(SCENES[:1])
    mixed = write_json(tmp_path / "m.json", {**old, **new})
    annotations = read_charades(mixed, tmp_path)
    assert len(annotations.samples) == 2 and "do not mix" in set_aside(annotations)["0_clip"]


def test_two_versions_of_hcstvg_and_mevis_are_not_mixed(tmp_path):
    v1, v2 = (layouts.hcstvg(SCENES, version=version) for version in (1, 2))
    path = write_json(tmp_path / "v.json", v2)
    with pytest.raises(AnnotationError, match=r"of HC-STVG v2 .*name hcstvg-v2"):
        read_benchmark("hcstvg-v1", path, tmp_path)
    write_json(path, {**v2, "0_clip.mp4": v1["0_clip.mp4"]})
    annotations = read_benchmark("hcstvg-v2", path, tmp_path)[1]
    assert (
        len(annotations.samples) == 2 and "name hcstvg-v1" in set_aside(annotations)["0_clip.mp4"]
    )
    split, _ = layouts.mevis(tmp_path / "mevis", SCENES[:1])
    layouts.mevis_v2(split)
    of_v2 = read_mevis(split / "meta_expressions_v2.json", split)
    assert len(of_v2.samples) == 2 and "name mevis-v2" in set_aside(of_v2)["vid000_2"]


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([[1.0, 2.0], [3.0, 99.0]], None),
        ([[5.0, 6.0], [1.0, 2.0]], None),  # in any order
        ([[9.0, 9.5]], "starts at 9 s of a video of 6 s"),
        ([[1.0, 3.0], [2.0, 4.0]], "do not ascend apart"),
        ([[1.0]], "[start, end] is needed"),
        ([], "[start, end] is needed"),
        ([[2.0, 1.0]], "time range"),
        ("1-2", "[start, end] is needed"),
    ],
)
def test_several_ranges(tmp_path, spans, said):
    record = {"duration": 6, "queries": ["it jumps", "it jumps"], "spans": [[1, 2], spans]}
    annotations = read_timelens(write_json(tmp_path / "t.json", {"a": record}), tmp_path)
    if said is None:
        assert annotations.samples[1].ranges == tuple(tuple(span) for span in sorted(spans))
    else:
        assert said in set_aside(annotations)["a:1"]


def test_the_same_query_twice_is_two_samples(tmp_path):
    record = {"duration": 6, "queries": ["it jumps"] * 2, "spans": [[1, 2], [4, 5]]}
    samples = read_timelens(write_json(tmp_path / "t.json", {"a": record}), tmp_path).samples
    assert [s.sample_id for s in samples] == ["a:0", "a:1"]


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a/../../b"])
def test_a_video_id_that_leads_elsewhere_is_set_aside(tmp_path, name):
    good = layouts.timelens(SCENES[:1])
    path = write_json(tmp_path / "t.json", {**good, name: good["0_clip"]})
    annotations = read_timelens(path, tmp_path / "videos")
    assert len(annotations.samples) == 1
    assert "leads out of the folder" in set_aside(annotations)[name]
    split, _ = layouts.mevis(tmp_path / "mevis", SCENES[:1])
    meta = json.loads((split / "meta_expressions.json").read_text())
    meta["videos"][name] = meta["videos"]["vid000"]
    write_json(split / "meta_expressions.json", meta)
    assert len(read_mevis(split, split / "JPEGImages").samples) == 2, "nor is it submitted"


def test_qvhighlights(tmp_path):
    lines = layouts.qvhighlights_lines(SCENES)
    path = tmp_path / "val.jsonl"
    path.write_text(lines + '{"qid": 1, "query": "a", "vid": "b", "duration": 9}\n{"qid"\n')
    annotations = read_qvhighlights(path, tmp_path)
    two, one, _ = annotations.samples
    assert len(two.ranges) == 2 and one.all_ranges == (SCENES[1].answer_range,)
    assert two.all_ranges[0][0] == two.start_seconds and two.all_ranges[1][1] == two.end_seconds
    assert set(set_aside(annotations)) == {"line 4", "line 5"}


def test_of_several_ranges_all_seconds_count():
    assert temporal_set_iou([(0, 4)], [(0, 1), (3, 4)]) == pytest.approx(0.5)
    assert temporal_set_iou([(0, 1), (3, 4)], [(3, 4), (0, 1)]) == 1
    assert temporal_set_iou([], [(0, 1)]) == temporal_set_iou([(0, 1)], [(1, 2)]) == 0
    sample = AnnotatedSample("a", None, "it", 0.0, 4.0, ranges=((0.0, 1.0), (3.0, 4.0)))
    times = np.arange(40) / 10
    whole = Prediction(start_seconds=0.0, end_seconds=4.0, frame_times=times)
    both = Prediction(
        start_seconds=0.0, end_seconds=4.0, ranges=((0.0, 1.0), (3.0, 4.0)), frame_times=times
    )
    first = Prediction(start_seconds=0.0, end_seconds=1.0, frame_times=times)
    scores = [
        [
            protocol.score(sample, answer)["tiou"]
            for protocol in protocols_for("time", "qvhighlights")
        ]
        for answer in (whole, both, first, Prediction(frame_times=times))
    ]
    assert np.allclose(scores, [[0.5, 0.25], [1, 1], [0.5, 1], [0, 0]])


def test_mevis_v2_counts_whether_there_is_a_target(tmp_path):
    split, _ = layouts.mevis(tmp_path / "mevis", SCENES[:1])
    layouts.mevis_v2(split)
    one, _, nothing = read_mevis(split, split / "JPEGImages", version=2).samples
    assert not nothing.answerable and nothing.masks == (None,) * one.n_frames
    times = np.arange(one.n_frames) / 5
    filled = encode_mask(np.ones((SIDE, SIDE), bool))
    declined = Prediction(declined=True, frame_times=times)
    unusable = Prediction(frame_times=times)
    answered = Prediction(start_seconds=0.0, end_seconds=1.0, frame_times=times, masks={0: filled})
    strict, own = protocols_for("mask", "mevis-v2")
    answers = (declined, unusable, answered, Prediction())
    assert [own.score(nothing, a)["n_acc"] for a in answers] == [1, 1, 0, 0]
    assert [own.score(nothing, a)["j&f"] for a in answers[:2]] == [1, 1]
    assert [own.score(one, a)["t_acc"] for a in answers] == [0, 0, 1, 0]
    assert [strict.score(nothing, a)["none"] for a in answers] == [1, 0, 0, 0]
    assert [strict.score(nothing, a)["j&f"] for a in answers[:2]] == [1, 0]
    figures = summarize(own, [own.score(s, declined) for s in (one, nothing)])
    assert (figures["N-acc"], figures["T-acc"]) == (1, 0)


def exact(sample, scene, **more):
    """An answer that is right in every frame."""
    tube = true_tube(scene)
    start, end = scene.answer_range
    return Prediction(
        start_seconds=start, end_seconds=end, frame_times=frame_times(scene),
        frame_indices=np.array(list(tube)), boxes=np.array(list(tube.values()), float), **more,
    )  # fmt: skip


def test_v_star_asks_in_both_orders(tmp_path):
    path = write_json(tmp_path / "v.json", layouts.vstar(SCENES))
    samples = read_vstar(path, tmp_path).samples
    assert len({s.sample_id for s in samples}) == 4 * len(SCENES)
    when, where, where_2, when_2 = samples[:4]
    assert [s.qtype for s in samples[:4]] == ["when", "where", "where, chain 2", "when, chain 2"]
    assert when.all_ranges == (SCENES[0].answer_range,) and not when.has_boxes
    assert where.frame_indices.tolist() == list(layouts.seconds_of(SCENES[0]))
    assert "in each of these boxes" in when_2.query and len(when_2.query) < 2000
    own = PROTOCOLS["v-star"].score
    right = exact(where, SCENES[0])
    assert own(when, right) == {"tiou": 1} and own(when_2, right) == {"tiou 2": 1}
    assert own(where, right)["viou"] == own(where_2, right)["viou 2"] == pytest.approx(1, abs=0.01)
    assert own(where, right)["ap@0.9"] == 1
    # In chain 1 the time is given; in chain 2 it is answered.
    early = Prediction(
        start_seconds=0.0, end_seconds=0.01, frame_times=right.frame_times,
        frame_indices=right.frame_indices, boxes=right.boxes,
    )  # fmt: skip
    assert own(where, early)["viou"] > 0.9 and own(where_2, early)["viou 2"] < 0.6
    strict = PROTOCOLS["strict"].score(where, right)
    assert strict["gt_viou"] == pytest.approx(1, abs=0.01) and 0.4 < strict["viou"] <= 1
    broken = layouts.vstar(SCENES)
    broken[1]["bboxes"] *= 2
    broken[2]["timestamps"] = [99, 100]
    faults = set_aside(read_vstar(write_json(path, broken), tmp_path))
    assert "two boxes in one frame" in faults["record 1"] and "starts at 99" in faults["record 2"]


def test_anygroundbench_takes_size_and_rate_from_the_video(tmp_path):
    write_clip(SCENES[0], tmp_path / "0_clip.mp4")
    path = write_json(tmp_path / "st_test.json", layouts.anyground(SCENES))
    sample, missing, _ = read_anyground(path, tmp_path).samples
    truth = layouts.seconds_of(SCENES[0])
    assert sample.frame_indices.tolist() == list(truth)
    assert np.allclose(sample.boxes, list(truth.values()), atol=0.5)
    assert (missing.width, missing.fps) == (1000, 30), "it cannot be asked, and counts as 0"
    right = exact(sample, SCENES[0])
    strict, own = (p.score(sample, right) for p in protocols_for("tube", "anygroundbench"))
    assert own["tiou"] > 0.5 and own["viou"] == pytest.approx(own["tiou"], abs=0.03)
    assert strict["gt_viou"] > 0.97
    assert PROTOCOLS["anygroundbench"].score(sample, Prediction()) == {"tiou": 0, "viou": 0}
    values = layouts.anyground(SCENES)
    values["sprites_1"]["temporal_range"] = "1.0"
    values["sprites_2"]["fps1_timestamp_0_1000_st_demonstration"]["tubes"] = []
    faults = set_aside(read_anyground(write_json(path, values), tmp_path))
    assert "'start end' is needed" in faults["sprites_1"]
    assert "tubes must be a list" in faults["sprites_2"]


def test_what_is_annotated_after_the_end_of_the_video_is_noted():
    from stvg_r1_hub.structures import VideoInfo

    info = VideoInfo("a.mp4", 10, 10, np.arange(40) / 10, 4.0)
    assert AnnotatedSample("a", None, "it", 1.0, 4.5).check_video(info) == []
    (note,) = AnnotatedSample("a", None, "it", 1.0, 9.0).check_video(info)
    assert "until 9.00 s but its video ends at 4.00 s" in note
    with pytest.raises(AnnotationError, match="starts at 5"):
        AnnotatedSample("a", None, "it", 5.0, 9.0).check_video(info)
