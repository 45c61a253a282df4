"""Sprite world: scenes, pixels, files, and the scores of answers about them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub.errors import STVGError, TrackerError
from stvg_r1_hub.evaluation.sprites.benchmark import (
    matching_track,
    run_sprites,
    score_answer,
    summarize,
)
from stvg_r1_hub.evaluation.sprites.clips import (
    SIDE,
    clip_scene,
    frame_times,
    object_boxes,
    true_tracks,
    true_tube,
    write_clips,
)
from stvg_r1_hub.evaluation.sprites.render import background, render
from stvg_r1_hub.evaluation.sprites.scene import KINDS, TIME_STEP, Scene, sample_scene
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.structures import Tracks
from stvg_r1_hub.video import open_video


def scenes(n: int = 60) -> list[Scene]:
    return [clip_scene("easy", 3, i) for i in range(n)]


def test_scenes_are_reproducible_and_differ() -> None:
    assert clip_scene("easy", 1, 2) == clip_scene("easy", 1, 2)
    assert len({scene.query for scene in scenes()}) > 20
    assert {o.kind for scene in scenes() for o in scene.objects} == set(KINDS)


def test_the_query_has_one_answer() -> None:
    for scene in scenes():
        casts = [(o.kind, o.events[0].name if o.events else None) for o in scene.objects]
        target = (scene.target.kind, scene.answer_event.name)
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
        boxes = np.stack([object_boxes(scene, o) for o in scene.objects])
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
        seconds = (scene.answer_event.start_seconds + scene.answer_event.end_seconds) / 2
        alone = Scene(**{**scene.__dict__, "objects": (scene.target,)})
        frame = next(render(alone, SIDE, [seconds])).astype(int)
        changed = np.abs(frame - background(scene, SIDE)).max(-1) > 24
        ys, xs = np.nonzero(changed)
        seen = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        index = int(np.searchsorted(frame_times(scene), seconds - 1e-9))
        moment = frame_times(scene)[index]
        true = object_boxes(alone, scene.target)[index]
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
            "video", "query", "object_id", "start_seconds", "end_seconds", "boxes", "objects",
        }  # fmt: skip
        times = frame_times(scene)
        frames = [box["frame_index"] for box in record["boxes"]]
        inside = (times >= record["start_seconds"]) & (times < record["end_seconds"])
        assert frames == np.flatnonzero(inside).tolist()
        target = next(o for o in record["objects"] if o["id"] == record["object_id"])
        assert len(target["boxes"]) == len(times)
        assert target["boxes"][frames[0]] == record["boxes"][0]
        assert target["actions"][0]["start_seconds"] == record["start_seconds"]


def test_the_command_writes_the_same_clips_twice(tmp_path: Path) -> None:
    def command(out: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stvg_r1_hub.evaluation.sprites", "--n", "1", "--seed", "4",
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
        run_sprites(level, seed, n)


def test_a_clip_that_fails_counts_for_model_and_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(query: str, video: Path) -> None:
        raise TrackerError("the tracker is broken")

    monkeypatch.setattr(STVGPipeline, "from_pretrained", lambda model: broken)
    figures = run_sprites("easy", 77, 1)
    assert (figures["n"], figures["n_failed"], figures["id_accuracy"]) == (1, 1, 0.0)
    assert (figures["baseline"]["n"], figures["baseline"]["n_failed"]) == (1, 1)
    assert figures["samples"][0]["reason"] == "the tracker is broken"


def test_a_perfect_answer_scores_one() -> None:
    scene = clip_scene("easy", 2, 0)
    tracks = true_tracks(scene)
    event = scene.answer_event
    assert matching_track(tracks, scene) == scene.target_id
    score = score_answer(scene, tracks, scene.target_id, event.start_seconds, event.end_seconds)
    assert (score.id_correct, score.tiou, score.viou) == (True, 1.0, 1.0)


def test_a_wrong_object_or_time_scores_less() -> None:
    scene = clip_scene("easy", 2, 0)
    tracks = true_tracks(scene)
    event = scene.answer_event
    other = next(o.object_id for o in scene.objects if o.object_id != scene.target_id)
    wrong = score_answer(scene, tracks, other, event.start_seconds, event.end_seconds)
    assert (wrong.id_correct, wrong.tiou) == (False, 1.0) and wrong.viou < 0.1
    whole = score_answer(scene, tracks, scene.target_id, 0.0, scene.duration_seconds)
    share = len(true_tube(scene)) / len(frame_times(scene))
    assert whole.viou == pytest.approx(share)
    missing = score_answer(scene, tracks, 99, event.start_seconds, event.end_seconds)
    assert (missing.id_correct, missing.viou) == (False, 0.0)


def test_no_track_matches_when_none_follows_the_target() -> None:
    scene = clip_scene("easy", 2, 0)
    tracks = true_tracks(scene)
    others = tuple(t for t in tracks.tracks if t.object_id != scene.target_id)
    assert matching_track(Tracks(SIDE, SIDE, tracks.frame_times, others), scene) is None


def test_summary_counts_every_clip() -> None:
    scene = clip_scene("easy", 2, 0)
    tracks = true_tracks(scene)
    event = scene.answer_event
    right = score_answer(scene, tracks, scene.target_id, event.start_seconds, event.end_seconds)
    wrong = score_answer(scene, tracks, 99, 0, 1)
    assert summarize([right, wrong])["id_accuracy"] == 0.5
    assert summarize([right, wrong])["viou_05"] == 0.5


@pytest.mark.slow
def test_the_bundled_model_answers(tmp_path: Path) -> None:
    """The promise of the bundled model, on clips that training never drew."""
    figures = run_sprites("easy", 77, 10, with_true_tracks=True, json_path=tmp_path / "f.json")
    assert figures["id_accuracy"] >= 0.8
    assert figures["m_viou"] >= 0.4
    assert figures["m_viou"] > figures["baseline"]["m_viou"]
    assert json.loads((tmp_path / "f.json").read_text())["n"] == figures["n"] == 10
