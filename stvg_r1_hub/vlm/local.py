"""Qwen2.5-VL in this process, through transformers.

Frames reach the model exactly as the checkpoint saw them in training: our own sample, resized by
torchvision's antialiased bicubic filter as qwen-vl-utils does, never sampled or resized again by
the processor, with positions by the rule in `STVGConfig.position_rule`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import ConfigError, ModelError, require_package
from stvg_r1_hub.structures import MarkedFrames, Progress
from stvg_r1_hub.vlm.positions import mrope_positions

if TYPE_CHECKING:
    import torch

PROMPTS_AT_ONCE = 8
"""Questions about one clip that share a batch; more are asked in turns."""


@dataclass(frozen=True)
class EncodedVideo:
    """A clip after the vision tower."""

    features: torch.Tensor
    """`(tokens, hidden)`, ordered by time, row, column."""
    grid_thw: tuple[int, int, int]
    """Patches along time, height and width, before merging."""
    second_per_grid: float
    """Seconds of video in one temporal step."""


class LocalVLM:
    """A Qwen2.5-VL checkpoint and its processor; build one with `from_pretrained`."""

    def __init__(self, model: Any, processor: Any, config: STVGConfig) -> None:
        """Wrap a loaded model; `config` says how its frames and positions are made."""
        self.model = model.eval()
        self.processor = processor
        self.config = config

    @classmethod
    def from_pretrained(
        cls,
        folder_or_id: str | Path,
        *,
        config: STVGConfig,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        device: str = "cpu",
        device_map: str | dict[str, Any] | None = None,
        dtype: str | None = None,
        attn_implementation: str | None = None,
        quantization: str | None = None,
    ) -> LocalVLM:
        """Load weights (safetensors only, no remote code) and processor.

        Args:
            folder_or_id: a local folder or a Hub id.
            config: how frames and positions are made for these weights.
            revision: branch, tag or commit on the Hub.
            token: Hub token.
            cache_dir: where downloads are kept.
            local_files_only: never use the network.
            device: a torch device; ignored when `device_map` is given.
            device_map: spread the model over devices, as in transformers.
            dtype: name of a torch dtype; None is float32 on a CPU and bfloat16 elsewhere.
            attn_implementation: as in transformers; None is `"sdpa"`.
            quantization: `"4bit"`, `"8bit"` (bitsandbytes) or None.

        Raises:
            ModelError: not a Qwen2.5-VL checkpoint, or it cannot be loaded.
            ConfigError: an unknown dtype or quantization.
        """
        from safetensors import SafetensorError
        from transformers import AutoConfig, AutoProcessor, Qwen2_5_VLForConditionalGeneration

        torch_dtype = _torch_dtype(dtype, device if device_map is None else "cuda")
        quantized = _quantization(quantization)
        where: dict[str, Any] = {
            "revision": revision or "main",
            "token": token,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
        }
        name = str(folder_or_id)
        try:
            found = AutoConfig.from_pretrained(name, trust_remote_code=False, **where)
            if found.model_type != "qwen2_5_vl":
                raise ModelError(
                    f"{name} is a {found.model_type!r} model; this version runs 'qwen2_5_vl' "
                    "models (Qwen2.5-VL and its fine-tunes), so choose one of those."
                )
            processor = AutoProcessor.from_pretrained(name, trust_remote_code=False, **where)
            model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
                name,
                use_safetensors=True,
                dtype=torch_dtype,
                attn_implementation=attn_implementation or "sdpa",
                device_map=device_map,
                quantization_config=quantized,
                **where,
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().split("\n")[0]
            raise ModelError(f"Cannot load the language model of {name}: {reason}") from error
        if device_map is None and quantization is None:
            model = model.to(device)
        return cls(model, processor, config)

    def encode(self, video: MarkedFrames) -> EncodedVideo:
        """Run the vision tower once over a clip."""
        import torch

        frames = video.frames
        pixels = self._resized(frames.pixels, (frames.model_height, frames.model_width))
        inputs = self.processor.video_processor(
            [pixels],
            do_resize=False,
            do_sample_frames=False,
            cap_pixels_per_frame=False,
            return_tensors="pt",
        )
        grid = inputs["video_grid_thw"]
        visual = self.model.model.visual
        with torch.inference_mode():
            output = self.model.model.get_video_features(
                inputs["pixel_values_videos"].to(visual.device), grid.to(visual.device)
            )
        t, h, w = grid[0].tolist()
        step = self.model.config.vision_config.temporal_patch_size / frames.sample_fps
        return EncodedVideo(torch.cat(list(output.pooler_output)), (t, h, w), step)

    def generate(
        self,
        prompts: Sequence[str],
        video: EncodedVideo,
        *,
        max_new_tokens: int,
        progress: Progress | None = None,
    ) -> list[str]:
        """Answer prompts about an encoded clip, by the checkpoint's generation settings."""
        texts: list[str] = []
        for first in range(0, len(prompts), PROMPTS_AT_ONCE):
            batch = prompts[first : first + PROMPTS_AT_ONCE]
            texts += self._generate_batch(batch, video, max_new_tokens, progress)
        return texts

    def model_inputs(self, prompts: Sequence[str], video: EncodedVideo) -> dict[str, torch.Tensor]:
        """Everything the decoder needs, padded on the left.

        Returns:
            `input_ids` and `attention_mask` `(B, L)`, `position_ids` `(3, B, L)`,
            `inputs_embeds` `(B, L, hidden)` with the visual tokens in their places.
        """
        import torch

        rows = [self._token_ids(prompt, len(video.features)) for prompt in prompts]
        length = max(map(len, rows))
        pad = self.processor.tokenizer.pad_token_id
        ids = torch.full((len(rows), length), pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        positions = torch.ones(3, len(rows), length, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, length - len(row) :] = torch.tensor(row)
            mask[i, length - len(row) :] = 1
            positions[:, i, length - len(row) :] = self._positions(row, video)
        device = self.model.get_input_embeddings().weight.device
        ids, mask, positions = ids.to(device), mask.to(device), positions.to(device)
        embeds = self.model.get_input_embeddings()(ids)
        is_video = (ids == self.model.config.video_token_id).unsqueeze(-1)
        features = video.features.to(embeds.device, embeds.dtype).repeat(len(rows), 1)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions,
            "inputs_embeds": embeds.masked_scatter(is_video, features),
        }

    def _generate_batch(
        self,
        prompts: Sequence[str],
        video: EncodedVideo,
        max_new_tokens: int,
        progress: Progress | None,
    ) -> list[str]:
        import torch
        from transformers import StoppingCriteriaList

        with torch.inference_mode():
            inputs = self.model_inputs(prompts, video)
            prompt_length = inputs["input_ids"].shape[1]

            def report(ids: torch.Tensor, scores: Any, **unused: Any) -> torch.Tensor:
                if progress is not None:
                    progress("answer", ids.shape[1] - prompt_length, max_new_tokens)
                return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

            output = self.model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                stopping_criteria=StoppingCriteriaList([report]),
            )
        texts: list[str] = self.processor.batch_decode(
            output[:, prompt_length:], skip_special_tokens=True
        )
        return texts

    def _token_ids(self, prompt: str, n_visual: int) -> list[int]:
        # The text comes before the video, as in training.
        content = [{"type": "text", "text": prompt}, {"type": "video"}]
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        ids = self.processor.tokenizer(text).input_ids
        pad = self.model.config.video_token_id
        if ids.count(pad) != 1:
            raise ConfigError(
                f"The chat template made {ids.count(pad)} video places of one video; the model's "
                "chat template must write <|video_pad|> exactly once."
            )
        place = ids.index(pad)
        return [*ids[:place], *[pad] * n_visual, *ids[place + 1 :]]

    def _positions(self, row: list[int], video: EncodedVideo) -> torch.Tensor:
        import torch

        config = self.model.config
        if self.config.position_rule == "transformers-4.50":
            positions, _ = mrope_positions(
                np.array(row),
                np.array([video.grid_thw]),
                [video.second_per_grid],
                video_token_id=config.video_token_id,
                tokens_per_second=config.vision_config.tokens_per_second,
                merge_size=config.vision_config.spatial_merge_size,
            )
            return torch.from_numpy(positions)
        ids = torch.tensor([row])
        installed, _ = self.model.model.get_rope_index(
            ids,
            mm_token_type_ids=(ids == config.video_token_id).int() * 2,
            video_grid_thw=torch.tensor([video.grid_thw]),
            second_per_grid_ts=torch.tensor([video.second_per_grid]),
        )
        result: torch.Tensor = installed[:, 0]
        return result

    @staticmethod
    def _resized(pixels: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
        """`(T, H, W, 3)` uint8 to `(T, 3, h, w)` uint8, as qwen-vl-utils resizes."""
        import torch
        from torchvision.transforms.v2 import functional as resizing

        frames = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
        resized: torch.Tensor = resizing.resize(
            frames, list(size), interpolation=resizing.InterpolationMode.BICUBIC, antialias=True
        )
        return resized


def _torch_dtype(name: str | None, device: str) -> torch.dtype:
    import torch

    if name is None:
        return torch.float32 if device == "cpu" else torch.bfloat16
    allowed = ("float32", "float16", "bfloat16")
    if name not in allowed:
        raise ConfigError(f"Got dtype {name!r}, but it must be one of {', '.join(allowed)}.")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _quantization(name: str | None) -> Any:
    if name is None:
        return None
    if name not in ("4bit", "8bit"):
        raise ConfigError(f"Got quantization {name!r}, but it must be '4bit', '8bit' or None.")
    require_package("bitsandbytes", "quantization")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=name == "4bit", load_in_8bit=name == "8bit")
