"""The one way from a prompt and marked frames to what a Qwen-VL model reads.

Serving, training and evaluation build tokens, patches and positions here, so that a model is asked
exactly as it was trained.

Three ways to tell the model about time, named by `STVGConfig.position_rule`:
`"transformers-4.50"` writes it into the positions as that release did, `"installed"` as the
installed transformers does, and `"timestamps"` writes it as text before every grid step, which
is how Qwen3-VL and Qwen3.5 were trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stvg_r1_hub.structures import Frames
from stvg_r1_hub.vlm.positions import mrope_positions
from stvg_r1_hub.vlm.processing import VIDEO_PAD, VISION_END, VISION_START, chat_text
from stvg_r1_hub.vlm.resizing import resized, resized_on

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class VideoGrid:
    """The steps of a clip, as tokens and positions tell them."""

    thw: tuple[int, int, int]
    """Patches along time, height and width, before merging."""
    second_per_step: float
    """Seconds of video in one temporal step."""
    step_seconds: tuple[float, ...] = ()
    """The middle of each temporal step, in seconds from the video's start; the rule
    `"timestamps"` alone reads it."""


@dataclass(frozen=True)
class VideoInputs:
    """A clip before the vision tower."""

    pixel_values: torch.Tensor
    """`(patches, channels * frames * height * width)` float32, as the processor orders them."""
    grid: VideoGrid


@dataclass(frozen=True)
class TokenRow:
    """One sequence of tokens, the video's among them."""

    input_ids: torch.Tensor
    """`(L,)` int64."""
    position_ids: torch.Tensor
    """`(3, L)` int64 temporal, height and width positions."""
    prompt_length: int
    """Tokens before the answer."""


@dataclass(frozen=True)
class TokenBatch:
    """Rows of tokens padded to one length."""

    input_ids: torch.Tensor
    """`(B, L)` int64."""
    attention_mask: torch.Tensor
    """`(B, L)` int64, 0 where it is padding."""
    position_ids: torch.Tensor
    """`(3, B, L)` int64."""


@dataclass(frozen=True)
class PromptInputs:
    """One prompt with P tokens and its clip, up to where the answer starts."""

    input_ids: torch.Tensor
    """`(P,)` int64."""
    position_ids: torch.Tensor
    """`(3, P)` int64."""
    next_position: int
    """Position of the first token of the answer, equal on all three axes."""
    video: VideoInputs

    def __len__(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device | str) -> PromptInputs:
        """The same on another device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            video=replace(self.video, pixel_values=self.video.pixel_values.to(device)),
        )


@dataclass(eq=False)
class InputBuilder:
    """Makes the inputs of one checkpoint; see `of` for a loaded model."""

    processor: Any
    """As `load_processor` gives it."""
    config: Any
    """The checkpoint's transformers config."""
    position_rule: str
    """As in `STVGConfig`."""
    rope_index: Callable[..., Any] | None = None
    """The model's own `get_rope_index`, which every rule but `"transformers-4.50"` asks."""
    device: torch.device | str = "cpu"
    """Where frames are resized and cut into patches."""

    @classmethod
    def of(
        cls,
        model: Any,
        processor: Any,
        position_rule: str,
        *,
        device: torch.device | str = "cpu",
    ) -> InputBuilder:
        """For a loaded transformers model without adapters around it."""
        rope_index = model.model.get_rope_index
        return cls(processor, model.config, position_rule, rope_index=rope_index, device=device)

    def video(self, frames: Frames) -> VideoInputs:
        """Patches of the sample, at the size and with the values of the official code."""
        import torch

        size = (frames.model_height, frames.model_width)
        if torch.device(self.device).type == "cuda":
            pixels = resized_on(frames.pixels, *size, self.device)
        else:
            pixels = torch.from_numpy(resized(frames.pixels, *size))
        inputs = self.processor.video_processor(
            [pixels.permute(0, 3, 1, 2)],
            do_resize=False,
            do_sample_frames=False,
            cap_pixels_per_frame=False,
            return_tensors="pt",
        )
        t, h, w = inputs["video_grid_thw"][0].tolist()
        per_step = self.config.vision_config.temporal_patch_size
        times = frames.times_seconds.reshape(t, per_step)
        grid = VideoGrid(
            (t, h, w),
            per_step / frames.sample_fps,
            tuple(((times[:, 0] + times[:, -1]) / 2).tolist()),
        )
        return VideoInputs(inputs["pixel_values_videos"], grid)

    def tokens(self, prompt: str, grid: VideoGrid, answer: str | None = None) -> TokenRow:
        """Tokens and positions of one question, the answer with its end token behind them.

        Args:
            prompt: the user's text, as `prompting.build_prompt` makes it.
            grid: of the clip.
            answer: what the model is to say; None leaves it to the model.

        Raises:
            ConfigError: as `chat_text`.
        """
        import torch

        ids = self._prompt_ids(prompt, grid)
        prompt_length = len(ids)
        if answer is not None:
            ids += self.answer_ids(answer)
        row = torch.tensor(ids)
        return TokenRow(row, self._positions(row, grid), prompt_length)

    def prompt_inputs(self, prompt: str, frames: Frames) -> PromptInputs:
        """One question and its clip.

        Raises:
            ConfigError: as `chat_text`.
        """
        video = self.video(frames)
        row = self.tokens(prompt, video.grid)
        after = int(row.position_ids[0, -1]) + 1
        return PromptInputs(row.input_ids, row.position_ids, after, video)

    def answer_ids(self, text: str) -> list[int]:
        """Tokens of an answer, with the end token."""
        tokenizer = self.processor.tokenizer
        return [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]

    def _prompt_ids(self, prompt: str, grid: VideoGrid) -> list[int]:
        text = chat_text(self.processor, prompt)
        t, h, w = grid.thw
        per_step = h * w // self.config.vision_config.spatial_merge_size**2
        n_visual = t * per_step
        if self.position_rule == "timestamps":
            # As in transformers 4.57, with which Qwen3-VL came: the frames' own start and end
            # marks take the place of those around the whole video.
            frame = VISION_START + VIDEO_PAD + VISION_END
            place = frame if frame in text else VIDEO_PAD
            written = "".join(f"<{seconds:.1f} seconds>{frame}" for seconds in grid.step_seconds)
            text = text.replace(place, written)
            n_visual = per_step
        ids: list[int] = []
        for token in self.processor.tokenizer(text).input_ids:
            ids += [token] * (n_visual if token == self.config.video_token_id else 1)
        return ids

    def _positions(self, ids: torch.Tensor, grid: VideoGrid) -> torch.Tensor:
        """`(3, L)` positions of one sequence of token ids."""
        import torch

        if self.position_rule == "transformers-4.50":
            # Qwen2-VL knows no seconds: its temporal positions count the steps.
            vision = self.config.vision_config
            per_second = getattr(vision, "tokens_per_second", None)
            by_rule, _ = mrope_positions(
                ids.numpy(),
                np.array([grid.thw]),
                [1.0 if per_second is None else grid.second_per_step],
                video_token_id=self.config.video_token_id,
                tokens_per_second=1.0 if per_second is None else per_second,
                merge_size=vision.spatial_merge_size,
            )
            return torch.from_numpy(by_rule)
        assert self.rope_index is not None, "this position rule needs the model"
        row = ids.unsqueeze(0)
        installed, _ = self.rope_index(
            row,
            mm_token_type_ids=(row == self.config.video_token_id).int() * 2,
            video_grid_thw=torch.tensor([grid.thw]),
            second_per_grid_ts=torch.tensor([grid.second_per_step]),
        )
        result: torch.Tensor = installed[:, 0]
        return result


def padded(
    rows: Sequence[TokenRow], side: Literal["left", "right"], *, multiple_of: int = 1
) -> TokenBatch:
    """Rows of different lengths side by side.

    Padding repeats the first token instead of a pad token, so that a repetition penalty sees the
    same set of tokens in a row as it would without the others.

    Args:
        rows: at least one.
        side: where the padding goes.
        multiple_of: what the common length is rounded up to.
    """
    import torch

    length = max(len(row.input_ids) for row in rows)
    length += -length % multiple_of
    first = rows[0].input_ids
    ids = first[0].repeat(len(rows), length)
    mask = torch.zeros_like(ids)
    positions = ids.new_ones(3, len(rows), length)
    for i, row in enumerate(rows):
        n = len(row.input_ids)
        place = slice(length - n, length) if side == "left" else slice(n)
        ids[i, place] = row.input_ids
        mask[i, place] = 1
        positions[:, i, place] = row.position_ids
    return TokenBatch(ids, mask, positions)
