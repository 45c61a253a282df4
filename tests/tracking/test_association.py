"""Whole tracks of synthetic worlds: identities, gaps, cuts, counts, state."""

import gc
import threading
from concurrent.futures import Future

import numpy as np
import pytest

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.structures import Tracks, VideoInfo
from stvg_r1_hub.tracking import DetectionTracker, Tracker
from stvg_r1_hub.tracking.class_groups import COCO_GROUPS, class_groups
from tests.tracking.worlds import World, arrays, ids_along, info_of, moving, tracked

RED, BLUE, GREEN, WHITE = (220, 30, 30), (30, 30, 220), (30, 200, 30), (250, 250, 250)


def track(world: World, info: VideoInfo, **settings: float) -> tuple[Tracks, DetectionTracker]:
    config = TrackingConfig(**{"fps": 10.0, **settings})  # type: ignore[arg-type]
    tracker = DetectionTracker(world, config, name="world")
    wanted = tracker.frames_wanted(info)
    return tracked(tracker, world.stream(wanted, info), info), tracker


def test_it_is_a_tracker() -> None:
    assert isinstance(DetectionTracker(World({}), TrackingConfig(), name="w"), Tracker)


def test_two_that_cross_keep_their_ids() -> None:
    a = moving(range(60), (20, 80), (4, 0))
    b = moving(range(60), (256, 84), (-4, 0))
    tracks, _ = track(World({RED: a, BLUE: b}, noise=0.7), info_of(60))
    assert tracks.object_ids == (1, 2)
    assert [len(ids_along(tracks, path)) for path in (a, b)] == [1, 1]
    assert ids_along(tracks, a) != ids_along(tracks, b)


def test_a_crossing_with_a_turn_is_solved_by_looks() -> None:
    # Both meet in the middle and go back where they came from: motion says they passed.
    there, back = range(30), range(30, 60)
    a = moving(there, (20, 80), (4, 0)) | moving(back, (20 + 8 * 29, 80), (-4, 0))
    b = moving(there, (260, 82), (-4, 0)) | moving(back, (260 - 8 * 29, 82), (4, 0))
    tracks, _ = track(World({RED: a, BLUE: b}, noise=0.7), info_of(60))
    assert len(tracks) == 2
    assert [len(ids_along(tracks, path)) for path in (a, b)] == [1, 1]


def test_a_hidden_object_keeps_its_id_and_is_interpolated() -> None:
    whole = moving(range(50), (20, 80), (3, 0))
    seen = {f: box for f, box in whole.items() if not 20 <= f < 32}
    tracks, _ = track(World({RED: seen}), info_of(50))
    (only,) = tracks.tracks
    assert only.frame_indices.tolist() == list(range(50))
    assert np.flatnonzero(only.interpolated).tolist() == list(range(20, 32))
    assert np.allclose(only.boxes, [whole[f] for f in range(50)], atol=1.5)


def test_an_object_that_returns_elsewhere_looking_different_is_another() -> None:
    first = moving(range(20), (20, 80), (0, 0))
    second = moving(range(30, 50), (200, 80), (0, 0))
    tracks, _ = track(World({RED: first, BLUE: second}), info_of(50))
    assert [t.frame_indices[0] for t in tracks.tracks] == [0, 30]


def test_a_cut_never_carries_an_id_over() -> None:
    path = moving(range(40), (100, 80), (1, 0))
    one_scene, _ = track(World({RED: path}), info_of(40))
    assert len(one_scene) == 1
    tracks, _ = track(World({RED: path}, backgrounds={0: 200, 20: 40}), info_of(40))
    assert [t.frame_indices.tolist() for t in tracks.tracks] == [
        list(range(20)),
        list(range(20, 40)),
    ]


@pytest.mark.parametrize("native_fps", [10.0, 12.0, 15.0, 24.0, 25.0, 30000 / 1001, 30.0, 60.0])
def test_native_frames_between_detections_are_filled_and_flagged(native_fps: float) -> None:
    n = int(3 * native_fps) + 1
    path = moving(range(n), (20, 80), (60 / native_fps, 0))
    tracks, tracker = track(World({RED: path}), info_of(n, native_fps))
    wanted = list(tracker.frames_wanted(info_of(n, native_fps)))
    assert len(wanted) in (30, 31, 32), "ten a second, not the next rate that divides the video's"
    assert np.ptp(np.diff(wanted[:-1])) <= 1 and wanted[-1] == n - 1
    (only,) = tracks.tracks
    assert only.frame_indices.tolist() == list(range(n))
    assert np.flatnonzero(~only.interpolated).tolist() == wanted
    assert np.allclose(only.boxes, [path[f] for f in range(n)], atol=1.0)


def test_a_slow_camera_is_tracked_too() -> None:
    path = moving(range(12), (20, 80), (12, 0))
    tracks, _ = track(World({RED: path}), info_of(12, fps=2.0))
    assert [len(t.frame_indices) for t in tracks.tracks] == [12]


def test_variable_frame_rate() -> None:
    times = np.r_[np.arange(20) / 10, 2 + np.arange(10) / 2.5]
    info = VideoInfo("vfr", 320, 240, times, float(times[-1]) + 0.4)
    path = {f: (20 + 30 * t, 80.0, 50 + 30 * t, 140.0) for f, t in enumerate(times)}
    tracks, _ = track(World({RED: path}), info)
    assert [len(t.frame_indices) for t in tracks.tracks] == [30]


def test_short_and_weak_detections_are_dropped() -> None:
    steady = moving(range(40), (20, 80), (2, 0))
    flicker = moving([7, 8], (250, 20), (0, 0))
    weak = moving(range(40), (250, 150), (0, 0))
    world = World({RED: steady, BLUE: flicker, GREEN: weak}, scores={GREEN: 0.35})
    tracks, _ = track(world, info_of(40))
    assert len(tracks) == 1
    assert ids_along(tracks, steady) == [1]


def test_ids_follow_first_appearance_then_score() -> None:
    world = World(
        {
            RED: moving(range(10, 40), (20, 20), (0, 0)),
            BLUE: moving(range(40), (120, 20), (0, 0)),
            GREEN: moving(range(40), (220, 20), (0, 0)),
        },
        scores={BLUE: 0.7, GREEN: 0.95},
    )
    tracks, _ = track(world, info_of(40))
    assert tracks.object_ids == (1, 2, 3)
    assert [t.boxes[0, 0] for t in tracks.tracks] == pytest.approx([220, 120, 20], abs=1)
    assert [t.score for t in tracks.tracks] == pytest.approx([0.95, 0.7, 0.9], abs=1e-3)


@pytest.mark.parametrize("n_frames", [1, 2])
def test_tiny_videos(n_frames: int) -> None:
    world = World({RED: moving(range(n_frames), (20, 20), (0, 0))})
    tracks, _ = track(world, info_of(n_frames))
    assert [len(t.frame_indices) for t in tracks.tracks] == [n_frames]


def test_nothing_seen_is_an_empty_result_with_a_reason() -> None:
    tracks, _ = track(World({}), info_of(30))
    assert len(tracks) == 0 and len(tracks.frame_times) == 30
    assert tracks.warnings == ("No object was found in 30 detected frames.",)


def test_a_flickering_label_is_settled_by_the_majority() -> None:
    class Flicker(World):
        def _detect(self, frame):  # type: ignore[no-untyped-def]
            found = super()._detect(frame)
            found.class_ids[:] = 1 if frame % 3 else 0
            return found

    tracks, _ = track(Flicker({RED: moving(range(30), (20, 20), (2, 0))}), info_of(30))
    assert [t.class_name for t in tracks.tracks] == ["dog"]


def test_coco_classes_are_associated_within_supercategories() -> None:
    assert len(COCO_GROUPS) == 80
    names = list(COCO_GROUPS)
    groups = dict(zip(names, class_groups(names), strict=True))
    assert groups["car"] == groups["truck"] != groups["person"] != groups["backpack"]
    assert set(class_groups(["dog", "car", "bee"])) == {0}


def test_same_input_same_output_and_no_state_is_shared() -> None:
    a = World({RED: moving(range(40), (20, 80), (4, 0))}, noise=1.0)
    info = info_of(40)
    alone, tracker = track(a, info)
    again = tracked(tracker, a.stream(range(40), info), info)
    assert np.array_equal(arrays(alone)[0], arrays(again)[0])

    # Two videos tracked at the same time by one tracker, frame by frame in turn.
    one, two = tracker.start(info), tracker.start(info)
    for frame in a.stream(range(40), info):
        one.update(frame)
        two.update(frame)
    for session in (one, two):
        assert np.array_equal(arrays(session.finish())[0], arrays(alone)[0])


def test_a_detector_of_many_threads_is_called_by_them_at_once_and_order_stays() -> None:
    class Waiting(World):
        n_threads = 2
        both = threading.Barrier(2)

        def detect(self, frames):  # type: ignore[no-untyped-def]
            self.both.wait(30)
            return super().detect(frames)

    objects = {RED: moving(range(32), (20, 80), (4, 0)), BLUE: moving(range(32), (9, 9), (0, 2))}
    tracks, _ = track(Waiting(objects), info_of(32))
    alone, _ = track(World(objects), info_of(32))
    for ours, theirs in zip(arrays(tracks), arrays(alone), strict=True):
        assert np.array_equal(ours, theirs)


def test_an_error_of_the_detector_is_the_callers() -> None:
    class Broken(World):
        def detect(self, frames):  # type: ignore[no-untyped-def]
            raise ValueError("no more memory")

    with pytest.raises(ValueError, match="no more memory"):
        track(Broken({}), info_of(3))


def test_of_a_video_that_is_given_up_nothing_more_is_detected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_end = threading.Semaphore(0), threading.Event()

    class Slow(World):
        n_calls = 0

        def detect(self, frames):  # type: ignore[no-untyped-def]
            self.n_calls += 1
            begun.release()
            may_end.wait(30)
            return super().detect(frames)

    def interrupted(future: Future[object]) -> None:
        assert begun.acquire(timeout=30)
        raise KeyboardInterrupt

    world, info = Slow({}), info_of(40)
    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt) as raised:
        track(world, info)
    (thread,) = (t for t in threading.enumerate() if t.name.startswith("detect"))
    del raised
    gc.collect()
    may_end.set()
    thread.join(30)
    assert not thread.is_alive() and world.n_calls == 1
