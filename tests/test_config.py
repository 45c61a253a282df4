import json
import math

import pytest

from stvg_r1_hub.config import (
    CONFIG_NAME,
    ConfidenceMap,
    GenerationSettings,
    MarkerStyle,
    SamplingConfig,
    STVGConfig,
    TrackingConfig,
)
from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.prompting import PROMPTS


def test_default_is_the_official_preset():
    config = STVGConfig()
    assert config.sampling.total_pixels == 2048 * 28 * 28
    assert config.sampling.min_pixels == 16 * 28 * 28
    assert config.sampling.fps == 2.0
    assert config.marker == MarkerStyle(20 / 30, 2.0, (255, 0, 0), 1 / 3)
    assert config.prompt_id in PROMPTS
    assert config.position_rule == "transformers-4.50"


def test_save_and_load_give_the_same(tmp_path):
    config = STVGConfig(
        sampling=SamplingConfig(fps=4.0, max_pixels=50_000),
        marker=MarkerStyle(font_scale=16 / 15, color_rgb=(0, 255, 0)),
        prompt_id="sprites-v1",
        generation=GenerationSettings(max_new_tokens=64),
        tracking=TrackingConfig(detector="detector", fps=15.0),
    )
    config.save(tmp_path)
    assert STVGConfig.load(tmp_path) == config
    assert STVGConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert STVGConfig.from_dict({}) == STVGConfig()


def test_bundles_saved_with_fields_that_are_gone_still_load():
    old = {**STVGConfig().to_dict(), "hints_prompt_id": "sprites-hints-v1", "seen_classes": ["dog"]}
    assert STVGConfig.from_dict(old) == STVGConfig()
    with pytest.raises(ConfigError, match="seen_kinds"):
        STVGConfig.from_dict({"seen_kinds": ["dog"]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": 1}, "colour"),
        ({"marker": {"font": 3}}, "font.*marker"),
        ({"marker": 3}, "marker must be an object"),
        ({"sampling": {"fps": float("nan")}}, "fps"),
        ({"sampling": {"fps": 0}}, "fps"),
        ({"sampling": {"min_frames": 1}}, "min_frames"),
        ({"sampling": {"max_pixels": 1}}, "max_pixels"),
        ({"sampling": {"fps": "fast"}}, "sampling"),
        ({"marker": {"font_scale": 0}}, "font_scale"),
        ({"marker": {"color_rgb": [1, 2]}}, "color_rgb"),
        ({"marker": {"min_area_ratio": 2}}, "min_area_ratio"),
        ({"tracking": {"score_threshold": 1}}, "score_threshold"),
        ({"generation": {"max_new_tokens": 0}}, "max_new_tokens"),
        ({"position_rule": "mine"}, "position_rule"),
        ({"version": 99}, "version 99"),
    ],
)
def test_values_that_are_not_allowed(values, message):
    with pytest.raises(ConfigError, match=message):
        STVGConfig.from_dict(values)


@pytest.mark.parametrize("text", ["", "[", "[]", "3"])
def test_unreadable_file(tmp_path, text):
    (tmp_path / CONFIG_NAME).write_text(text)
    with pytest.raises(ConfigError, match=CONFIG_NAME):
        STVGConfig.load(tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="Cannot read"):
        STVGConfig.load(tmp_path)


def test_how_sure_an_answer_is_follows_a_curve(tmp_path):
    config = STVGConfig(confidence=ConfidenceMap(4.0, 10.0, "a command"))
    config.save(tmp_path)
    assert STVGConfig.load(tmp_path) == config
    assert config.confidence.probability(-0.4) == pytest.approx(0.5)
    assert 0 <= config.confidence.probability(-math.inf) < 1e-6
    assert STVGConfig.from_dict({"confidence": None}) == STVGConfig()
    for bad in ({"intercept": math.nan, "slope": 1.0}, {"intercept": 1.0, "slope": -1.0}):
        with pytest.raises(ConfigError, match="slope of at least 0"):
            STVGConfig.from_dict({"confidence": bad})
