"""Prompt and encoded video -> the decoder's token ids and positions.

Three ways to tell the model about time, named by `STVGConfig.position_rule`:
`"transformers-4.50"` writes it into the positions as that release did, `"installed"` as the
installed transformers does, and `"timestamps"` writes it as text before every grid step, which
is how Qwen3-VL was trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stvg_r1_hub.errors import ConfigError, first_line
from stvg_r1_hub.vlm.positions import mrope_positions

if TYPE_CHECKING:
    import torch

VISION_START, VIDEO_PAD, VISION_END = "<|vision_start|>", "<|video_pad|>", "<|vision_end|>"


@dataclass(frozen=True)
class EncodedVideo:
    """A clip after the vision tower."""

    features: torch.Tensor
    """`(tokens, hidden)`, ordered by time, row, column."""
    grid_thw: tuple[int, int, int]
    """Patches along time, height and width, before merging."""
    second_per_grid: float
    """Seconds of video in one temporal step."""
    step_seconds: tuple[float, ...]
    """The middle of each temporal step, in seconds from the video's start."""
    deepstack: tuple[torch.Tensor, ...] = ()
    """`(tokens, hidden)` for each early decoder layer that sees the video too; Qwen3-VL only."""


def asked_text(processor: Any, prompt: str) -> str:
    """One question as the chat template writes it; the text comes before the video.

    Raises:
        ConfigError: the template cannot be used, or does not write the video's place exactly once.
    """
    from jinja2 import TemplateError

    content = [{"type": "text", "text": prompt}, {"type": "video"}]
    try:
        text: str = processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, TypeError) as error:
        raise ConfigError(
            f"The chat template cannot write a question about a video ({first_line(error)[:100]}); "
            "take the one of the model it was made from."
        ) from error
    n_places = text.count(VIDEO_PAD)
    if n_places != 1:
        raise ConfigError(
            f"The chat template made {n_places} video places of one video; the model's "
            f"chat template must write {VIDEO_PAD} exactly once."
        )
    return text


def token_ids(processor: Any, prompt: str, video: EncodedVideo, position_rule: str) -> list[int]:
    """Token ids of one question.

    Raises:
        ConfigError: as `asked_text`.
    """
    text = asked_text(processor, prompt)
    n_visual = len(video.features)
    if position_rule == "timestamps":
        # As in transformers 4.57, with which Qwen3-VL came: the frames' own start and end marks
        # take the place of those around the whole video.
        place = VISION_START + VIDEO_PAD + VISION_END
        place = place if place in text else VIDEO_PAD
        frame = VISION_START + VIDEO_PAD + VISION_END
        written = "".join(f"<{seconds:.1f} seconds>{frame}" for seconds in video.step_seconds)
        text = text.replace(place, written)
        n_visual //= len(video.step_seconds)
    ids: list[int] = []
    pad = processor.tokenizer.convert_tokens_to_ids(VIDEO_PAD)
    for token in processor.tokenizer(text).input_ids:
        ids += [token] * (n_visual if token == pad else 1)
    return ids


def positions(model: Any, row: list[int], video: EncodedVideo, position_rule: str) -> torch.Tensor:
    """`(3, L)` temporal, height and width positions of one sequence of token ids."""
    import torch

    config = model.config
    if position_rule == "transformers-4.50":
        # Qwen2-VL knows no seconds: its temporal positions count the steps.
        per_second = getattr(config.vision_config, "tokens_per_second", None)
        by_rule, _ = mrope_positions(
            np.array(row),
            np.array([video.grid_thw]),
            [1.0 if per_second is None else video.second_per_grid],
            video_token_id=config.video_token_id,
            tokens_per_second=1.0 if per_second is None else per_second,
            merge_size=config.vision_config.spatial_merge_size,
        )
        return torch.from_numpy(by_rule)
    ids = torch.tensor([row])
    installed, _ = model.model.get_rope_index(
        ids,
        mm_token_type_ids=(ids == config.video_token_id).int() * 2,
        video_grid_thw=torch.tensor([video.grid_thw]),
        second_per_grid_ts=torch.tensor([video.second_per_grid]),
    )
    result: torch.Tensor = installed[:, 0]
    return result
