import numpy as np
import pytest

from stvg_r1_hub.geometry import (
    box_area,
    box_iou,
    box_of_mask,
    decode_mask,
    encode_labels,
    encode_mask,
    frames_in_range,
    mask_area,
    mask_runs,
    paired_iou,
)


def masks():
    rng = np.random.default_rng(0)
    yield np.zeros((5, 7), dtype=bool)
    yield np.ones((5, 7), dtype=bool)
    yield np.ones((1, 1), dtype=bool)
    yield np.eye(40, dtype=bool)
    for density in (0.02, 0.5, 0.98):
        for shape in ((3, 200), (200, 3), (64, 80)):
            yield rng.random(shape) < density
    large = np.zeros((720, 1280), dtype=bool)
    large[100:600, 300:1100] = True
    yield large


def test_masks_survive_a_round_trip():
    for mask in masks():
        rle = encode_mask(mask)
        assert rle["size"] == list(mask.shape)
        assert isinstance(rle["counts"], str)
        assert np.array_equal(decode_mask(rle), mask)
        assert mask_area(rle) == mask.sum()
        runs = mask_runs(rle)
        assert runs.sum() == mask.size
        assert runs[1::2].sum() == mask.sum()


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (64, 80)])
@pytest.mark.parametrize("n_objects", [0, 1, 5])
def test_the_objects_of_a_label_map_are_encoded_as_each_alone(shape, n_objects):
    rng = np.random.default_rng(n_objects)
    for density in (0.0, 0.02, 0.5, 1.0):
        labels = rng.integers(1, n_objects + 1, shape) if n_objects else np.zeros(shape)
        labels = np.where(rng.random(shape) < density, labels, 0).astype(np.uint16)
        labels[:, shape[1] // 2 :] = 0 if density < 1 else n_objects
        found = encode_labels(labels, n_objects)
        assert len(found) == n_objects
        for number, seen in enumerate(found, start=1):
            box = box_of_mask(labels == number)
            assert (seen is None) == (box is None)
            if seen is not None:
                assert seen[0] == encode_mask(labels == number)
                assert np.array_equal(seen[1], box)


def test_masks_agree_with_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    for mask in masks():
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert encode_mask(mask)["counts"] == theirs["counts"].decode()
        assert np.array_equal(decode_mask(theirs), mask)
        assert np.array_equal(coco.decode(encode_mask(mask)).astype(bool), mask)


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [5, 7], "counts": ""},
        {"size": [5, 7], "counts": "5"},
        {"size": [9, 9], "counts": encode_mask(np.ones((5, 7)))["counts"]},
        {"size": [5, 7], "counts": "o"},
        {"size": [5, 7], "counts": "\u20ac"},
    ],
)
def test_broken_masks_are_refused(rle):
    with pytest.raises(ValueError):
        decode_mask(rle)


def test_empty_text_has_no_runs():
    assert mask_runs({"size": [0, 0], "counts": ""}).tolist() == []


def test_box_iou_by_hand():
    a = [[0, 0, 10, 10], [0, 0, 10, 5], [5, 5, 5, 5]]
    b = [[5, 0, 15, 10], [20, 20, 30, 30]]
    assert box_iou(a, b) == pytest.approx(np.array([[1 / 3, 0], [25 / 125, 0], [0, 0]]))
    assert paired_iou(a[:2], b) == pytest.approx([1 / 3, 0])
    assert box_iou(np.zeros((0, 4)), b).shape == (0, 2)


def test_box_iou_is_symmetric_and_bounded():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 100, (40, 4))
    boxes[:, 2:] += boxes[:, :2]
    iou = box_iou(boxes, boxes)
    assert np.allclose(iou, iou.T)
    assert np.allclose(np.diag(iou), 1)
    assert ((iou >= 0) & (iou <= 1)).all()
    assert np.allclose(paired_iou(boxes, boxes[::-1]), np.diag(iou[:, ::-1]))


def test_box_iou_agrees_with_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    xywh = rng.uniform(1, 50, (30, 4))
    xyxy = xywh.copy()
    xyxy[:, 2:] += xywh[:, :2]
    theirs = coco.iou(xywh, xywh, np.zeros(30))
    assert np.allclose(box_iou(xyxy, xyxy), theirs)


def test_inverted_box_has_no_area():
    assert box_area([[0, 0, 2, 3], [5, 5, 1, 1]]).tolist() == [6, 0]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 0.3, [0, 1, 2]),
        (0.1, 0.2, [1]),
        (0.05, 0.15, [1]),
        (0.2, 0.2, []),
        (0.3, 0.1, []),
        (5, 9, []),
        (-1, 9, [0, 1, 2, 3]),
    ],
)
def test_frames_in_range_is_half_open(start, end, expected):
    times = np.array([0.0, 0.1, 0.2, 0.3])
    assert list(frames_in_range(times, start, end)) == expected
