"""The README.md of a saved pipeline, filled from its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import ModelError

CARD_NAME = "README.md"
SUMMARY_NAME = "summary.json"
"""All figures of a run, in the results folder of `stvg eval`."""

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

{measured}## Intended use

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
    figures: Mapping[str, Any] | None = None
    """What `read_figures` read; its numbers are shown."""


def model_card(name: str, config: STVGConfig, facts: CardFacts | None = None) -> str:
    """Markdown with Hub front matter.

    Args:
        name: title of the card.
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
        measured=_measured(facts.figures) if facts.figures else "",
        licence=licence,
        detector_licence=_detector_licence(config.tracking.detector),
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


def read_figures(results: str | Path) -> dict[str, Any]:
    """What an evaluation measured.

    Args:
        results: the `--out` folder of `stvg eval`, its `summary.json`, or what `--json` wrote.

    Raises:
        ModelError: it cannot be read, or no figure is in it.
    """
    path = Path(results)
    if path.is_dir():
        path = path / SUMMARY_NAME
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Cannot read the results {path} ({error}); name the --out folder or the --json file "
            "of a finished `stvg eval`."
        ) from error
    if not isinstance(figures, dict):
        raise ModelError(f"The results {path} must hold one JSON object.")
    try:
        shown = _columns(figures) if "protocols" in figures else _numbers(figures)
        _measured(figures)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"The results {path} are not what `stvg eval` writes ({error!r}); "
            "write them again with `stvg eval --report DIR`."
        ) from error
    if not shown:
        raise ModelError(f"The results {path} hold no figures; a card can show none.")
    return figures


def _measured(figures: Mapping[str, Any]) -> str:
    """The figures of an evaluation, with the texts that say what was measured."""
    facts = {key: value for key, value in figures.items() if isinstance(value, str)}
    if "protocols" not in figures:
        said = "".join(f"{key}: {_cell(value)}  \n" for key, value in facts.items())
        rows = "\n".join(f"| {key} | {value:g} |" for key, value in _numbers(figures).items())
        return f"## Measured\n\n{said}\n| figure | value |\n|---|---:|\n{rows}\n\n"
    columns = _columns(figures)
    head = f"| protocol | n | {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) + 1)}\n"
    rows = "\n".join(
        f"| {name} | {row['n']} | {' | '.join(_percent(row.get(c)) for c in columns)} |"
        for name, row in figures["protocols"].items()
    )
    return f"## Measured\n\n{_what_was_measured(facts, figures)}\n\n{head}{rows}\n\n"


def _what_was_measured(facts: Mapping[str, str], figures: Mapping[str, Any]) -> str:
    """Benchmark, model and tracker; of files on this disk only the names."""
    model = _without_folders(facts["model"])
    prepared = facts.get("tracks")
    tracker = (
        f"prepared tracks {_without_folders(prepared)}"
        if prepared
        else (f"tracker {_without_folders(facts['tracker'])}")
    )
    written = ", boxes written as text by the model" if facts["answers"] == "boxes" else ""
    return (
        f"`stvg eval {facts['benchmark']}` with {model} (fingerprint "
        f"{facts['model_fingerprint'][:16]}), {tracker}{written}: {figures['n']} samples, "
        f"{figures['n_failed']} of them failed. Figures in percent. `honest` counts every sample, "
        "a failed one as 0; the other protocols follow the scripts of the papers they are named "
        "after, which may drop samples (n)."
    )


def _without_folders(name: str) -> str:
    """A model's or tracker's name; of an own folder the last part, nobody's disk is published."""
    own = Path(name).is_absolute() or name.startswith((".", "~")) or Path(name).exists()
    return _cell(Path(name).name if own else name)


def _columns(figures: Mapping[str, Any]) -> list[str]:
    """Names of all metrics that any protocol has."""
    rows = figures["protocols"].values()
    return [name for name in dict.fromkeys(n for row in rows for n in row) if name != "n"]


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: value
        for key, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _detector_licence(detector: str) -> str:
    if detector in ("auto", "coco"):
        return "NanoDet, Apache-2.0, its weights MIT, comes with the package"
    if detector in ("yolo", "paper"):
        return "YOLO of ultralytics, AGPL-3.0"
    return f"`{detector}`, see there"
