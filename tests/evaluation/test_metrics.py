import random

import numpy as np
import pytest

from stvg_r1_hub.evaluation.community import tubedetr_frames
from stvg_r1_hub.evaluation.mask_metrics import (
    boundary_accuracy,
    empty_mask,
    frame_statistics,
    intersection_area,
    region_similarity,
    score_masks,
)
from stvg_r1_hub.evaluation.metrics import (
    best_track,
    frame_ious,
    range_tube_iou,
    recall,
    temporal_iou,
    tube_iou,
)
from stvg_r1_hub.evaluation.official import hull_tiou, spatial_iou
from stvg_r1_hub.geometry import decode_mask, encode_mask, union_of_masks
from stvg_r1_hub.structures import Track, Tracks


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((1, 3), (1, 3), 1.0),
        ((0, 4), (1, 3), 0.5),
        ((0, 2), (1, 3), 1 / 3),
        ((0, 1), (1, 2), 0.0),
        ((0, 1), (5, 6), 0.0),
        ((3, 1), (1, 3), 0.0),
        ((2, 2), (2, 2), 0.0),
        ((2, 2), (1, 3), 0.0),
        ((0, float("inf")), (1, 3), 0.0),
        ((0, float("inf")), (1, float("inf")), 0.0),
        ((float("nan"), 2), (1, 3), 0.0),
        ((1e19, 1e30), (1e19, 1e30), 1.0),
    ],
)
def test_temporal_iou(a, b, expected):
    assert temporal_iou(a, b) == pytest.approx(expected)
    assert temporal_iou(b, a) == pytest.approx(expected)


def test_temporal_iou_stays_within_0_and_1():
    rng = random.Random(0)
    for _ in range(500):
        a, b = [tuple(rng.uniform(-5, 5) for _ in range(2)) for _ in range(2)]
        assert 0 <= temporal_iou(a, b) == temporal_iou(b, a) <= 1


BOX = (0, 0, 10, 10)


def tube(frames, box=BOX):
    return dict.fromkeys(frames, box)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        (tube(range(10)), tube(range(10)), 1.0),
        (tube(range(10)), tube(range(5, 15)), 5 / 15),
        (tube(range(10)), tube(range(10), (5, 0, 15, 10)), 1 / 3),
        (tube(range(0, 10)), tube(range(5, 15), (0, 0, 10, 5)), 0.5 * 5 / 15),
        (tube(range(3)), tube(range(7, 9)), 0.0),
        ({}, {}, 0.0),
        ({}, tube(range(3)), 0.0),
        # A frame of the range without a box counts in the union with IoU 0.
        ({**tube(range(8)), 8: None, 9: None}, tube(range(8)), 0.8),
        (tube(range(4)), {0: BOX, 1: None, 2: BOX, 3: BOX}, 0.75),
    ],
)
def test_tube_iou(predicted, truth, expected):
    assert tube_iou(predicted, truth) == pytest.approx(expected)
    assert tube_iou(truth, predicted) == pytest.approx(expected)


def test_arrays_and_mappings_give_the_same_tube_iou():
    rng = np.random.default_rng(0)
    for _ in range(50):
        first, true_first = (int(v) for v in rng.integers(0, 20, 2))
        stop, true_stop = first + int(rng.integers(1, 20)), true_first + int(rng.integers(1, 20))
        everywhere = {f: np.r_[c := rng.uniform(0, 9, 2), c + 5] for f in range(60) if f % 7}
        truth = {f: np.r_[c := rng.uniform(0, 9, 2), c + 5] for f in range(true_first, true_stop)}
        frames = np.array(list(truth))
        iou = frame_ious(
            np.array(list(everywhere)), list(everywhere.values()), frames, list(truth.values())
        )
        ours = range_tube_iou(iou, frames, (first, stop), (true_first, true_stop))
        predicted = {f: everywhere.get(f) for f in range(first, stop)}
        assert ours == pytest.approx(tube_iou(predicted, truth))


def test_frame_ious_without_predictions_are_0():
    frames = np.arange(3)
    boxes = [BOX] * 3
    assert frame_ious(np.zeros(0, int), np.zeros((0, 4)), frames, boxes).tolist() == [0, 0, 0]
    assert frame_ious(frames, boxes, np.zeros(0, int), np.zeros((0, 4))).tolist() == []


def track(object_id, frames, box):
    boxes = np.tile(np.float32(box), (len(frames), 1))
    return Track(object_id, "dog", 1.0, np.array(frames), boxes, np.zeros(len(frames), bool))


def test_the_best_track_is_the_one_of_the_highest_mean_over_the_true_frames():
    # Track 1 covers half of the box in all frames, track 2 all of it in one of four.
    two = track(1, range(4), (0, 0, 10, 10)), track(2, [2], (0, 0, 20, 10))
    tracks = Tracks(100, 100, np.arange(4) / 10, two)
    wide, elsewhere = (0, 0, 20, 10), (50, 50, 60, 60)
    assert best_track(tracks, np.arange(4), [wide] * 4) == 1
    assert best_track(tracks, np.arange(4), [wide] * 4, minimum_iou=0.51) is None
    assert best_track(tracks, np.array([2]), [wide]) == 2
    assert best_track(tracks, np.array([0]), [elsewhere], minimum_iou=0) is None
    assert best_track(tracks, np.zeros(0, int), np.zeros((0, 4)), minimum_iou=0) is None


def test_recall_at_the_threshold():
    assert recall([0.3, 0.5, 0.7], 0.5) == pytest.approx(1 / 3)
    assert recall([0.3, 0.5, 0.7], 0.5, strict=False) == pytest.approx(2 / 3)
    assert recall([], 0.5) == 0


def mask(rng, shape=(23, 31), density=0.5):
    return rng.random(shape) < density


def test_areas_of_runs_equal_those_of_pixels():
    rng = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.5, 1.0):
        a, b, c = (mask(rng, density=d) for d in (density, 0.5, 0.1))
        runs = [encode_mask(m) for m in (a, b, c)]
        assert intersection_area(*runs[:2]) == (a & b).sum()
        assert decode_mask(union_of_masks(runs)).tolist() == (a | b | c).tolist()


def test_masks_of_other_sizes_are_refused():
    a, b = empty_mask(4, 5), empty_mask(5, 4)
    pairs = (intersection_area, region_similarity, boundary_accuracy)
    for measure in (*pairs, lambda *masks: union_of_masks(masks)):
        with pytest.raises(ValueError, match="different sizes"):
            measure(a, b)
    with pytest.raises(ValueError, match="2 masks for 1"):
        score_masks([a], [a, a])


def test_decay_of_a_long_clip_looks_at_its_last_quarter():
    values = np.r_[np.ones(300), np.zeros(100)]
    mean, above, decay = frame_statistics(values)
    assert (mean, above, decay) == (0.75, 0.75, pytest.approx(1, abs=0.02))


def test_tubedetr_frames():
    assert tubedetr_frames(0, 10, 10, 5) == [0, 2, 4, 6, 8]
    assert tubedetr_frames(3, 9, 5, 5) == [3, 4, 5, 6, 7, 8]
    assert tubedetr_frames(0, 100, 5, 5, 4) == [0, 25, 50, 75]


def test_an_unknown_id_earns_official_score_but_not_ours():
    boxes = [BOX] * 5
    objects = {key: {1: BOX} for key in range(5)}
    score = spatial_iou((0, 4), (0, 4), 99, fps=1, first_frame=0, true_boxes=boxes, objects=objects)
    assert score == pytest.approx(1.0)
    with pytest.raises(ZeroDivisionError):
        hull_tiou((2, 2), (2, 2))
