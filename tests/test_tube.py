from dataclasses import replace

import numpy as np
import pytest

from stvg_r1_hub.geometry import encode_mask
from stvg_r1_hub.structures import Answer, Tracks
from stvg_r1_hub.tube import build_tube
from tests import builders

FPS = 10
N_FRAMES = 50


def make_track(object_id, frames, masks=False, interpolated=()):
    boxes = [(i, i + 1, i + 20, i + 30) for i in frames]
    masks = (encode_mask(np.ones((90, 160), bool)),) * len(boxes) if masks else None
    return builders.make_track(object_id, frames, boxes, interpolated=interpolated, masks=masks)


TRACKS = Tracks(
    160,
    90,
    np.arange(N_FRAMES) / FPS,
    (
        make_track(1, range(N_FRAMES), interpolated=[11, 12]),
        make_track(3, [*range(5, 15), *range(18, 30)]),
    ),
)


def answer(ids, start, end, problem=None):
    return Answer(tuple(ids), start, end, problem=problem)


def test_one_box_per_frame_of_the_half_open_range():
    tube = build_tube(answer([1], 1.0, 2.0), TRACKS)
    assert [box.frame_index for box in tube.boxes] == list(range(10, 20))
    assert [box.time_seconds for box in tube.boxes] == pytest.approx(
        [i / 10 for i in range(10, 20)]
    )
    assert tube.boxes[0].xyxy == (10.0, 11.0, 30.0, 40.0)
    assert [box.frame_index for box in tube.boxes if box.interpolated] == [11, 12]
    assert {type(value) for value in tube.boxes[0].xyxy} == {float}
    assert (tube.object_ids, tube.start_seconds, tube.end_seconds) == ((1,), 1.0, 2.0)
    assert not tube.has_masks
    assert tube.warnings == ()


def test_hidden_frames_have_no_box_and_are_counted():
    tube = build_tube(answer([3], 1.0, 2.0), TRACKS)
    assert [box.frame_index for box in tube.boxes] == [10, 11, 12, 13, 14, 18, 19]
    assert len(tube.warnings) == 1
    assert "3 of the 10 frames" in tube.warnings[0]


def test_several_ranges_have_boxes_in_them_alone():
    moments = ((1.0, 1.2), (2.0, 2.3))
    tube = build_tube(replace(answer([1], 1.0, 2.3), ranges=moments), TRACKS)
    assert [box.frame_index for box in tube.boxes] == [10, 11, 20, 21, 22]
    assert (tube.start_seconds, tube.end_seconds, tube.ranges) == (1.0, 2.3, moments)
    assert build_tube(answer([1], 1.0, 2.0), TRACKS).ranges == ((1.0, 2.0),)


@pytest.mark.parametrize(
    ("ranges", "kept", "warning"),
    [
        (((1.0, 2.0), (4.0, 9.0)), ((1.0, 2.0), (4.0, 5.0)), "beyond the video"),
        (((1.0, 2.0), (7.0, 9.0)), ((1.0, 2.0),), "beyond the video"),
        (((7.0, 8.0), (9.0, 9.5)), ((5.0, 5.0),), "No frame of the video"),
    ],
)
def test_ranges_are_cut_to_the_video(ranges, kept, warning):
    tube = build_tube(replace(answer([1], ranges[0][0], 9.0), ranges=ranges), TRACKS)
    assert [*np.ravel(tube.ranges)] == pytest.approx([*np.ravel(kept)])
    assert any(warning in said for said in tube.warnings)


def test_several_objects_by_frame_then_object():
    tube = build_tube(answer([3, 1, 3], 1.3, 1.6), TRACKS)
    pairs = [(box.frame_index, box.object_id) for box in tube.boxes]
    assert pairs == [(13, 1), (13, 3), (14, 1), (14, 3), (15, 1)]
    assert tube.object_ids == (3, 1)


def test_masks_stand_beside_their_boxes():
    tracks = Tracks(
        160, 90, TRACKS.frame_times, (make_track(1, range(9), masks=True), make_track(2, range(9)))
    )
    tube = build_tube(answer([1, 2], 0.0, 0.2), tracks)
    assert [box.object_id for box in tube.boxes] == [1, 2, 1, 2]
    assert [box.mask is not None for box in tube.boxes] == [True, False, True, False]
    assert not build_tube(answer([2], 0.0, 0.2), tracks).has_masks


def test_uneven_frame_times_decide():
    times = np.array([0.0, 0.1, 0.5, 0.51, 3.0])
    tracks = Tracks(160, 90, times, (make_track(1, range(5)),))
    tube = build_tube(answer([1], 0.1, 0.51), tracks)
    assert [box.frame_index for box in tube.boxes] == [1, 2]


@pytest.mark.parametrize(
    ("start", "end", "first", "last", "warned"),
    [
        (4.0, 5.0, 40, 49, False),
        (4.0, 5.01, 40, 49, False),
        (4.0, 5.5, 40, 49, True),
        (4.0, 1e30, 40, 49, True),
        (0.0, 0.3, 0, 2, False),
    ],
)
def test_range_is_cut_to_the_video_with_a_warning(start, end, first, last, warned):
    tube = build_tube(answer([1], start, end), TRACKS)
    assert (tube.boxes[0].frame_index, tube.boxes[-1].frame_index) == (first, last)
    assert tube.end_seconds <= 5.0 + 1e-9
    assert any("beyond the video" in text for text in tube.warnings) == warned


@pytest.mark.parametrize(
    ("bad", "visible", "reason"),
    [
        (answer([], None, None, "the text is empty"), None, "the text is empty"),
        (answer([1], 3.0, 1.0, "the time range 3 to 1 is reversed"), None, "is reversed"),
        (answer([1], None, None), None, "no time range"),
        (answer([], 1.0, 2.0), None, "names no object"),
        (answer([7], 1.0, 2.0), None, "object 7, which is not in the video (objects: 1, 3)"),
        (answer([0], 1.0, 2.0), None, "object 0, which is not"),
        (
            answer([int("9" * 4300)], 1.0, 2.0),
            None,
            "object with a number of more than 12 digits, which is not",
        ),
        (answer([3], 1.0, 2.0), frozenset({1}), "number was not drawn"),
        (answer([1], 9.0, 12.0), None, "No frame of the video"),
        (answer([3], 4.0, 4.5), None, "not visible in 5 of the 5 frames"),
        (answer([1], 1.01, 1.02), None, "No frame of the video"),
    ],
)
def test_no_box_is_invented(bad, visible, reason):
    tube = build_tube(bad, TRACKS, visible_ids=visible)
    assert tube.boxes == ()
    assert any(reason in text for text in tube.warnings), tube.warnings


def test_a_last_frame_that_is_shown_for_long_belongs_to_the_video():
    tube = build_tube(answer([1], 4.0, 8.0), TRACKS, duration_seconds=9.0)
    assert (tube.start_seconds, tube.end_seconds, tube.warnings) == (4.0, 8.0, ())
    assert len(tube.boxes) == 10


def test_other_ids_of_the_answer_still_count():
    tube = build_tube(answer([7, 1, 3], 1.0, 1.2), TRACKS, visible_ids=frozenset({1}))
    assert tube.object_ids == (1,)
    assert len(tube.boxes) == 2
    assert len(tube.warnings) == 2


def test_no_tracks_and_one_frame():
    empty = Tracks(160, 90, np.array([0.0]), ())
    tube = build_tube(answer([1], 0.0, 1.0), empty)
    assert tube.boxes == ()
    assert "objects: none" in tube.warnings[0]
    single = Tracks(160, 90, np.array([0.0]), (make_track(1, [0]),))
    assert len(build_tube(answer([1], 0.0, 1.0), single).boxes) == 1
