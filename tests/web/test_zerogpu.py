"""ZeroGPU: the decorator in its no-op mode, the real process border, what refusals say."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.structures import MarkedFrames, TimedFrame, Tube, VideoInfo
from stvg_r1_hub.web import zerogpu, zerogpu_tracking
from tests.builders import make_frames, marked
from tests.web.conftest import Demo

ROOT = Path(__file__).parents[2]


def clip_of(frames: int, side: int, objects: int) -> MarkedFrames:
    pixels = np.zeros((frames, 32, 32, 3), np.uint8)
    return marked(make_frames(pixels, model_size=(side, side)), *range(1, objects + 1))


def test_no_op_here() -> None:
    assert zerogpu.spaces is not None, "the spaces package belongs to the tests"
    assert not zerogpu.is_zero_gpu()
    assert not hasattr(zerogpu._answer_on_gpu, "zerogpu")


@pytest.mark.slow
def test_answers_on_this_machine_are_those_of_the_pipeline(demo: Demo) -> None:
    from stvg_r1_hub import STVGPipeline

    reading = STVGPipeline.from_pretrained("tiny")
    assert zerogpu_tracking.adapt("tiny", reading).vlm is reading.vlm  # Reading needs no GPU.
    config = replace(reading.config, reads_notes=False)
    here = STVGPipeline(config, reading.tracker, reading.vlm.sight)
    adapted = zerogpu_tracking.adapt("tiny", here)
    assert adapted.vlm is not here.vlm
    assert adapted(demo.query, demo.clip).raw_text == here(demo.query, demo.clip).raw_text


@pytest.mark.slow
def test_across_the_process_border(demo: Demo) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.web.zerogpu_process", str(demo.clip), demo.query],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout.splitlines()[-1])
    assert values["same"] and values["found"] and values["again"] and values["cancelled"]
    assert values["same_tracks"] and values["same_masks"] and values["one_by_one"]
    assert {"answer", "decode/track"} <= set(values["stages"])
    assert all(10 <= seconds <= zerogpu.LONGEST_SECONDS for seconds in values["asked_seconds"])


def test_seconds_grow_with_the_work_and_stay_small() -> None:
    prompts = ["p"]
    short, long = clip_of(16, 280, 3), clip_of(120, 280, 3)
    crowd, large = clip_of(16, 280, 40), clip_of(16, 560, 3)
    base = zerogpu.guessed_seconds(prompts, short, 2048)
    for more in (long, crowd, large):
        assert zerogpu.guessed_seconds(prompts, more, 2048) > base
    assert zerogpu.guessed_seconds(["p"] * 9, short, 2048) > base
    assert zerogpu.guessed_seconds(prompts, short, 20) < base
    assert 10 <= zerogpu.gpu_seconds("x", prompts, short, 2048) <= 30
    huge = clip_of(700, 560, 90)
    assert zerogpu.gpu_seconds("x", prompts * 30, huge, 2048) == zerogpu.LONGEST_SECONDS


def test_a_part_asks_for_less() -> None:
    """Only the frames of the part cross, and what is asked for follows them."""
    times = np.arange(400) / 10
    pixels = np.zeros((2, 2, 3), np.uint8)
    frames = [TimedFrame(i, float(t), pixels) for i, t in enumerate(times)]
    info = VideoInfo("clip", 2, 2, times, 40.0)
    key = zerogpu_tracking.TrackerKey("tiny", "paper", TrackingConfig())
    tube = Tube((1,), 0.0, 1.0, ())
    for of in (
        lambda some: zerogpu_tracking._tracking_seconds(key, some, info, None),
        lambda some: zerogpu_tracking._masking_seconds("tiny", tube, some, 2, 2),
    ):
        assert of(frames[100:200]) < of(frames) <= zerogpu.LONGEST_SECONDS


def test_cost_follows_what_calls_took() -> None:
    cost = zerogpu.Cost()
    for _ in range(30):
        cost.learn(guessed=10.0, taken=20.0)
    assert cost.ratio == pytest.approx(2.0, rel=0.05)
    for _ in range(60):
        cost.learn(guessed=10.0, taken=5.0)
    assert cost.ratio == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("title", "message", "words"),
    [
        ("ZeroGPU illegal duration", "The requested GPU duration (180s) is larger", "shorter clip"),
        (
            "ZeroGPU quota exceeded",
            "You have exceeded your free ZeroGPU quota (90s requested vs. 3s left). "
            "Try again in 3:12:09. <a href='x'>Subscribe</a>",
            "try again in 3:12:09",
        ),
        ("ZeroGPU quota exceeded", "Space app has reached its GPU limit.", "try again later"),
        ("ZeroGPU queue timeout", "No GPU was available", "busy"),
        ("ZeroGPU worker error", "GPU task aborted", "stopped before"),
    ],
)
def test_refusals_are_one_sentence(title: str, message: str, words: str) -> None:
    import gradio as gr

    said = zerogpu.explain(gr.Error(message, title=title, print_exception=False))
    assert said is not None and words in said and "<" not in said


def test_other_errors_are_not_explained_away() -> None:
    assert zerogpu.explain(RuntimeError("ZeroGPU")) is None
