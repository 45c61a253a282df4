import random

import pytest

from stvg_r1_hub.evaluation.metrics import temporal_iou, tube_iou


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
