import dataclasses
import pickle

import numpy as np
import pytest

from stvg_r1_hub.structures import (
    Answer,
    Detections,
    MarkedFrames,
    ObjectNote,
    TimedFrame,
    Tracks,
    VideoInfo,
)
from tests import builders


def make_frames(n=2):
    return builders.make_frames(np.zeros((n, 4, 6, 3), np.uint8))


def make_track(object_id=1, frames=(0, 2, 5)):
    return builders.make_track(object_id, frames, np.arange(len(frames) * 4).reshape(-1, 4))


def test_track_finds_its_frames():
    track = make_track()
    assert [track.position(frame) for frame in range(7)] == [0, None, 1, None, None, 2, None]
    assert track.box_at(2).tolist() == [4, 5, 6, 7]
    assert track.box_at(3) is None


def test_tracks_find_their_objects():
    tracks = Tracks(6, 4, np.arange(6) / 10, (make_track(2), make_track(1)))
    assert tracks.object_ids == (2, 1)
    assert tracks.get(1).object_id == 1
    assert tracks.get(9) is None
    assert len(tracks) == 2


def test_visible_ids_are_those_drawn_anywhere():
    marked = MarkedFrames(make_frames(), (frozenset({1, 2}), frozenset({3})))
    assert marked.visible_ids == {1, 2, 3}


def test_answer_is_valid_without_a_problem():
    assert Answer((1,), 0.0, 1.0).is_valid
    assert not Answer((), None, None, problem="none").is_valid


def test_video_info_counts():
    info = VideoInfo("a.mp4", 6, 4, np.arange(50) / 25, 2.0)
    assert (info.n_frames, info.fps) == (50, 25.0)


def test_reprs_show_shapes_not_pixels():
    for record in (make_frames(), make_track(), Tracks(6, 4, np.arange(6), (make_track(),))):
        assert len(repr(record)) < 120


NOTE = ObjectNote(
    1, "dog", ("red",), (), "left", "near", 0.0, 1.0, "", "", (), 1, 1,
    *(np.arange(n, dtype=float) for n in (2, 8, 2)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("record", "change"),
    [
        (make_frames(), {"pixels": np.ones((2, 4, 6, 3), np.uint8)}),
        (TimedFrame(0, 0.0, np.zeros((4, 6, 3), np.uint8)), {"time_seconds": 1.0}),
        (Detections(np.zeros((1, 4)), np.ones(1), np.zeros(1, int)), {"class_ids": np.ones(1)}),
        (make_track(), {"boxes": np.ones((3, 4), np.float32)}),
        (Tracks(6, 4, np.arange(6), (make_track(),)), {"tracks": (make_track(2),)}),
        (builders.marked(make_frames(), 1), {"frames": make_frames(2), "drawn_ids": ({2}, {2})}),
        (VideoInfo("a.mp4", 6, 4, np.arange(50) / 25, 2.0), {"frame_times": np.arange(2.0)}),
        (NOTE, {"speeds": np.ones(2)}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_records_are_equal_by_value(record, change):
    again = pickle.loads(pickle.dumps(record))
    assert again == record and hash(again) == hash(record)
    assert dataclasses.replace(record, **change) != record and record != 1


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_frames().sample_fps = 3.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VideoInfo("a", 6, 4, np.zeros(0), 1.0), "frame_times"),
        (lambda: VideoInfo("a", 6, 4, np.array([0.0, 0.0]), 1.0), "ascending"),
        (lambda: VideoInfo("a", 0, 4, np.array([0.0]), 1.0), "0x4"),
        (lambda: dataclasses.replace(make_frames(), pixels=np.zeros((2, 4, 6))), "pixels"),
        (lambda: dataclasses.replace(make_frames(), pixels=np.zeros((2, 4, 6, 3))), "uint8"),
        (lambda: dataclasses.replace(make_frames(), frame_indices=np.arange(3)), "3 indices"),
        (lambda: Detections(np.zeros((2, 3)), np.zeros(2), np.zeros(2)), "boxes"),
        (lambda: Detections(np.zeros((2, 4)), np.zeros(1), np.zeros(2)), "differ"),
        (lambda: make_track(object_id=0), "positive"),
        (lambda: make_track(frames=()), "empty"),
        (lambda: make_track(frames=(3, 3)), "ascend"),
        (lambda: dataclasses.replace(make_track(), masks=(None,)), "masks"),
        (lambda: Tracks(6, 4, np.arange(9), (make_track(), make_track())), "unique"),
        (lambda: Tracks(6, 4, np.arange(5), (make_track(),)), "reaches frame 5"),
        (lambda: MarkedFrames(make_frames(), ()), "0 sets of IDs"),
    ],
)
def test_contradictions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
