"""One prompt and its clip as model inputs: what all completions of a group have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.vlm.positions import mrope_positions
from stvg_r1_hub.vlm.processing import chat_text


@dataclass(frozen=True)
class Question:
    """Model inputs of one prompt with P tokens, the video's among them."""

    input_ids: Tensor
    """`(P,)` int64, up to where the answer starts."""
    position_ids: Tensor
    """`(3, P)` int64 M-RoPE positions, by the rule of transformers 4.50."""
    next_position: int
    """Position of the first token of the answer, equal on all three axes."""
    pixel_values: Tensor
    """`(patches, 1176)` float32, as the processor orders them."""
    grid_thw: Tensor
    """`(1, 3)` int64, patches along time, height and width, before merging."""

    def __len__(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device | str) -> Question:
        """The same on another device."""
        return Question(
            self.input_ids.to(device),
            self.position_ids.to(device),
            self.next_position,
            self.pixel_values.to(device),
            self.grid_thw.to(device),
        )


class QuestionBuilder:
    """Makes `Question`s for one checkpoint."""

    def __init__(self, processor: Any, model_config: Any, position_rule: str) -> None:
        """Take the processor and config of a Qwen2.5-VL checkpoint.

        Raises:
            ConfigError: the checkpoint's positions follow another rule.
        """
        if position_rule != "transformers-4.50":
            raise ConfigError(
                f"Got position_rule {position_rule!r}; training supports 'transformers-4.50' only."
            )
        self.processor = processor
        self.config = model_config

    def build(self, prompt: str, frames: NDArray[np.uint8], sample_fps: float) -> Question:
        """Tokens, positions and patches.

        Args:
            prompt: the user's text, as `prompting.build_prompt` makes it.
            frames: `(T, h, w, 3)` uint8 RGB at the model's size, numbers drawn.
            sample_fps: frames of the sample per second of video.
        """
        vision = self.config.vision_config
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        inputs = self.processor.video_processor(
            [pixels],
            do_resize=False,
            do_sample_frames=False,
            cap_pixels_per_frame=False,
            return_tensors="pt",
        )
        grid = inputs["video_grid_thw"]
        n_visual = int(grid.prod()) // vision.spatial_merge_size**2
        ids = self.token_ids(prompt, n_visual)
        positions, delta = mrope_positions(
            np.array(ids),
            grid.numpy(),
            [vision.temporal_patch_size / sample_fps],
            video_token_id=self.config.video_token_id,
            tokens_per_second=vision.tokens_per_second,
            merge_size=vision.spatial_merge_size,
        )
        return Question(
            torch.tensor(ids),
            torch.from_numpy(positions),
            len(ids) + delta,
            inputs["pixel_values_videos"],
            grid,
        )

    def token_ids(self, prompt: str, n_visual: int) -> list[int]:
        """The chat-template tokens of a prompt, text before video, as in the official run."""
        ids: list[int] = self.processor.tokenizer(chat_text(self.processor, prompt)).input_ids
        pad = self.config.video_token_id
        place = ids.index(pad)
        return [*ids[:place], *[pad] * n_visual, *ids[place + 1 :]]

    def answer_ids(self, text: str) -> list[int]:
        """Tokens of an answer, with the end token."""
        tokenizer = self.processor.tokenizer
        return [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
