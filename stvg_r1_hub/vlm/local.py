"""Qwen-VL in this process, through transformers.

Frames reach the model exactly as the checkpoint saw them in training: our own sample, resized as
qwen-vl-utils does, never sampled or resized again by the processor, with the time told by the
rule in `STVGConfig.position_rule`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.device import device_of, one_thread
from stvg_r1_hub.errors import ModelError, OutOfMemoryError, STVGError, first_line
from stvg_r1_hub.structures import MarkedFrames, Progress
from stvg_r1_hub.vlm import OnText
from stvg_r1_hub.vlm.decoding import Decoder, is_shortage
from stvg_r1_hub.vlm.inputs import InputBuilder, VideoGrid, padded
from stvg_r1_hub.vlm.loading import (
    Placement,
    check_architecture,
    check_folder,
    check_whole,
    load_model,
)
from stvg_r1_hub.vlm.packed_attention import (
    grid_inputs,
    use_packed_attention,
    use_product_for_patches,
)
from stvg_r1_hub.vlm.processing import chat_text, load_processor

if TYPE_CHECKING:
    import torch

_ON_CPU = Placement()
PROMPTS_AT_ONCE = 16
"""Questions about one clip that share a batch; more are asked in turns."""
_SMALL = 10_000_000
"""Parameters up to which one question's steps on a CPU are too short for several threads."""


@dataclass(frozen=True)
class EncodedVideo:
    """A clip after the vision tower."""

    features: torch.Tensor
    """`(tokens, hidden)`, ordered by time, row, column."""
    grid: VideoGrid
    deepstack: tuple[torch.Tensor, ...] = ()
    """`(tokens, hidden)` for each early decoder layer that sees the video too; Qwen3-VL only."""
    object_ids: tuple[int, ...] = ()
    """Numbers drawn in it, ascending."""


class LocalVLM:
    """A Qwen-VL checkpoint and its processor; build one with `from_pretrained`."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        config: STVGConfig,
        warnings: tuple[str, ...] = (),
        *,
        static_cache: bool | None = None,
    ) -> None:
        """Wrap a loaded model.

        Args:
            model: of one of the `loading.ARCHITECTURES`.
            processor: its processor.
            config: how its frames and positions are made.
            warnings: what was noticed while loading, one sentence each.
            static_cache: as in `from_pretrained`.
        """
        self.warnings = warnings
        self.model = model.eval()
        self.processor = processor
        self.config = config
        self.inputs = InputBuilder.of(
            model, processor, config.position_rule, device=device_of(model.model.visual)
        )
        self._decoder = Decoder(model, processor.tokenizer, static_cache)
        use_packed_attention(self.model.model.visual)
        use_product_for_patches(self.model.model.visual)

    @classmethod
    def from_pretrained(
        cls,
        folder: Path,
        *,
        config: STVGConfig,
        adapter: Path | None = None,
        placement: Placement = _ON_CPU,
        static_cache: bool | None = None,
    ) -> LocalVLM:
        """Load weights (safetensors only, no remote code) and processor.

        Args:
            folder: with the checkpoint's files, as `hub.load_bundle` finds them.
            config: how frames and positions are made for these weights.
            adapter: folder of a PEFT adapter that was trained on them.
            placement: where it goes, and in which form.
            static_cache: True compiles decoding on a CUDA device, which makes the first answer
                wait and the others faster; None does so once enough was generated for it to pay;
                False never does.

        Raises:
            ModelError: not a Qwen-VL checkpoint, or it cannot be loaded.
            ConfigError: its position rule is not the one of its architecture.
        """
        from safetensors import SafetensorError
        from transformers import AutoConfig

        try:
            check_folder(folder, config.position_rule)
            if adapter is not None:
                check_whole(adapter)
            found = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
            check_architecture(str(folder), found.model_type, config.position_rule)
            processor = load_processor(folder, found.model_type)
            chat_text(processor, "")  # A template that cannot ask is found out before tracking.
            with within_memory(placement.device, "choose a smaller model"):
                model, warnings = load_model(folder, placement, adapter=adapter)
        except (
            *(OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError),
            SafetensorError,
        ) as error:
            if isinstance(error, STVGError):
                raise
            raise ModelError(
                f"Cannot load the language model of {folder}: {first_line(error)[:150]}."
            ) from error
        return cls(model, processor, config, warnings, static_cache=static_cache)

    def encode(self, video: MarkedFrames) -> EncodedVideo:
        """Run the vision tower once over a clip."""
        import torch

        clip = self.inputs.video(video.frames)
        visual = self.model.model.visual
        with self._within_memory(), torch.inference_mode():
            output = self.model.model.get_video_features(
                clip.pixel_values.to(device_of(visual)),
                torch.tensor([clip.grid.thw], device=device_of(visual)),
                **grid_inputs(visual, clip.grid.thw),
            )
        return EncodedVideo(
            torch.cat(list(output.pooler_output)),
            clip.grid,
            tuple(
                torch.cat(list(layer))
                for layer in getattr(output, "deepstack_features", None) or ()
            ),
            tuple(sorted(video.numbers.get(i, i) for i in video.visible_ids)),
        )

    def generate(
        self,
        prompts: Sequence[str],
        video: EncodedVideo,
        *,
        max_new_tokens: int,
        progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[str]:
        """Answer prompts about an encoded clip, by the checkpoint's generation settings.

        A batch for which memory runs out is asked in halves: the answers are the same.

        Raises:
            OutOfMemoryError: there is too little for a single prompt.
        """
        if not prompts:
            return []
        if len(prompts) <= PROMPTS_AT_ONCE:
            try:
                return self._generate_batch(prompts, video, max_new_tokens, progress, on_text)
            except OutOfMemoryError:
                if len(prompts) == 1:
                    raise
        half = min((len(prompts) + 1) // 2, PROMPTS_AT_ONCE)
        texts: list[str] = []
        for part in (prompts[:half], prompts[half:]):
            texts += self.generate(
                part,
                video,
                max_new_tokens=max_new_tokens,
                progress=progress,
                on_text=on_text and partial(_at, on_text, len(texts)),
            )
        return texts

    def model_inputs(self, prompts: Sequence[str], video: EncodedVideo) -> dict[str, Any]:
        """Everything the decoder needs, padded on the left.

        Returns:
            `input_ids` and `attention_mask` `(B, L)`, `position_ids` `(3, B, L)`, and
            `inputs_embeds` `(B, L, hidden)` with the visual tokens in their places. Qwen3-VL
            takes `mm_encoder_outputs` instead of the last.
        """
        batch = padded([self.inputs.tokens(prompt, video.grid) for prompt in prompts], "left")
        embed = self.model.get_input_embeddings()
        device = device_of(embed)
        ids = batch.input_ids.to(device)
        inputs: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": batch.attention_mask.to(device),
            "position_ids": batch.position_ids.to(device),
        }
        if video.deepstack:
            return {**inputs, "mm_encoder_outputs": {"video": _repeated(video, len(prompts))}}
        embeds = embed(ids)
        is_video = (ids == self.model.config.video_token_id).unsqueeze(-1)
        features = video.features.to(embeds.device, embeds.dtype).repeat(len(prompts), 1)
        return {**inputs, "inputs_embeds": embeds.masked_scatter(is_video, features)}

    def _generate_batch(
        self,
        prompts: Sequence[str],
        video: EncodedVideo,
        max_new_tokens: int,
        progress: Progress | None,
        on_text: OnText | None,
    ) -> list[str]:
        import torch

        small = self.model.device.type == "cpu" and self.model.num_parameters() <= _SMALL
        threads = one_thread() if small and len(prompts) == 1 else nullcontext()
        with self._within_memory(), threads, torch.inference_mode():
            inputs = self.model_inputs(prompts, video)
            return self._decoder.answers(
                inputs,
                max_new_tokens=max_new_tokens,
                progress=progress,
                on_text=on_text,
                object_ids=video.object_ids,
                confidence=self.config.confidence,
            )

    def _within_memory(self) -> AbstractContextManager[None]:
        return within_memory(
            self.model.device,
            "give a shorter video, set a smaller total_pixels in stvg_config.json",
        )


def _at(on_text: OnText, first: int, i: int, text: str) -> None:
    """Tell a text of some prompts that follow others."""
    on_text(first + i, text)


def _repeated(video: EncodedVideo, times: int) -> Any:
    """The vision tower's output once for every question of a batch, as Qwen3-VL takes it."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    # It takes lists, one entry a video, though it declares tensors.
    features: Any = [video.features] * times
    deepstack: Any = [[layer] * times for layer in video.deepstack]
    return BaseModelOutputWithDeepstackFeatures(
        pooler_output=features, deepstack_features=deepstack
    )


@contextmanager
def within_memory(device: Any, remedy: str) -> Iterator[None]:
    """Name a shortage of memory as such; each device has its own error and words for it.

    Args:
        device: where it happens.
        remedy: what helps besides a smaller precision and a larger device.

    Raises:
        OutOfMemoryError: there was one.
    """
    import torch

    try:
        yield
    except RuntimeError as error:
        if not is_shortage(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemoryError(
            f"Memory ran out on {device}; {remedy}, load with quantization='4bit', or use a device "
            "with more memory."
        ) from error
