"""Sprite world: scenes, pixels, files, and the scores of answers about them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.evaluation.benchmarks.sprites import read_sprites
from stvg_r1_hub.sprites.backdrops import background
from stvg_r1_hub.sprites.clips import (
    SIDE,
    clip_scene,
    frame_times,
    object_boxes,
    true_tube,
    write_clips,
)
from stvg_r1_hub.sprites.difficulty import HARD, MEDIUM
from stvg_r1_hub.sprites.easy import KINDS
from stvg_r1_hub.sprites.levels import LEVELS, sample_scene
from stvg_r1_hub.sprites.render import render
from stvg_r1_hub.sprites.scene import KINDS as ALL_KINDS
from stvg_r1_hub.sprites.scene import TIME_STEP, Scene
from stvg_r1_hub.sprites.statistics import level_statistics
from stvg_r1_hub.video import open_video

EASY_1_2 = ("the walking ball", 2, (2.0, 3.75))


def scenes(n: int = 60) -> list[Scene]:
    return [clip_scene("easy", 3, i) for i in range(n)]


def test_scenes_are_reproducible_and_differ() -> None:
    assert clip_scene("easy", 1, 2) == clip_scene("easy", 1, 2)
    assert len({scene.query for scene in scenes()}) > 20
    assert {o.kind for scene in scenes() for o in scene.objects} == set(KINDS)


def test_the_query_has_one_answer() -> None:
    for scene in scenes():
        casts = [(o.kind, o.events[0].name if o.events else None) for o in scene.objects]
        target = (scene.target.kind, scene.question.action)
        assert casts.count(target) == 1
        assert scene.target.kind in scene.query
        assert 2 <= len(scene.objects) <= 4
        assert sorted(o.object_id for o in scene.objects) == list(range(1, len(casts) + 1))


def test_events_lie_inside_the_clip_on_the_time_grid() -> None:
    for scene in scenes():
        for thing in scene.objects:
            for event in thing.events:
                assert 0 < event.start_seconds < event.end_seconds < scene.duration_seconds
                assert event.start_seconds % TIME_STEP == event.end_seconds % TIME_STEP == 0


def test_distractors_share_the_kind_or_the_action() -> None:
    same_kind = [
        any(o.kind == s.target.kind for o in s.objects if o is not s.target) for s in scenes(200)
    ]
    assert 0.3 < np.mean(same_kind) < 0.8


def test_objects_stay_inside_and_apart() -> None:
    for scene in scenes(20):
        boxes = np.stack([object_boxes(scene, o)[0] for o in scene.objects])
        assert boxes.min() >= 0 and boxes.max() <= SIDE
        for i in range(len(boxes)):
            for j in range(i):
                low = np.maximum(boxes[i, :, :2], boxes[j, :, :2])
                high = np.minimum(boxes[i, :, 2:], boxes[j, :, 2:])
                overlap = np.prod(np.clip(high - low, 0, None), axis=1)
                smaller = np.minimum(*(np.prod(b[:, 2:] - b[:, :2], axis=1) for b in boxes[[i, j]]))
                assert (overlap / smaller).max() < 0.3


def test_true_boxes_are_tight_around_the_pixels() -> None:
    """The boxes equal the extent of the pixels that differ from the background."""
    for number in range(8):
        scene = sample_scene("easy", (9, number))
        seconds = float(np.mean(scene.answer_range))
        alone = Scene(**{**scene.__dict__, "objects": (scene.target,)})
        frame = next(render(alone, SIDE, [seconds])).astype(int)
        changed = np.abs(frame - background(scene, SIDE)).max(-1) > 24
        ys, xs = np.nonzero(changed)
        seen = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        index = int(np.searchsorted(frame_times(scene), seconds - 1e-9))
        moment = frame_times(scene)[index]
        true = object_boxes(alone, scene.target)[0][index]
        slack = 6 if abs(moment - seconds) < 1e-6 else 14  # the object moved in between
        assert np.abs(seen - true).max() <= slack, (scene.query, seen, true)


def test_written_clips_and_their_truth(tmp_path: Path) -> None:
    path = write_clips("easy", 5, 2, tmp_path / "out")
    records = json.loads(path.read_text())
    assert len(records) == 2
    for i, record in enumerate(records):
        scene = clip_scene("easy", 5, i)
        with open_video(path.parent / record["video"]) as source:
            assert source.info.n_frames == len(frame_times(scene))
            assert np.allclose(source.info.frame_times, frame_times(scene), atol=1e-3)
            assert (source.info.width, source.info.height) == (SIDE, SIDE)
        assert set(record) == {
            "video", "query", "object_id", "start_seconds", "end_seconds", "boxes", "traits",
            "objects",
        }  # fmt: skip
        times = frame_times(scene)
        frames = [box["frame_index"] for box in record["boxes"]]
        inside = (times >= record["start_seconds"]) & (times < record["end_seconds"])
        assert frames == np.flatnonzero(inside).tolist()
        target = next(o for o in record["objects"] if o["id"] == record["object_id"])
        assert len(target["boxes"]) == len(times)
        assert target["boxes"][frames[0]] == record["boxes"][0]
        assert target["actions"][0]["start_seconds"] == record["start_seconds"]


@pytest.mark.slow
def test_the_command_writes_the_same_clips_twice(tmp_path: Path) -> None:
    def command(out: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stvg_r1_hub.sprites", "--n", "1", "--seed", "4",
             "--out", str(tmp_path / out), *more],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert command("a").returncode == command("b").returncode == 0
    for file in ("clips.json", "easy-4-0000.mp4"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    refused = command("c", "--level", "impossible")
    assert refused.returncode == 2
    assert "impossible" in refused.stderr and "Traceback" not in refused.stderr
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("level", "seed", "n"), [("no", 0, 1), ("easy", -1, 1), ("easy", 0, 0)])
def test_requests_that_make_no_sense(level: str, seed: int, n: int, tmp_path: Path) -> None:
    with pytest.raises(STVGError):
        write_clips(level, seed, n, tmp_path)
    with pytest.raises(STVGError):
        read_sprites(level, seed, n, tmp_path)


def test_easy_scenes_stay_what_they_were() -> None:
    """Figures that were published for the easy level keep their clips."""
    scene = clip_scene("easy", 1, 2)
    assert (scene.query, scene.target_id, scene.answer_range) == EASY_1_2


@pytest.mark.parametrize("level", ["medium", pytest.param("hard", marks=pytest.mark.slow)])
def test_rich_scenes_have_the_answer_that_they_say(level: str) -> None:
    for number in range(120):
        scene = clip_scene(level, 6, number)
        assert scene == clip_scene(level, 6, number)
        answers = scene.question.answers(scene.objects, scene.duration_seconds)
        if scene.traits["form"] == "none":
            assert not answers and scene.target_id is None and scene.answer_range is None
            assert not true_tube(scene)
            with pytest.raises(ValueError, match="nothing"):
                _ = scene.target
        else:
            ((thing, start, end),) = answers
            assert (thing.object_id, (start, end)) == (scene.target_id, scene.answer_range)
            assert true_tube(scene), scene.query


@pytest.mark.parametrize("level", ["medium", "hard"])
def test_rich_events_lie_inside_the_clip_and_never_overlap(level: str) -> None:
    for number in range(80):
        scene = clip_scene(level, 7, number)
        for thing in scene.objects:
            last = 0.0
            for event in thing.events:
                assert last < event.start_seconds < event.end_seconds < scene.duration_seconds
                assert event.end_seconds - event.start_seconds >= 1.0
                assert event.start_seconds % TIME_STEP == event.end_seconds % TIME_STEP == 0
                last = event.end_seconds


@pytest.mark.slow
def test_the_hard_level_is_as_hard_as_promised() -> None:
    figures = level_statistics("hard", 3, 300)
    shares = figures["shares"]
    assert shares["same kind"]["yes"] >= 0.6
    assert shares["occluded"]["yes"] >= 0.3
    assert set(shares["form"]) == {"plain", "attribute", "relation", "sequence", "rest", "none"}
    assert set(shares["objects"]) == {"2", "3", "4", "5", "6"}
    assert len(HARD.kinds) >= 40 and len(HARD.actions) >= 9
    assert set(MEDIUM.kinds) <= set(HARD.kinds) <= set(ALL_KINDS)
    assert figures["baselines"]["whole_clip"] <= figures["baselines"]["best_interval"] < 0.5
    assert figures["baselines"]["random_object"] < 0.4


@pytest.mark.slow
def test_objects_come_and_go_and_have_no_box_outside() -> None:
    absent = 0
    for number in range(60):
        scene = clip_scene("hard", 8, number)
        for thing in scene.objects:
            boxes, in_view = object_boxes(scene, thing)
            names = [event.name for event in thing.events]
            absent += bool((~in_view).any())
            assert boxes[in_view].min() >= 0 and boxes[in_view].max() <= SIDE
            if "enter" in names:
                assert not in_view[0]
            if "leave" in names:
                assert not in_view[-1]
    assert absent > 10


@pytest.mark.parametrize("level", LEVELS)
def test_numbers_stay_readable_on_every_backdrop(level: str) -> None:
    """No backdrop has the red of the numbers in more than a speck of it."""
    for number in range(25):
        pixels = background(clip_scene(level, 9, number), 112).astype(int)
        red = (pixels[..., 0] > 180) & (pixels[..., 1:].max(-1) < 80)
        assert red.mean() < 0.002


def test_the_camera_moves_backdrop_and_boxes_alike() -> None:
    scene = next(
        s for s in (clip_scene("hard", 4, i) for i in range(50))
        if abs(s.camera.pan[0]) > 0.06 and any(not o.events for o in s.objects)
    )  # fmt: skip
    still = next(o for o in scene.objects if not o.events)
    times = np.array([0.0, scene.duration_seconds])
    shift, scale = np.diff(scene.camera.view(times, scene.duration_seconds)[:, ::2], axis=0)[0]
    moved = np.diff(scene.poses(still, times).x)[0]
    assert np.sign(moved) == np.sign(scene.camera.pan[0]) or abs(scale) > 0.05
    assert abs(shift) > 0.04


def test_the_command_prints_statistics() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stvg_r1_hub.sprites", "--level", "medium", "--n", "30",
         "--statistics"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["n"] == 30
