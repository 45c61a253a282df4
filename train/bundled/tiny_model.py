"""The bundled model before training: architecture, tokenizer, processor, and its bundle folder.

Same classes, chat template and answer grammar as the 7B checkpoint; only the sizes, the
vocabulary and the values in `stvg_config.json` differ.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.sprites.levels import sample_scene
from stvg_r1_hub.sprites.motion import ACTIONS
from stvg_r1_hub.sprites.question import (
    MORE_WORDINGS,
    OTHER_NAMES,
    PLAIN_WORDINGS,
    VERBS,
)
from stvg_r1_hub.sprites.scene import KINDS, TINTS
from stvg_r1_hub.vlm.reader import ASKED
from train.bundled.dialogue import EVERYTHING, question_dialogue
from train.bundled.sizes import (
    MERGE,
    PATCH,
    SMALL,
    TEMPORAL,
    TOKENS_PER_SECOND,
    ModelSize,
    bundle_config,
)

TRAINED_LEVELS = ("easy", "medium", "hard")
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
        vocab_size=2048,
        min_frequency=1,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_tokens([AddedToken(ASKED, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


@cache
def _corpus() -> list[str]:
    # The same at every call, and it takes seconds.
    prompt_id = bundle_config(SMALL).prompt_id
    texts = ["system\nYou are a helpful assistant.\n", "user\n", "assistant\n"]
    texts += [build_prompt(query, prompt_id) for query in EVERYTHING.values()]
    words = [*KINDS, *OTHER_NAMES.values(), *TINTS, "big", "small", "rests", "none"]
    for action in ACTIONS:
        for verb in VERBS[action]:
            words += [*verb, verb.third_person]
    texts += [f" {word} {word}" for word in words]
    texts += [*PLAIN_WORDINGS, *MORE_WORDINGS]
    for level in TRAINED_LEVELS:
        for number in range(300):
            scene = sample_scene(level, (0, number, 5))
            numbers = {o.object_id: o.object_id for o in scene.objects}
            dialogue = question_dialogue(scene, numbers, 2, prompt_id)
            texts += [dialogue.prompt, dialogue.answer]
    rng = np.random.default_rng(0)
    times = rng.permutation(100 * 100)
    return texts * 3 + [f" {t // 100}.{t % 100:02d} to {t % 100}.{t // 100:02d}" for t in times]


def build_processor(size: ModelSize = SMALL) -> Any:
    """Qwen2.5-VL's processor around the small tokenizer."""
    from transformers import (
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    pixels = {"shortest_edge": 56 * 56, "longest_edge": 64 * size.side**2}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            size=pixels, patch_size=PATCH, merge_size=MERGE, temporal_patch_size=TEMPORAL
        ),
        tokenizer=build_tokenizer(),
        video_processor=Qwen2VLVideoProcessor(
            size=pixels, patch_size=PATCH, merge_size=MERGE, temporal_patch_size=TEMPORAL
        ),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: Any, size: ModelSize = SMALL) -> Any:
    """A randomly initialised Qwen2.5-VL for this tokenizer."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    return Qwen2_5_VLForConditionalGeneration(model_config(tokenizer, size))


def model_config(tokenizer: Any, size: ModelSize = SMALL) -> Any:
    """The transformers config of a size, for this tokenizer."""
    from transformers import Qwen2_5_VLConfig

    def token(text: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(text))

    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": size.hidden,
            "intermediate_size": size.mlp,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.heads // 2,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "bos_token_id": None,
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": list(size.mrope_section),
            },
        },
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision_hidden,
            "intermediate_size": size.vision_mlp,
            "num_heads": size.vision_heads,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
            "tokens_per_second": TOKENS_PER_SECOND,
            "window_size": 16 * PATCH * MERGE,
            "out_hidden_size": size.hidden,
            "fullatt_block_indexes": list(range(size.vision_layers)),
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def save_bundle(model: Any, processor: Any, folder: Path, size: ModelSize = SMALL) -> None:
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
    bundle_config(size).save(folder)
