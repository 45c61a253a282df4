"""Sizes of the bundled model: what a CPU can train in an evening, and what one GPU can."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stvg_r1_hub.config import (
    GenerationSettings,
    MarkerStyle,
    SamplingConfig,
    STVGConfig,
    TrackingConfig,
)

PATCH, MERGE, TEMPORAL = 14, 2, 2
FACTOR = PATCH * MERGE
"""Side of a visual token in pixels."""
TOKENS_PER_SECOND = 2
"""Temporal positions advance by this much a second, as in the 7B checkpoint."""


@dataclass(frozen=True)
class ModelSize:
    """Numbers that make a model small or large; everything else is the same."""

    name: str
    side: int
    """Frames are resized to side x side pixels."""
    hidden: int
    layers: int
    heads: int
    mlp: int
    vision_hidden: int
    vision_layers: int
    vision_heads: int
    vision_mlp: int
    mrope_section: tuple[int, int, int]
    marker: MarkerStyle
    """Training draws on frames as large as videos are, as the pipeline does: in small ones the
    lower limit of two pixels would make the lines thicker."""

    @property
    def tokens_per_side(self) -> int:
        """Visual tokens in a row of the frame."""
        return self.side // FACTOR

    @property
    def most_pixels(self) -> int:
        """Of a frame: one row and column more than `side`.

        At exactly `side` squared, rounding makes some square videos a token smaller: 336 pixels
        shrunk by 336 / 196 are just below 196.
        """
        return (self.side + 1) ** 2


SMALL = ModelSize(
    name="small",
    side=140,
    hidden=192,
    layers=4,
    heads=6,
    mlp=512,
    vision_hidden=128,
    vision_layers=4,
    vision_heads=4,
    vision_mlp=384,
    mrope_section=(4, 6, 6),
    # About 2.4 times the official digits, so that one digit fills a patch of the small frame.
    marker=MarkerStyle(font_scale=1.6, thickness_factor=3.5, min_area_ratio=0.0),
)
"""3 M parameters."""
LARGE = ModelSize(
    name="large",
    side=224,
    hidden=384,
    layers=6,
    heads=6,
    mlp=1056,
    vision_hidden=256,
    vision_layers=6,
    vision_heads=4,
    vision_mlp=768,
    mrope_section=(8, 12, 12),
    # 1.6 times the official digits.
    marker=MarkerStyle(font_scale=1.6 * 20 / 30, thickness_factor=3.0, min_area_ratio=0.0),
)
"""17 M parameters."""
DETAILED = replace(
    SMALL,
    name="detailed",
    side=196,
    marker=MarkerStyle(font_scale=0.9, thickness_factor=5.0, min_area_ratio=0.0),
)
"""The small model with twice the visual tokens, and numbers that are smaller in the picture: what
is bundled."""
SIZES = {size.name: size for size in (SMALL, DETAILED, LARGE)}


def bundle_config(size: ModelSize) -> STVGConfig:
    """What travels with the weights of a size."""
    return STVGConfig(
        sampling=SamplingConfig(
            fps=4.0,
            max_frames=64,
            min_pixels=size.side**2 // 2,
            max_pixels=size.most_pixels,
            total_pixels=64 * size.most_pixels,
            window_seconds=5.0,
        ),
        marker=size.marker,
        prompt_id="sprites-v1",
        reads_notes=True,
        generation=GenerationSettings(max_new_tokens=384),
        tracking=TrackingConfig(detector="detector", max_objects=9),
    )
