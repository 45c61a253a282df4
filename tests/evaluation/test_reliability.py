"""Confidence, abstention and cost, from result lines alone; and runs of very many samples."""

import json
import tracemalloc

import numpy as np
import pytest

from stvg_r1_hub.evaluation.benchmarks.temporal import read_timelens
from stvg_r1_hub.evaluation.evaluator import Evaluator, Reply
from stvg_r1_hub.evaluation.lines import line_of
from stvg_r1_hub.evaluation.prediction import Prediction
from stvg_r1_hub.evaluation.reliability import abstention_of, calibration_of, cost_of
from stvg_r1_hub.evaluation.report import write_report
from stvg_r1_hub.evaluation.results import (
    RESULTS_FILE,
    RunSettings,
    digest_of,
    iterate_lines,
    merge_lines,
    start_or_resume,
)
from stvg_r1_hub.evaluation.runner import run
from stvg_r1_hub.evaluation.samples import AnnotatedSample
from stvg_r1_hub.outputs import LineWriter
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.sprites.clips import clip_scene, write_clip
from stvg_r1_hub.vlm.scripted import ScriptedVLM
from tests.evaluation.layouts import write_json

TIMES = np.arange(100) / 10


def line(number, *, right, confidence=None, nothing=False, declined=False, seconds=1.0):
    """A result about time alone."""
    truth = (None, None) if nothing else (1.0, 3.0)
    sample = AnnotatedSample(str(number), "a.mp4", "it", *truth)
    start, end = (1.0, 3.0) if right else (7.0, 9.0)
    prediction = Prediction(
        start_seconds=None if declined else start, end_seconds=None if declined else end,
        confidence=confidence, declined=declined, frame_times=TIMES,
    )  # fmt: skip
    reply = Reply(prediction, {"total": seconds}, (), {"seen": 100, "written": 8})
    return line_of(sample, "time", reply, seed=0)


def test_calibration_compares_stated_confidence_with_right_answers():
    assert calibration_of([line(0, right=True)], "time") is None, "a model that does not tell"
    lines = [line(i, right=i < 8, confidence=0.8) for i in range(10)]
    assert calibration_of(lines, "time").error == pytest.approx(0)
    lines += [line(i, right=False, confidence=1.0) for i in range(10, 20)]
    found = calibration_of(lines, "time")
    assert found.error == pytest.approx(0.5)
    assert [(n, right) for _, _, n, _, right in found.bins] == [(10, 0.8), (10, 0)]
    assert found.auroc == pytest.approx((2 * 0.5 + 10 * 0) / 12)
    sure = [line(0, right=True, confidence=0.9), line(1, right=False, confidence=0.3)]
    assert calibration_of(sure, "time").auroc == 1
    assert calibration_of(sure[:1], "time").auroc is None, "nothing wrong to tell it from"
    none = line(0, right=False, nothing=True, declined=True, confidence=0.9)
    assert calibration_of([none], "time").bins[0][4] == 1, "rightly none is right"


def test_abstention_and_cost():
    lines = [
        line(0, right=True, seconds=3.0),
        line(1, right=False, declined=True),
        line(2, right=False, nothing=True, declined=True),
        line(3, right=False, nothing=True),
    ]
    assert abstention_of(lines) == {
        "nothing matches": 2, "right none": 1, "missed none": 1, "something matches": 2,
        "wrong none": 1,
    }  # fmt: skip
    assert cost_of(lines) == {"seconds": 1.5, "tokens seen": 100, "tokens written": 8}


def settings_of(samples, **other):
    values = {
        "benchmark": "charades-timelens", "title": "Charades-TimeLens", "task": "time",
        "model": "m", "model_fingerprint": "f" * 64, "tracker": "auto", "answers": "ids",
        "tracks": "", "seed": 0, "annotations_sha256": digest_of(samples),
        "first_frame_number": 1, "n_samples": len(samples),
    }  # fmt: skip
    return RunSettings(**values | other)


def test_a_report_shows_what_a_model_tells_of_itself(tmp_path):
    lines = [line(i, right=i % 2 == 0, confidence=0.5, nothing=i == 3) for i in range(6)]
    start_or_resume(settings_of([], n_samples=6), tmp_path)
    with LineWriter(tmp_path / RESULTS_FILE) as writer:
        for one in lines:
            writer.write(one)
    page = write_report(tmp_path)
    for text in (page.read_text(), page.with_suffix(".md").read_text()):
        assert "Reliability" in text and "Expected calibration error: " in text
        assert "Abstention" in text and "1 missed" in text and "tokens seen" in text
    assert (tmp_path / "plots/calibration.png").stat().st_size > 1000


def test_memory_stays_flat_over_many_answers_and_a_run_is_taken_up(tmp_path):
    """Many questions about one clip; what is kept of an answer is on the disk alone."""
    scene = clip_scene("easy", 21, 0)
    write_clip(scene, tmp_path / "a.mp4")
    count, duration = 120, scene.duration_seconds
    record = {"duration": duration, "queries": ["it jumps"] * count, "spans": [[1, 2]] * count}
    samples = read_timelens(write_json(tmp_path / "t.json", {"a": record}), tmp_path).samples
    taken, answered = [], 0

    def answer(prompt):
        nonlocal answered
        answered += 1
        if answered == 40:
            tracemalloc.start()
        if answered in (60, 100):
            taken.append(tracemalloc.get_traced_memory()[0])
        if answered == 110:
            raise KeyboardInterrupt
        return "1.0 to 2.0"

    tiny = STVGPipeline.from_pretrained("tiny", device="cpu")
    evaluator = Evaluator(STVGPipeline(tiny.config, tiny.tracker, ScriptedVLM(answer)), "time")
    evaluator.pipeline.vlm.prompts = _Forgetful()
    settings, out = settings_of(samples), tmp_path / "out"
    try:
        with pytest.raises(KeyboardInterrupt):
            run(evaluator, samples, settings, out)
    finally:
        tracemalloc.stop()
    assert taken[1] - taken[0] < 40 * 500, "bytes that 40 answers leave behind"
    run(evaluator, samples, settings, out)
    assert answered == count + 1, "the one that was cut is asked again, the others are not"
    ids = [found["sample_id"] for found in iterate_lines(out)]
    assert ids == [sample.sample_id for sample in samples]


class _Forgetful(list):
    """Of the scripted model, which remembers its prompts."""

    def append(self, prompt):
        pass


@pytest.mark.slow
def test_forty_thousand_results_are_put_in_order_one_at_a_time(tmp_path):
    one = line(0, right=True)
    for rank in (0, 1):
        with (tmp_path / f"results.{rank}.jsonl").open("w") as file:
            for i in range(rank, 40_000, 2):
                file.write(_as_text(one, i))
    tracemalloc.start()
    merge_lines(tmp_path, [str(i) for i in range(40_000)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not list(tmp_path.glob("results.*.jsonl"))
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert len(lines) == 40_000 and '"39999"' in lines[-1] and '"1"' in lines[1]
    assert peak < (tmp_path / "results.jsonl").stat().st_size / 2


def _as_text(values, number):
    return json.dumps({**values, "sample_id": str(number), "text": "x" * 1000}) + "\n"
