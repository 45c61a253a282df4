"""The README.md of a saved pipeline, filled from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.hub.results import measured
from stvg_r1_hub.hub.training_record import TrainingStage, how_trained

CARD_NAME = "README.md"

_TEMPLATE = """\
---
{front}library_name: stvg_r1_hub
pipeline_tag: video-text-to-text
tags:
- spatio-temporal-video-grounding
- video
- qwen2_5_vl
---
# {name}

Answers *where and when in this video is what you describe?* Every object in the video is tracked,
its number is drawn on it, and the model names the number and the time range.

```python
from stvg_r1_hub import STVGPipeline

pipeline = STVGPipeline.from_pretrained("{repository}")  # a Hub id, or a folder with these files
result = pipeline("the dog jumping", "clip.mp4")
print(result.found, result.object_ids, result.start_seconds, result.end_seconds)
result.save_video("overlay.mp4")
```

The package is not on PyPI: install it in a clone of its repository, with `pip install .`.

## Settings the weights were used with

They are in `stvg_config.json` and are restored by `from_pretrained`.

| setting | value |
|---|---|
| frames per second | {fps:g} |
| frames per clip | {min_frames} to {max_frames} |
| pixels per clip | at most {total_pixels} |
| prompt | `{prompt_id}` |
| number size | {font_scale:g} at 336 pixels |
| video positions | `{position_rule}` |
| detector | `{detector}` |
| tracking, frames per second | {tracking_fps:g} |

{trained}{measured}## Intended use

Finding a described object and moment in one's own videos, and research on that. Not for
identifying people, and not for decisions about them.

## Limits

* The answer is only as good as the tracks: an object the detector misses cannot be named.
* The language model may be wrong; an answer that names no number of the video is reported as
  not found, and a box is never invented.
* Times are read off the sampled frames and are no finer than those.

## Licence

{licence} The detector: {detector_licence}. The package itself is Apache-2.0.
"""


_UNKNOWN_LICENCE = (
    "The weights keep the licence of the model they come from: name it in a `license:` line at "
    "the top of this card before publishing."
)


@dataclass(frozen=True)
class CardFacts:
    """What a card says of where the weights come from; nothing is guessed."""

    license: str | None = None
    """Identifier of the Hub, such as `"apache-2.0"`; of the weights."""
    base_model: str | None = None
    """Hub id of the model they were trained from."""
    relation: str = "finetune"
    """`"finetune"` or `"adapter"`."""
    own_detector: bool = False
    """Whether the detector lies in a folder beside the weights."""
    training: tuple[TrainingStage, ...] = ()
    """What `training_record.load_training` read."""
    figures: Mapping[str, Any] | None = None
    """What `card_results.read_figures` read; its numbers are shown."""


def model_card(name: str, config: STVGConfig, facts: CardFacts | None = None) -> str:
    """Markdown with Hub front matter.

    Args:
        name: title of the card; a Hub id is also shown in its example.
        config: the settings that are saved beside the weights.
        facts: origin, licence and figures, as far as they are known.
    """
    facts = facts or CardFacts()
    front = f"license: {facts.license}\n" if facts.license else ""
    if facts.base_model:
        front += f"base_model: {facts.base_model}\nbase_model_relation: {facts.relation}\n"
    licence = f"The weights: {facts.license}." if facts.license else _UNKNOWN_LICENCE
    return _TEMPLATE.format(
        front=front,
        trained=how_trained(facts.training),
        measured=measured(facts.figures) if facts.figures else "",
        licence=licence,
        detector_licence=_detector_licence(config.tracking.detector, facts.own_detector),
        name=name,
        repository=name if "/" in name else ".",
        fps=config.sampling.fps,
        min_frames=config.sampling.min_frames,
        max_frames=config.sampling.max_frames,
        total_pixels=config.sampling.total_pixels,
        prompt_id=config.prompt_id,
        font_scale=config.marker.font_scale,
        position_rule=config.position_rule,
        detector=config.tracking.detector,
        tracking_fps=config.tracking.fps,
    )


def _detector_licence(detector: str, own: bool) -> str:
    if detector in ("auto", "coco"):
        return "NanoDet, Apache-2.0, its weights MIT, comes with the package"
    if detector in ("yolo", "paper"):
        return "YOLO of ultralytics, AGPL-3.0"
    if own:
        return f"comes with the weights, in the folder `{detector}`"
    return f"`{detector}`, see there"


def card_data(folder: str | Path) -> Any:
    """What the head of a folder's model card says, as huggingface_hub reads it; None without."""
    from huggingface_hub import ModelCard

    card = Path(folder) / CARD_NAME
    if not card.is_file():
        return None
    try:
        return ModelCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    except (ValueError, OSError):
        return None
