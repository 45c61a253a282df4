"""Random checkpoints of the real architectures, as small as they go, saved as Hub-style folders."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.config import TIMES_AS_TEXT
from stvg_r1_hub.structures import MarkedFrames
from tests.builders import make_frames, marked
from train.bundled.tiny_model import CHAT_TEMPLATE, build_tokenizer

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 4096,
}
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}


@functools.cache
def tokenizer() -> Any:
    return build_tokenizer()


def token(text: str) -> int:
    return int(tokenizer().convert_tokens_to_ids(text))


def common() -> dict[str, Any]:
    return {
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
        "tie_word_embeddings": False,
    }


def text_config(**more: Any) -> dict[str, Any]:
    return {
        **TEXT,
        "vocab_size": len(tokenizer()),
        "bos_token_id": None,
        "eos_token_id": token("<|im_end|>"),
        "pad_token_id": token("<|endoftext|>"),
        "rope_parameters": ROPE,
        **more,
    }


def build_model(model_type: str, hidden: int = 32) -> Any:
    """A model of one of the architectures that `LocalVLM` runs, Qwen2.5-VL with windows; seeded."""
    model = _random_model(model_type, hidden)
    for parameter in model.model.language_model.parameters():
        parameter.data *= 8  # Fresh weights are so small that every question gets one answer.
    return model.eval()


def _random_model(model_type: str, hidden: int) -> Any:
    import torch
    import transformers

    torch.manual_seed(4 if model_type == "qwen3_5_moe" else 0)  # Others say one thing always.
    text = text_config(hidden_size=hidden, head_dim=hidden // 2, intermediate_size=2 * hidden)
    text["rope_parameters"] = {**ROPE, "mrope_section": [n * hidden // 32 for n in (2, 3, 3)]}
    vision: dict[str, Any] = {
        "depth": 3,
        "num_heads": 2,
        "patch_size": 14,
        "temporal_patch_size": 2,
    }
    if model_type == "qwen2_vl":
        vision |= {"embed_dim": 32, "hidden_size": hidden, "mlp_ratio": 2}
        config = transformers.Qwen2VLConfig(text_config=text, vision_config=vision, **common())
        return transformers.Qwen2VLForConditionalGeneration(config)
    if model_type == "qwen2_5_vl":
        vision |= {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": hidden}
        vision |= {"window_size": 112, "fullatt_block_indexes": [1], "tokens_per_second": 2}
        config = transformers.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **common())
        return transformers.Qwen2_5_VLForConditionalGeneration(config)
    vision |= {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": hidden}
    vision |= {"patch_size": 16, "num_position_embeddings": 64}
    text["rope_parameters"]["mrope_interleaved"] = True
    if model_type.startswith("qwen3_vl"):
        vision["deepstack_visual_indexes"] = [0, 1]
    else:
        heads = {"key_head_dim": 8, "value_head_dim": 8, "num_key_heads": 2, "num_value_heads": 4}
        text |= {f"linear_{name}": value for name, value in heads.items()}
        text |= {"layer_types": ["linear_attention", "full_attention"]}
        text["rope_parameters"]["partial_rotary_factor"] = 1.0
    if model_type.endswith("moe"):
        text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
        text |= {"shared_expert_intermediate_size": 24} if "3_5" in model_type else {}
    names = {"qwen3_vl": "Qwen3VL", "qwen3_5": "Qwen3_5"}
    name = names[model_type.removesuffix("_moe")] + "Moe" * model_type.endswith("_moe")
    config = getattr(transformers, f"{name}Config")(
        text_config=text, vision_config=vision, **common()
    )
    return getattr(transformers, f"{name}ForConditionalGeneration")(config)


def build_processor(model_type: str, chat_template: str = CHAT_TEMPLATE) -> Any:
    import transformers

    patch = 16 if model_type in TIMES_AS_TEXT else 14
    shared = {
        "patch_size": patch,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280},
    }
    kinds: dict[str, tuple[Any, Any]] = {
        "qwen2_vl": (transformers.Qwen2VLProcessor, transformers.Qwen2VLVideoProcessor),
        "qwen2_5_vl": (transformers.Qwen2_5_VLProcessor, transformers.Qwen2VLVideoProcessor),
        **dict.fromkeys(
            TIMES_AS_TEXT, (transformers.Qwen3VLProcessor, transformers.Qwen3VLVideoProcessor)
        ),
    }
    processor, video_processor = kinds[model_type]
    return processor(
        image_processor=transformers.Qwen2VLImageProcessor(**shared),
        tokenizer=tokenizer(),
        video_processor=video_processor(**shared),
        chat_template=chat_template,
    )


def save_checkpoint(model_type: str, folder: Path, *, model: Any = None) -> Path:
    """A bare checkpoint as on the Hub: weights, config, processor; no stvg_config.json."""
    from transformers import GenerationConfig

    model = model if model is not None else build_model(model_type)
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=token("<|im_end|>"),
        pad_token_id=token("<|endoftext|>"),
        repetition_penalty=1.05,
    )
    model.save_pretrained(folder)
    build_processor(model_type).save_pretrained(folder)
    return folder


def noise_clip(
    *, n: int = 8, height: int = 140, width: int = 196, sample_fps: float = 2.0, seed: int = 0
) -> MarkedFrames:
    """A sample of noise, shown at its own size."""
    pixels = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return marked(make_frames(pixels, sample_fps=sample_fps, indices=range(0, 12 * n, 12)), 1)
