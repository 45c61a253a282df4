"""What a checkpoint was trained with, as one record that travels with its weights.

`STVGConfig` is saved as `stvg_config.json` beside the weights. The defaults are the official
STVG-R1 preset (see each field), so a bare Qwen2.5-VL repository gets exactly those.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import ConfigError, package_origin

CONFIG_NAME = "stvg_config.json"
CONFIG_VERSION = 1
TIMES_AS_TEXT = ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
"""`model_type` of the models that were trained with the time of frames as text before them."""
RETIRED = ("hints_prompt_id", "seen_classes")
"""Fields of earlier versions that mean nothing any more; saved bundles still have them."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True)
class SamplingConfig:
    """How frames are chosen and sized, by the rule of qwen-vl-utils 0.0.14."""

    fps: float = 2.0
    """Sampled frames per second of video."""
    min_frames: int = 4
    max_frames: int = 768
    min_pixels: int = 16 * 28 * 28
    """Lower bound for one frame after resizing."""
    max_pixels: int | None = None
    """Upper bound for one frame; None leaves it to `total_pixels`."""
    total_pixels: int = 2048 * 28 * 28
    """Budget that all frames of a clip share."""
    size_factor: int = 28
    """Height and width become multiples of this: patch size times merge size."""
    window_seconds: float = 20.0
    """Most of a long video that is asked about at once: about a clip of training."""

    def __post_init__(self) -> None:
        _require(
            math.isfinite(self.fps) and 0 < self.fps <= 120,
            f"sampling fps must be in (0, 120], got {self.fps}",
        )
        _require(
            2 <= self.min_frames <= self.max_frames,
            f"need 2 <= min_frames <= max_frames, got {self.min_frames} and {self.max_frames}",
        )
        _require(
            math.isfinite(self.window_seconds) and self.window_seconds > 0,
            f"window_seconds must be positive, got {self.window_seconds}",
        )
        _require(
            self.size_factor > 0 and self.min_pixels > 0 and self.total_pixels > 0,
            "size_factor, min_pixels and total_pixels must be positive, got "
            f"{self.size_factor}, {self.min_pixels}, {self.total_pixels}",
        )
        _require(
            self.max_pixels is None or self.max_pixels >= self.min_pixels,
            f"max_pixels {self.max_pixels} is below min_pixels {self.min_pixels}",
        )


@dataclass(frozen=True)
class MarkerStyle:
    """How numbers are drawn: Hershey simplex digits, origin (bottom left) at the object's centre.

    scale = `font_scale` * max(W, H) / 336; thickness = max(2, int(`thickness_factor` * scale)).
    """

    font_scale: float = 20 / 30
    """Size of the digits at 336 pixels; the official value."""
    thickness_factor: float = 2.0
    color_rgb: tuple[int, int, int] = (255, 0, 0)
    min_area_ratio: float = 1 / 3
    """An object smaller than this share of the largest one in the same frame is not marked: of all
    masks, or of the boxes of its class (`marking.size_kind`)."""

    def __post_init__(self) -> None:
        _require(self.font_scale > 0, f"font_scale must be positive, got {self.font_scale}")
        _require(
            self.thickness_factor > 0,
            f"thickness_factor must be positive, got {self.thickness_factor}",
        )
        _require(
            0 <= self.min_area_ratio <= 1,
            f"min_area_ratio must be in 0..1, got {self.min_area_ratio}",
        )
        _require(
            len(self.color_rgb) == 3 and all(0 <= c <= 255 for c in self.color_rgb),
            f"color_rgb must be three values in 0..255, got {self.color_rgb}",
        )


@dataclass(frozen=True)
class GenerationSettings:
    """Limits of the answer; everything else comes from the checkpoint's generation_config."""

    max_new_tokens: int = 2048

    def __post_init__(self) -> None:
        _require(
            self.max_new_tokens > 0, f"max_new_tokens must be positive, got {self.max_new_tokens}"
        )


@dataclass(frozen=True)
class ConfidenceMap:
    """How often an answer is right whose tokens were so sure, as a logistic curve.

    A model that reasons before it answers has decided by then: the number in its answer is all but
    certain, and how sure it was shows in the whole text.
    """

    intercept: float
    slope: float
    """Of the mean natural logarithm of the likeliest token's probability, over the whole text."""
    source: str = ""
    """The command and the clips that it was fitted on."""

    def __post_init__(self) -> None:
        _require(
            math.isfinite(self.intercept) and math.isfinite(self.slope) and self.slope >= 0,
            "the confidence needs a finite intercept and a slope of at least 0, got "
            f"{self.intercept} and {self.slope}",
        )

    def probability(self, mean_log_probability: float) -> float:
        """0..1."""
        return 1 / (1 + math.exp(-self.intercept - self.slope * max(mean_log_probability, -20.0)))


@dataclass(frozen=True)
class TrackingConfig:
    """Detection and association, independent of what the language model samples."""

    detector: str = "auto"
    """`"auto"`, `"coco"`, a folder inside the bundle, or a transformers detector's Hub id."""
    fps: float = 8.0
    """Detected frames per second of video."""
    score_threshold: float | None = None
    """Detections below this are ignored, in 0..1; None takes what suits the detector."""
    class_mode: str = "all"
    """What is tracked: `"all"`, `"person"`, `"non-person"`, or classes such as `"dog,cat"`."""
    max_objects: int = 99
    """Most objects kept; three-digit numbers cannot be read by the model."""

    def __post_init__(self) -> None:
        _require(
            math.isfinite(self.fps) and 0 < self.fps <= 120,
            f"tracking fps must be in (0, 120], got {self.fps}",
        )
        _require(
            self.score_threshold is None or 0 <= self.score_threshold < 1,
            f"score_threshold must be in [0, 1) or null, got {self.score_threshold}",
        )
        _require(
            all(name.strip() for name in self.class_mode.split(",")),
            "class_mode must be all, person, non-person, or names of classes with commas, got "
            f"{self.class_mode!r}",
        )
        _require(self.max_objects > 0, f"max_objects must be positive, got {self.max_objects}")

    def of_classes(self, classes: str | Sequence[str] | None) -> TrackingConfig:
        """The same for these classes, as `class_mode` says them or listed; None keeps it."""
        if classes is None:
            return self
        named = classes if isinstance(classes, str) else ",".join(classes)
        return dataclasses.replace(self, class_mode=named)


@dataclass(frozen=True)
class STVGConfig:
    """Everything about a checkpoint that is not a weight."""

    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    marker: MarkerStyle = field(default_factory=MarkerStyle)
    prompt_id: str = "stvg-r1"
    """Name of the prompt template in `prompting.PROMPTS`."""
    time_prompt_id: str = "time-r1"
    """The same for questions about time alone (`markers=False`)."""
    reads_notes: bool = False
    """Answer from the track notes what they can say, and ask the weights the rest alone; see
    `vlm.reader`."""
    position_rule: str = "transformers-4.50"
    """How the model is told the time: by positions as in transformers 4.50 or as in the
    `"installed"` one, or by `"timestamps"` in the text (`TIMES_AS_TEXT`)."""
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    confidence: ConfidenceMap | None = None
    """None takes the probability of the object's number where the answer names it."""

    def __post_init__(self) -> None:
        allowed = ("transformers-4.50", "installed", "timestamps")
        _require(
            self.position_rule in allowed,
            f"position_rule must be one of {allowed}, got {self.position_rule!r}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the file's version."""
        return {"version": CONFIG_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> STVGConfig:
        """Inverse of `to_dict`.

        Raises:
            ConfigError: an unknown field, a value that is not allowed, or a newer version.
        """
        values = {name: value for name, value in values.items() if name not in RETIRED}
        version = values.pop("version", CONFIG_VERSION)
        if not (isinstance(version, int) and version <= CONFIG_VERSION):
            raise ConfigError(
                f"{CONFIG_NAME} has version {version}, this package reads up to {CONFIG_VERSION}; "
                f"upgrade with: pip install --upgrade {package_origin()} (a clone needs git pull "
                "first)."
            )
        sections = {
            "sampling": SamplingConfig,
            "marker": MarkerStyle,
            "generation": GenerationSettings,
            "tracking": TrackingConfig,
            "confidence": ConfidenceMap,
        }
        if values.get("confidence") is None:
            values.pop("confidence", None)
        for name, section in sections.items():
            if name in values:
                values[name] = _from_fields(section, values[name], name)
        config: STVGConfig = _from_fields(cls, values, CONFIG_NAME)
        return config

    def save(self, folder: str | Path) -> None:
        """Write `stvg_config.json` into a folder."""
        text = json.dumps(self.to_dict(), indent=2) + "\n"
        (Path(folder) / CONFIG_NAME).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> STVGConfig:
        """Read `stvg_config.json` of a folder.

        Raises:
            ConfigError: the file is not readable JSON, or its values are not allowed.
        """
        path = Path(folder) / CONFIG_NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"Cannot read {path}: {error}") from error
        _require(isinstance(values, dict), f"{path} must hold a JSON object")
        return cls.from_dict(values)


def _from_fields(cls: type, values: Any, where: str) -> Any:
    """Build a config dataclass from a dict, naming an unknown or wrongly typed field."""
    _require(isinstance(values, dict), f"{where} must be an object, got {values!r}")
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    _require(not unknown, f"unknown field {unknown} in {where}; known are {sorted(known)}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"wrong value in {where}: {error}") from error
