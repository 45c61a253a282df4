import json
import subprocess
import sys
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from stvg_r1_hub.config import MarkerStyle
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.geometry import encode_mask
from stvg_r1_hub.marking import (
    box_center,
    draw_markers,
    draw_number,
    kept_by_size,
    mark_frames,
    marker_center,
    marker_font,
)
from stvg_r1_hub.structures import Tracks
from tests import builders
from tests.golden.__main__ import DATA

STYLE = MarkerStyle()
HEIGHT, WIDTH = 120, 200


def make_frames(indices=(0, 5, 9), height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (len(indices), height, width, 3), dtype=np.uint8)
    times = np.array(indices) / 10
    return builders.make_frames(pixels, indices=indices, times=times, model_size=(112, 196))


def make_track(object_id, boxes, masks=None):
    """`boxes`: native frame to xyxy."""
    return builders.make_track(object_id, boxes, list(boxes.values()), masks=masks)


def make_tracks(*tracks):
    return Tracks(WIDTH, HEIGHT, np.arange(10) / 10, tracks)


def changed_pixels(before, after):
    return np.argwhere((before != after).any(axis=-1))


def test_glyphs_are_the_published_strokes():
    ours = json.loads((resources.files("stvg_r1_hub") / "hershey_digits.json").read_text())
    published = json.loads((DATA / "hershey_digits.json").read_text())
    assert ours["glyphs"] == published["glyphs"]
    assert set(ours["glyphs"]) == set("0123456789")
    assert "public-domain" in ours["source"]


def random_masks():
    rng = np.random.default_rng(1)
    for _ in range(60):
        height, width = rng.integers(1, 40, 2)
        mask = np.zeros((height, width), dtype=bool)
        for _ in range(rng.integers(0, 4)):
            y, x = rng.integers(0, height), rng.integers(0, width)
            mask[y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] = True
        yield mask
        yield rng.random((height, width)) < 0.1
        yield np.ones((height, width), dtype=bool)


def test_center_of_runs_equals_center_of_array():
    for mask in random_masks():
        assert marker_center(encode_mask(mask)) == marker_center(mask)


def test_center_by_hand():
    mask = np.zeros((9, 9), dtype=bool)
    assert marker_center(mask) is None
    mask[2, 1] = mask[4, 3:6] = mask[6, 8] = True
    assert marker_center(mask) == (4, 4)
    mask[4] = False
    assert marker_center(mask) == (4, 4)  # the middle row is empty: middle of columns 1..8


@pytest.mark.parametrize("box", [(2, 3, 9, 8), (0, 0, 1, 1), (5, 5, 7, 6), (0, 0, 30, 20)])
def test_box_center_is_center_of_the_filled_box(box):
    left, top, right, bottom = box
    mask = np.zeros((20, 30), dtype=bool)
    mask[top:bottom, left:right] = True
    assert box_center(box) == marker_center(mask)


def test_box_center_rounds_and_survives_an_empty_box():
    assert box_center((1.6, 2.4, 8.6, 7.6)) == box_center((2, 2, 9, 8))
    assert box_center((5, 5, 5, 5)) == (5, 5)


def test_font_grows_with_the_longer_side_and_never_gets_thin():
    assert marker_font(336, 100, STYLE) == (pytest.approx(20 / 30), 2)
    assert marker_font(100, 1920, STYLE) == (pytest.approx(20 / 30 * 1920 / 336), 7)
    big = MarkerStyle(font_scale=20 / 30 * 1.6, thickness_factor=3.0)
    assert marker_font(1344, 1, big) == (pytest.approx(20 / 30 * 1.6 * 4), int(3 * 64 / 15))


def test_size_filter():
    assert kept_by_size({9: 500, 2: 166, 4: 167}, 1 / 3) == [9, 4]
    assert kept_by_size({1: 0, 2: 0}, 1 / 3) == [1, 2]
    assert kept_by_size({}, 1 / 3) == []
    assert kept_by_size({1: 900, 2: 1}, 0.0) == [1, 2]
    kinds = {1: "boxes of couch", 2: "boxes of person", 3: "boxes of person"}
    assert kept_by_size({1: 900, 2: 90, 3: 29}, 1 / 3, kinds) == [1, 2]


def test_number_is_red_in_rgb_and_up_right_of_its_origin():
    frame = np.zeros((100, 100, 3), dtype=np.uint8)
    assert draw_number(frame, "8", (40, 60), 1.0, 2, (255, 0, 0))
    ys, xs = np.nonzero(frame[..., 0])
    assert frame[..., 1:].max() == 0
    assert frame[..., 0].max() == 255
    assert 35 <= xs.min() and xs.max() <= 62
    assert 37 <= ys.min() and ys.max() <= 62


def test_draw_markers_leaves_the_frame_alone_and_keeps_the_order():
    frame = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    before = frame.copy()
    marked = draw_markers(frame, {3: (60, 80), 12: (100, 50)}, STYLE)
    assert np.array_equal(frame, before)
    assert len(changed_pixels(frame, marked)) > 20
    assert np.array_equal(draw_markers(frame, {}, STYLE), frame)
    # A view with other strides is as good.
    mirrored = draw_markers(frame[:, ::-1], {3: (60, 80), 12: (100, 50)}, STYLE)
    assert np.array_equal(mirrored, marked)


@pytest.mark.parametrize("text", ["", "a", "1 2", "-1", "\u0663"])
def test_only_digits_can_be_drawn(text):
    frame = np.zeros((10, 10, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="digits 0 to 9"):
        draw_number(frame, text, (2, 8), 1.0, 2, (255, 0, 0))


@pytest.mark.parametrize("origin", [(-500, 50), (50, -200), (500, 50), (50, 900), (30_000, 9)])
def test_number_outside_is_not_drawn(origin):
    frame = np.zeros((100, 100, 3), dtype=np.uint8)
    assert not draw_number(frame, "47", origin, 1.0, 2, (255, 0, 0))
    assert frame.max() == 0


def test_drawn_means_that_a_pixel_changes():
    for x in range(-50, 130, 3):
        for y in (-30, -4, 0, 2, 60, 100, 119, 124, 140):
            frame = np.zeros((100, 100, 3), dtype=np.uint8)
            drawn = draw_number(frame, "17", (x, y), 1.0, 3, (255, 0, 0))
            assert drawn == bool(frame.any()), (x, y)


def test_mark_frames_draws_visible_objects_only():
    frames = make_frames()
    near = make_track(4, {0: (20, 30, 80, 90), 5: (30, 30, 90, 90)})
    late = make_track(7, {9: (100, 20, 160, 80)})
    marked = mark_frames(frames, make_tracks(near, late), STYLE)
    assert marked.drawn_ids == (frozenset({4}), frozenset({4}), frozenset({7}))
    assert marked.visible_ids == {4, 7}
    for i, centers in enumerate([{4: (49, 59)}, {4: (59, 59)}, {7: (129, 49)}]):
        expected = draw_markers(frames.pixels[i], centers, STYLE)
        assert np.array_equal(marked.frames.pixels[i], expected)
    assert np.array_equal(frames.pixels, make_frames().pixels)
    expected = marked.frames.pixels
    drawn_on = mark_frames(frames, make_tracks(near, late), STYLE, in_place=True).frames.pixels
    assert drawn_on is frames.pixels and np.array_equal(drawn_on, expected)


def test_a_person_beside_a_sofa_has_a_number():
    """A sofa's box says little of the person's; two persons, and two masks, are compared."""
    sofa = replace(make_track(1, {0: (0, 20, 150, 110)}), class_name="couch")
    person = replace(make_track(2, {0: (160, 30, 190, 110)}), class_name="person")
    far = replace(make_track(3, {0: (100, 5, 110, 25)}), class_name="person")
    marked = mark_frames(make_frames((0,)), make_tracks(sofa, person, far), STYLE)
    assert marked.drawn_ids == (frozenset({1, 2}),)
    # As masks all are compared, which is what the official code does.
    solid = [replace(t, masks=(filled(t.boxes[0]),)) for t in (sofa, person, far)]
    assert mark_frames(make_frames((0,)), make_tracks(*solid), STYLE).visible_ids == {1}
    # With persons alone, which is what it is used for, the large person is the measure.
    persons = make_tracks(*solid[1:])
    assert mark_frames(make_frames((0,)), persons, STYLE).visible_ids == {2}
    # A frame without a mask is compared as a box.
    half = [solid[0], replace(person, masks=(None,))]
    assert mark_frames(make_frames((0,)), make_tracks(*half), STYLE).visible_ids == {1, 2}


def filled(box):
    left, top, right, bottom = (int(v) for v in box)
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return encode_mask(mask)


def test_small_objects_blink_out_beside_a_large_one():
    large = make_track(1, {0: (0, 0, 90, 90)})
    small = make_track(2, {0: (100, 50, 120, 70), 5: (100, 50, 120, 70)})
    marked = mark_frames(make_frames(), make_tracks(large, small), STYLE)
    assert marked.drawn_ids == (frozenset({1}), frozenset({2}), frozenset())


def test_masks_win_over_boxes():
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[40:80, 20:60] = True
    box = (0, 0, WIDTH, HEIGHT)
    track = make_track(3, {0: box, 5: box, 9: box}, (encode_mask(mask), None, encode_mask(~mask)))
    frames = make_frames()
    marked = mark_frames(frames, make_tracks(track), STYLE)
    centers = [marker_center(mask), box_center(box), marker_center(~mask)]
    for i, center in enumerate(centers):
        expected = draw_markers(frames.pixels[i], {3: center}, STYLE)
        assert np.array_equal(marked.frames.pixels[i], expected)


def test_box_reaching_out_is_cut_to_the_frame_first():
    frames = make_frames((0,))
    track = make_track(5, {0: (-100, -50, 60, 80)})
    marked = mark_frames(frames, make_tracks(track), STYLE)
    expected = draw_markers(frames.pixels[0], {5: (29, 39)}, STYLE)
    assert np.array_equal(marked.frames.pixels[0], expected)


@pytest.mark.parametrize(
    "box", [(-90, 10, -5, 50), (300, 10, 400, 50), (10, 10, 10, 50), (np.nan, 0, 10, 10)]
)
def test_object_outside_the_frame_is_not_offered(box):
    frames = make_frames((0,))
    marked = mark_frames(frames, make_tracks(make_track(5, {0: box})), STYLE)
    assert marked.visible_ids == frozenset()
    assert np.array_equal(marked.frames.pixels, frames.pixels)


def test_empty_mask_is_not_offered():
    empty = encode_mask(np.zeros((HEIGHT, WIDTH), dtype=bool))
    track = make_track(5, {0: (0, 0, 9, 9)}, (empty,))
    assert mark_frames(make_frames((0,)), make_tracks(track), STYLE).visible_ids == frozenset()


def test_no_tracks_leave_the_frames_unmarked():
    frames = make_frames()
    marked = mark_frames(frames, make_tracks(), STYLE)
    assert np.array_equal(marked.frames.pixels, frames.pixels)
    assert marked.frames.pixels is not frames.pixels
    assert marked.drawn_ids == (frozenset(),) * 3


def test_tracks_of_another_size_are_refused():
    with pytest.raises(TrackerError, match="200x120"):
        mark_frames(make_frames(height=60), make_tracks(), STYLE)
    small = encode_mask(np.ones((10, 10), dtype=bool))
    track = make_track(5, {0: (0, 0, 9, 9)}, (small,))
    with pytest.raises(TrackerError, match=r"mask of size \[10, 10\]"):
        mark_frames(make_frames((0,)), make_tracks(track), STYLE)


def test_put_text_is_never_called():
    source = (resources.files("stvg_r1_hub") / "marking.py").read_text(encoding="utf-8")
    assert "putText(" not in source


def test_import_is_light():
    code = "import sys, stvg_r1_hub.marking, stvg_r1_hub.prompting, stvg_r1_hub.answer;"
    code += "sys.exit(bool({'cv2', 'torch', 'PIL', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
