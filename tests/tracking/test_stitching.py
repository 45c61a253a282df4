"""Joining pieces, cutting at crossings, smoothing, doubles, appearance and cuts of the film."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from stvg_r1_hub.tracking.appearance import (
    APPEARANCE_SIZE,
    appearance_of,
    cut_patches,
    find_cuts,
    shrink,
    thumbnail,
)
from stvg_r1_hub.tracking.finishing import _local_line, drop_false, smooth
from stvg_r1_hub.tracking.stitching import Tracklet, join, split_at_crossings, stitch

STEP = 0.1


def piece(
    frames: range, left: float, speed: float = 20.0, *, appearance: int = 0, size: float = 40.0
) -> Tracklet:
    """A square at `left` in its first frame, moving right by `speed` pixels a second."""
    n = len(frames)
    times = np.array(frames) * STEP
    x = left + speed * (times - times[0])
    one_hot = np.zeros((n, APPEARANCE_SIZE), np.float32)
    one_hot[:, appearance] = 1
    return Tracklet(
        frames=np.array(frames, dtype=np.int64),
        times=times,
        boxes=np.stack([x, np.full(n, 100.0), x + size, np.full(n, 100.0 + size)], axis=1),
        scores=np.full(n, 0.9),
        class_ids=np.zeros(n, dtype=np.int64),
        appearance=one_hot,
        visible_fraction=np.ones(n),
    )


def stitched(*pieces: Tracklet) -> list[list[int]]:
    objects = stitch(pieces, width=640, height=480, step_seconds=STEP)
    return [[int(t.frames[0]), int(t.frames[-1])] for t in objects]


def test_a_gap_on_the_same_course_is_joined() -> None:
    assert stitched(piece(range(20), 100), piece(range(30, 50), 160)) == [[0, 49]]


def test_with_slow_detections_speed_is_known_before_a_gap_is_bridged() -> None:
    # Twice a second. One walks on unseen for two frames; another, alike, appears where the first
    # was seen last.
    walks = [(frame, 100 + 30 * frame) for frame in (0, 1, 4, 5, 6, 7)]
    stands = [(frame, 130) for frame in range(4, 10)]
    pieces = [
        replace(piece(range(frame, frame + 1), left), times=np.array([frame / 2]))
        for frame, left in walks + stands
    ]
    objects = stitch(pieces, width=640, height=480, step_seconds=0.5)
    assert [t.frames.tolist() for t in objects] == [[f for f, _ in w] for w in (walks, stands)]


@pytest.mark.parametrize(
    "second",
    [
        piece(range(30, 50), 400),  # elsewhere
        piece(range(30, 50), 160, appearance=3),  # looks different
        piece(range(30, 50), 160, size=90.0),  # another size
        piece(range(90, 110), 280),  # too late
    ],
)
def test_what_differs_is_not_joined(second: Tracklet) -> None:
    assert len(stitched(piece(range(20), 100), second)) == 2


def test_what_left_through_the_border_does_not_come_back() -> None:
    # Both pieces lie alike; only that the frame ends there tells them apart.
    pieces = [piece(range(20), 130, 0.0), piece(range(38, 58), 130, 0.0)]
    inside = stitch(pieces, width=640, height=480, step_seconds=STEP)
    at_border = stitch(pieces, width=170, height=480, step_seconds=STEP)
    assert (len(inside), len(at_border)) == (1, 2)


def test_the_best_of_two_continuations_wins() -> None:
    ends = [piece(range(20), 100, 0.0, appearance=0), piece(range(20), 180, 0.0, appearance=3)]
    starts = [
        piece(range(25, 45), 180, 0.0, appearance=3),
        piece(range(25, 45), 100, 0.0, appearance=0),
    ]
    objects = stitch([*ends, *starts], width=640, height=480, step_seconds=STEP)
    assert sorted(len(t) for t in objects) == [40, 40]
    assert all(len(set(t.boxes[:, 0].tolist())) == 1 for t in objects)


def test_overlapping_pieces_are_cut_in_the_middle() -> None:
    joined = join([piece(range(10), 100), piece(range(6, 20), 112)])
    assert joined.frames.tolist() == list(range(20))


def test_crossing_tracklets_are_cut_where_they_overlap_most() -> None:
    a, b = piece(range(40), 100, 40.0), piece(range(40), 256, -40.0)
    parts = split_at_crossings([a, b])
    assert len(parts) == 4
    assert sum(len(p) for p in parts) == 80
    middle = {int(p.frames[0]) for p in parts if p.frames[0] > 0}
    assert middle == {19} or middle == {20}
    assert split_at_crossings([]) == []


@pytest.mark.parametrize(
    ("classes", "looks_else", "objects"),
    [
        ([0] * 10 + [1] * 10, True, [[0, 9], [10, 19]]),  # a cut of the film that was missed
        ([0] * 10 + [1] * 10, False, [[0, 19]]),  # a bus, taken for a truck from there on
        ([0] * 10 + [1] * 3 + [0] * 7, True, [[0, 19]]),  # a doubt
        ([0, 1] * 10, True, [[0, 19]]),
        ([0] * 20, True, [[0, 19]]),
        ([0] * 6 + [1] * 7 + [2] * 7, True, [[0, 5], [6, 19]]),  # the second two look alike
    ],
)
def test_another_class_for_good_that_looks_else_is_another_object(
    classes: list[int], looks_else: bool, objects: list[list[int]]
) -> None:
    one = replace(piece(range(20), 100, 0.0), class_ids=np.array(classes))
    if looks_else:
        first = int(np.flatnonzero(np.diff(one.class_ids))[0] + 1) if len(set(classes)) > 1 else 10
        one.appearance[first:] = np.roll(one.appearance[first:], 3, axis=1)
    assert stitched(one) == objects


@pytest.mark.parametrize(("go_on", "n"), [(0, 2), (1, 3), (2, 3)])
def test_where_most_objects_go_on_a_class_is_a_doubt(go_on: int, n: int) -> None:
    one = replace(piece(range(20), 100, 0.0), class_ids=np.repeat([0, 1], 10))
    one.appearance[10:] = np.roll(one.appearance[10:], 3, axis=1)
    others = [piece(range(20), 250 + 100 * i, 0.0) for i in range(go_on)]
    assert len(stitched(one, *others)) == n


def test_doubles_are_dropped() -> None:
    a = piece(range(40), 100)
    twin = piece(range(5, 35), 112)
    kept = drop_false([a, twin, piece(range(40), 300)], min_score=0.5, n_detected_frames=40)
    assert [len(t) for t in kept] == [40, 40]


def test_smoothing_takes_noise_off_and_leaves_a_jump_alone() -> None:
    rng = np.random.default_rng(0)
    clean = piece(range(60), 100)
    noisy = Tracklet(**{**vars(clean), "boxes": clean.boxes + rng.normal(0, 3, (60, 4))})
    before = np.abs(noisy.boxes - clean.boxes).mean()
    assert np.abs(smooth(noisy).boxes - clean.boxes).mean() < 0.6 * before

    height = 50 * np.abs(np.sin(np.pi * clean.times / 0.6))
    jumping = Tracklet(**{**vars(clean), "boxes": clean.boxes - height[:, None] * [0, 1, 0, 1]})
    assert np.abs(smooth(jumping).boxes - jumping.boxes).mean() < 2.0


@pytest.mark.parametrize("width", [0.1, 0.3])
def test_all_local_lines_at_once_are_those_of_one_after_the_other(width: float) -> None:
    """Weighted least squares through the detections within four widths, gaps and all."""
    rng = np.random.default_rng(1)
    whole = piece(range(60), 100)
    noisy = Tracklet(
        **{
            **vars(whole),
            "boxes": whole.boxes + rng.normal(0, 3, (60, 4)),
            "scores": rng.uniform(0.3, 1, 60),
        }
    )
    kept = noisy.part(np.r_[0:20, 22:23, 40:60])  # one detection far from all others
    boxes, own = _local_line(kept, width)
    for i, time in enumerate(kept.times):
        near = (kept.times >= time - 4 * width) & (kept.times < time + 4 * width)
        t, near_boxes = kept.times[near] - time, kept.boxes[near]
        weights = kept.scores[near] * np.exp(-((t / width) ** 2) / 2)
        if near.sum() < 2:
            assert np.allclose(boxes[i], kept.boxes[i])
            continue
        line = [np.polyfit(t, near_boxes[:, k], 1, w=np.sqrt(weights))[1] for k in range(4)]
        assert np.allclose(boxes[i], line, atol=1e-4), i
    assert 0 < own < 1


@pytest.mark.parametrize(
    "size", [(720, 1280), (1280, 720), (480, 854), (301, 290), (240, 1000), (60, 40), (5, 3)]
)
def test_shrinking_is_nearly_opencvs_area_mean(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (size[0] // 16 + 2, size[1] // 16 + 2, 3), np.uint8)
    pixels = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR)
    frame = np.pad(pixels, ((3, 0), (5, 7), (0, 0)))
    crop = frame[3:, 5:-7]  # a crop is no array of its own
    for height, width in ((12, 16), (24, 12)):
        expected = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        apart = np.abs(shrink(crop, height, width).astype(int) - expected)
        assert apart.mean() < 3 and (apart.max() == 0 or max(size) > 100)


def test_looks_of_many_frames_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 100, 200, 3), np.uint8)
    boxes = [np.array([[5, 5, 60, 90]] * n, np.float32).reshape(-1, 4) + n for n in (2, 0, 3)]
    together = appearance_of(
        np.concatenate([cut_patches(*both) for both in zip(frames, boxes, strict=True)])
    )
    assert np.array_equal(
        together,
        np.concatenate([appearance_of(cut_patches(*b)) for b in zip(frames, boxes, strict=True)]),
    )


def test_looks_tell_colours_and_halves_apart() -> None:
    pixels = np.full((100, 200, 3), 128, np.uint8)
    pixels[20:80, 10:40] = (200, 20, 20)
    pixels[20:80, 60:90] = (200, 20, 20)
    pixels[20:50, 110:140], pixels[50:80, 110:140] = (200, 20, 20), (20, 20, 200)
    pixels[20:50, 160:190], pixels[50:80, 160:190] = (20, 20, 200), (200, 20, 20)
    boxes = np.array([[x, 20, x + 30, 80] for x in (10, 60, 110, 160)], np.float32)
    appearance = appearance_of(cut_patches(pixels, boxes))
    assert appearance.shape == (4, APPEARANCE_SIZE) and appearance.dtype == np.float32
    assert np.allclose(np.linalg.norm(appearance, axis=1), 1, atol=1e-5)
    alike = appearance @ appearance.T
    assert alike[0, 1] > 0.999
    assert alike[0, 2] < 0.9 and alike[2, 3] < 0.8
    nothing, outside = np.zeros((0, 4), np.float32), np.array([[-9, -9, 0.2, 0.2]], np.float32)
    assert appearance_of(cut_patches(pixels, nothing)).shape == (0, APPEARANCE_SIZE)
    assert np.isfinite(appearance_of(cut_patches(pixels, outside))).all()


def scene(shade: int, n: int, shift: int = 0) -> list[np.ndarray]:
    rows = np.arange(120)[:, None, None] + np.zeros((120, 160, 3))
    return [thumbnail(((rows + shade + shift * i) % 256).astype(np.uint8)) for i in range(n)]


def test_cuts_are_found_and_flashes_and_pans_are_not() -> None:
    assert find_cuts(np.array(scene(0, 10) + scene(130, 10))) == [10]
    assert find_cuts(np.array(scene(0, 10) + scene(130, 1) + scene(0, 10))) == []
    assert find_cuts(np.array(scene(0, 30, shift=15))) == []
    assert find_cuts(np.array(scene(0, 2))) == []
