"""Which frames the language model sees, and how large."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub.config import SamplingConfig
from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.structures import VideoInfo
from stvg_r1_hub.video import plan_for, plan_sampling
from stvg_r1_hub.video.sampling import constant_rate, pixel_limits, spread

GOLDEN = next((Path(__file__).parents[1] / "golden").rglob("video_sampling.json"), None)


def options_to_sampling(options: dict) -> tuple[SamplingConfig, dict]:
    """The keys that qwen-vl-utils takes next to "video", as our records."""
    options = dict(options)
    rest = {
        "n_sampled": options.pop("nframes", None),
        "start_seconds": options.pop("video_start", None),
        "end_seconds": options.pop("video_end", None),
    }
    library = {"min_pixels": 128 * 28 * 28, "total_pixels": int(128000 * 28 * 28 * 0.9)}
    return SamplingConfig(**{**library, **options}), rest


@pytest.mark.skipif(GOLDEN is None, reason="golden data is not in the repository")
def test_golden_sampling():
    cases = json.loads(GOLDEN.read_text())["cases"]
    assert len(cases) >= 40
    for case in cases:
        sampling, rest = options_to_sampling(case["video_options"])
        arguments = (case["n_frames"], case["native_fps"], case["width"], case["height"])
        expected = case["expected"]
        if "error" in expected:
            with pytest.raises(VideoError):
                plan_sampling(*arguments, sampling, **rest)
            continue
        plan = plan_sampling(*arguments, sampling, **rest)
        assert list(plan.frame_indices) == expected["frame_indices"], case["name"]
        assert (plan.model_height, plan.model_width) == (
            expected["resized_height"],
            expected["resized_width"],
        )
        assert plan.sample_fps == expected["sample_fps"]
        assert pixel_limits(len(plan.frame_indices), sampling) == (
            expected["per_frame_min_pixels"],
            expected["per_frame_max_pixels"],
        )


def test_typical_clip_without_golden_data():
    plan = plan_sampling(500, 25.0, 1280, 720, SamplingConfig())
    assert plan.frame_indices[:3] == (0, 13, 26) and plan.frame_indices[-1] == 499
    assert (len(plan.frame_indices), plan.sample_fps) == (40, 2.0)
    assert (plan.model_height, plan.model_width) == (196, 364)


def test_size_factor_scales_the_rule():
    plan = plan_sampling(100, 25.0, 640, 480, SamplingConfig(size_factor=32))
    assert plan.model_height % 32 == 0 and plan.model_width % 32 == 0
    assert pixel_limits(8, SamplingConfig(size_factor=14))[1] == 768 * 14**2


def test_spread_is_torch_linspace():
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    for _ in range(200):
        first = int(random.integers(0, 5000))
        last = first + int(random.integers(2, 200_000))
        count = 2 * int(random.integers(1, min(384, (last - first) // 2 + 1) + 1))
        expected = torch.linspace(first, last, count).round().long().tolist()
        assert spread(first, last, count) == expected


@pytest.mark.parametrize("fps", [-1.0, 0.0, float("nan"), float("inf")])
def test_bad_frame_rate(fps):
    with pytest.raises(VideoError):
        plan_sampling(100, fps, 64, 64, SamplingConfig())


def test_millisecond_clock_still_gives_forty_frames():
    times = np.round(np.arange(600) / 30, 3)
    assert constant_rate(times) == 30.0
    info = VideoInfo("v", 640, 360, times, float(times[-1]) + 0.034)
    plan = plan_for(info, SamplingConfig())
    assert len(plan.frame_indices) == 40 and plan.sample_fps == 2.0


def test_ntsc_rate_is_recognised():
    assert constant_rate(np.round(np.arange(599) * 1001 / 30000, 3)) == pytest.approx(30000 / 1001)


def test_variable_rate_is_sampled_evenly_in_time():
    times = np.array([i / 10 for i in range(20)] + [2 + i * 0.4 for i in range(10)])
    info = VideoInfo("v", 96, 64, times, 6.0)
    assert constant_rate(times) is None
    plan = plan_for(info, SamplingConfig())
    assert len(plan.frame_indices) == 12
    gaps = np.abs(times[list(plan.frame_indices)] - np.linspace(0, times[-1], 12))
    assert gaps.max() < 0.4  # what is on the screen at that time
    assert plan.sample_fps == pytest.approx(2.0)


def test_frame_shown_for_long_is_repeated():
    info = VideoInfo("v", 96, 64, np.array([0, 8, 8.1, 8.2, 8.3, 8.4, 8.5, 8.6]), 8.7)
    assert plan_for(info, SamplingConfig()).frame_indices.count(0) > 3
