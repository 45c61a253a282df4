"""What answers about rendered clips are worth, whose truth is exact."""

import json

import numpy as np
import pytest

from stvg_r1_hub.answer import parse_answer
from stvg_r1_hub.cli import main
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.evaluation.benchmarks.sprites import read_sprites, render_missing, true_tracker
from stvg_r1_hub.evaluation.evaluator import Evaluator
from stvg_r1_hub.evaluation.metrics import best_track
from stvg_r1_hub.evaluation.oracles import oracle_scores
from stvg_r1_hub.evaluation.prediction import Prediction, prediction_of
from stvg_r1_hub.evaluation.protocols import strict
from stvg_r1_hub.evaluation.runner import lines_of_clip
from stvg_r1_hub.evaluation.summary import oracle_means
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.sprites.clips import SIDE, clip_scene, frame_times, true_tracks, true_tube
from stvg_r1_hub.structures import Tracks
from stvg_r1_hub.vlm.scripted import ScriptedVLM

SCENE = clip_scene("easy", 2, 0)
TRACKS = true_tracks(SCENE)


@pytest.fixture
def sample(tmp_path):
    return read_sprites("easy", 2, 1, tmp_path)[0]


def answered(object_id, start, end):
    track = TRACKS.get(object_id)
    tube = {"frame_indices": track.frame_indices, "boxes": track.boxes} if track else {}
    return Prediction(
        start_seconds=start, end_seconds=end, object_ids=(object_id,),
        frame_times=frame_times(SCENE), tracks=TRACKS, **tube,
    )  # fmt: skip


def test_a_perfect_answer_scores_one(sample):
    right = answered(SCENE.target_id, *SCENE.answer_range)
    assert best_track(TRACKS, sample.frame_indices, sample.boxes) == SCENE.target_id
    assert strict(sample, right) == pytest.approx({"tiou": 1, "viou": 1, "gt_viou": 1}, abs=0.01)
    assert oracle_scores(sample, right)["id correct"] == 1


def test_a_wrong_object_or_time_scores_less(sample):
    other = next(o.object_id for o in SCENE.objects if o.object_id != SCENE.target_id)
    wrong = answered(other, *SCENE.answer_range)
    assert strict(sample, wrong)["tiou"] == 1 and strict(sample, wrong)["viou"] < 0.1
    assert oracle_scores(sample, wrong)["id correct"] == 0
    whole = answered(SCENE.target_id, 0.0, SCENE.duration_seconds)
    share = len(true_tube(SCENE)) / len(frame_times(SCENE))
    assert strict(sample, whole)["viou"] == pytest.approx(share, abs=0.01)
    missing = answered(99, *SCENE.answer_range)
    assert strict(sample, missing)["viou"] == oracle_scores(sample, missing)["id correct"] == 0


def test_no_track_matches_when_none_follows_the_target(sample):
    others = tuple(t for t in TRACKS.tracks if t.object_id != SCENE.target_id)
    without = Tracks(SIDE, SIDE, TRACKS.frame_times, others)
    assert best_track(without, sample.frame_indices, sample.boxes) is None


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("<answer>Target ID: none</answer>", 1),
        ("<answer>Target ID: 1, Time range: 0.00 to 1.00</answer>", 0),
        ("<answer>??</answer>", 0),
        ("", 0),
    ],
)
def test_none_must_be_answered_outright(text, right, tmp_path):
    sample = next(s for s in read_sprites("medium", 2, 50, tmp_path) if not s.answerable)
    pipeline = STVGPipeline(STVGConfig(), true_tracker(sample), ScriptedVLM([text]))
    evaluator = Evaluator(pipeline, "tube", true_tracks=True, renders=True)
    (line,) = lines_of_clip(evaluator, [sample], [sample.query])
    assert line["scores"]["strict"] == {"none": right} and line["error"] is None


def test_true_tracks_say_their_kinds_so_that_candidates_are_looked_at(tmp_path):
    sample = read_sprites("crowd", 2, 1, tmp_path)[0]
    render_missing([sample])
    pipeline = STVGPipeline(STVGConfig(), true_tracker(sample), ScriptedVLM(["<answer>1</answer>"]))
    result = pipeline(sample.query, sample.video, passes=2)
    _, group, *_ = result.looks
    kinds = {
        track.class_name for track in result.tracks.tracks if track.object_id in group.shown_ids
    }
    assert group.kind == "group" and len(kinds) == 1 and kinds.pop() in sample.query


def test_the_papers_scores_read_what_stands_after_all_looks(tmp_path):
    """Objects in close-ups have other numbers there than in the video."""
    sample = read_sprites("crowd", 2, 1, tmp_path)[0]
    render_missing([sample])
    text = "<answer>Target ID: 1, Time range: 0.00 to 2.00</answer>"
    pipeline = STVGPipeline(STVGConfig(), true_tracker(sample), ScriptedVLM([text]))
    result = pipeline(sample.query, sample.video, passes=2)
    assert result.found and result.object_ids != (1,)
    answer = parse_answer(prediction_of(result).text, strict=True)
    assert answer.object_ids == result.object_ids and answer.end_seconds == result.end_seconds


def test_a_clip_that_fails_counts_for_the_right_answers_too(tmp_path):
    samples = read_sprites("easy", 2, 2, tmp_path)
    render_missing(samples)
    samples[1].video.write_bytes(b"no video at all" * 50)
    text = f"<answer>Target ID: {SCENE.target_id}, Time range: 0.00 to 1.00</answer>"
    pipeline = STVGPipeline(STVGConfig(), true_tracker(samples[0]), ScriptedVLM([text]))
    evaluator = Evaluator(pipeline, "tube", true_tracks=True)
    lines = [line for s in samples for line in lines_of_clip(evaluator, [s], [s.query])]
    assert [line["error"] is None for line in lines] == [True, False]
    means = oracle_means(lines)
    assert means["id correct"] == means["right answer"] == 0.5
    assert np.isclose(means["random id correct"], lines[0]["oracles"]["random id correct"] / 2)


@pytest.mark.slow
@pytest.mark.parametrize(("level", "right", "m_viou"), [("easy", 0.8, 0.6), ("medium", 0.5, 0.35)])
def test_the_bundled_model_answers(level, right, m_viou, tmp_path, capsys):
    """The promise of the bundled model, on clips that training never drew; no folder is left."""
    figures = tmp_path / "f.json"
    command = ["eval", "sprites", "--level", level, "--seed", "77", "--n", "10"]
    assert main([*command, "--device", "cpu", "--json", str(figures)]) == 0
    summary = json.loads(figures.read_text())
    assert summary["n"] == 10 and list(tmp_path.iterdir()) == [figures]
    assert summary["oracles"]["right answer"] >= right
    assert summary["protocols"]["strict"]["m_vIoU"] >= m_viou
    assert summary["protocols"]["strict"]["m_vIoU"] > summary["oracles"]["random track"]
    assert "right answer" in capsys.readouterr().out
