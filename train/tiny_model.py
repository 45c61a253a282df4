"""The bundled model before training: architecture, tokenizer, processor, and its `STVGConfig`.

Same classes, chat template and answer grammar as the 7B checkpoint; only the sizes, the
vocabulary and the values in `stvg_config.json` differ.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from stvg_r1_hub.config import (
    GenerationSettings,
    MarkerStyle,
    SamplingConfig,
    STVGConfig,
    TrackingConfig,
)
from stvg_r1_hub.evaluation.sprites.scene import KINDS, VERBS, WORDINGS
from stvg_r1_hub.prompting import build_prompt

SIDE = 140
"""Frames are resized to SIDE x SIDE: 10 x 10 patches, 5 x 5 tokens a grid step."""
PATCH, MERGE, TEMPORAL = 14, 2, 2
TOKENS_PER_SECOND = 2
"""Temporal positions advance by this much a second, as in the 7B checkpoint."""

CONFIG = STVGConfig(
    sampling=SamplingConfig(
        fps=4.0,
        max_frames=64,
        min_pixels=SIDE * SIDE // 2,
        max_pixels=SIDE * SIDE,
        total_pixels=64 * SIDE * SIDE,
    ),
    # About 2.4 times the official digits, so that one digit fills a patch of the small frame.
    marker=MarkerStyle(font_scale=1.6, thickness_factor=3.5, min_area_ratio=0.0),
    prompt_id="sprites-v1",
    generation=GenerationSettings(max_new_tokens=160),
    tracking=TrackingConfig(detector="detector", fps=10.0, max_objects=9),
)

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


ASKED = " (asked)"
"""Stands in the reasoning behind the kind and action that the query is about."""


def answer_text(
    listing: list[tuple[int, str, str, float, float]],
    target: tuple[int, float, float] | None,
) -> str:
    """What the model is taught to say.

    The reasoning first says in the listing's own words what is asked for, then decides for each
    object whether it is that. Without these two steps a model of this size learns to list, but
    not to find the asked object in its own listing.

    Args:
        listing: `(drawn ID, kind, action or "", start, end)` of every object, by ID.
        target: `(drawn ID, start, end)`; None leaves the answer block out (dense listing).
    """
    asked = next((entry[:3] for entry in listing if target and entry[0] == target[0]), None)
    parts = []
    if asked:
        parts.append(f" {asked[1]}{ASKED} {VERBS[asked[2]].third_person}{ASKED}.")
    for number, kind, action, start, end in listing:
        part = f"{number} {kind}{ASKED if asked and kind == asked[1] else ''}"
        if action:
            part += f" {VERBS[action].third_person}"
            part += ASKED if asked and (kind, action) == asked[1:] else ""
            part += f" {start:.2f} to {end:.2f}."
        else:
            part += " rests."
        parts.append(part)
    text = f"<think>{' '.join(parts)}</think>"
    if target is not None:
        number, start, end = target
        text += f"<answer>Target ID: {number}, Time range: {start:.2f} to {end:.2f}</answer>"
    return text


def build_tokenizer() -> Any:
    """Byte-level BPE trained on the world's own text, with Qwen's special tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # Numbers in groups of two digits: "12.50" is three tokens, and an ID is one.
    words = Regex(r"</?\p{L}+>| ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}<]+|<|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        min_frequency=1,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_tokens([AddedToken(ASKED, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def _corpus() -> list[str]:
    texts = ["system\nYou are a helpful assistant.\n", "user\n", "assistant\n"]
    for kind, verb, wording in itertools.product(KINDS, VERBS.values(), WORDINGS):
        query = wording.format(kind=kind, gerund=verb.gerund, third=verb.third_person)
        texts.append(build_prompt(query, CONFIG.prompt_id))
    for kind, action in itertools.product(KINDS, VERBS):
        texts.append(
            answer_text([(1, kind, action, 0.25, 1.5), (2, kind, "", 0, 0)], (3, 2.75, 4.0))
        )
    times = [f" {a}.{b:02d} to {b}.{a:02d}" for a, b in itertools.product(range(100), repeat=2)]
    return texts * 20 + times


def build_processor() -> Any:
    """Qwen2.5-VL's processor around the small tokenizer."""
    from transformers import (
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    size = {"shortest_edge": 56 * 56, "longest_edge": 64 * SIDE * SIDE}
    shared = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": TEMPORAL}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, **shared),
        tokenizer=build_tokenizer(),
        video_processor=Qwen2VLVideoProcessor(size=size, **shared),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: Any) -> Any:
    """A randomly initialised Qwen2.5-VL of about 3 M parameters for this tokenizer."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    def token(text: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(text))

    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "bos_token_id": None,
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 6, 6],
            },
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
            "tokens_per_second": TOKENS_PER_SECOND,
            "window_size": 16 * PATCH * MERGE,
            "out_hidden_size": 192,
            "fullatt_block_indexes": [0, 1, 2, 3],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def save_bundle(model: Any, processor: Any, folder: Path) -> None:
    """Write model (float16), processor and `stvg_config.json` as one Hub-style folder."""
    import torch
    from transformers import GenerationConfig

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    state = {name: weight.to(torch.float16) for name, weight in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    model.save_pretrained(folder, state_dict=state)
    processor.save_pretrained(folder)
    CONFIG.save(folder)
