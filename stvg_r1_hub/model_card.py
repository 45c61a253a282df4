"""The README.md of a saved pipeline, filled from its settings."""

from __future__ import annotations

from stvg_r1_hub.config import STVGConfig

CARD_NAME = "README.md"

_TEMPLATE = """\
---
library_name: stvg_r1_hub
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

pipeline = STVGPipeline.from_pretrained("<this repository>")
result = pipeline("the dog jumping", "clip.mp4")
print(result.object_ids, result.start_seconds, result.end_seconds)
```

Install the package with `pip install stvg-r1-hub`.

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

## Limits

* The answer is only as good as the tracks: an object the detector misses cannot be named.
* The language model may be wrong; an answer that names no number of the video is reported as
  not found, and a box is never invented.
* Times are read off the sampled frames and are no finer than those.

## Licence

The weights keep the licence of the model they come from: name it in the `license:` line of this
card before publishing. The package itself is Apache-2.0.
"""


def model_card(name: str, config: STVGConfig) -> str:
    """Markdown with Hub front matter.

    Args:
        name: title of the card.
        config: the settings that are saved beside the weights.
    """
    return _TEMPLATE.format(
        name=name,
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
