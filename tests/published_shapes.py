"""Names, shapes and configs of the published Qwen2.5-VL checkpoints, written down by hand.

Values: config.json and model.safetensors.index.json of Qwen/Qwen2.5-VL-{3B,7B,32B,72B}-Instruct,
as transformers 4.50 wrote them: a flat config, `visual.` and `model.layers.` without the prefixes
of today. `XiaowenZhang/stvg-r1-model-7b` has the 7B's.
"""

from __future__ import annotations

from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    "3B": {
        "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16,
        "num_key_value_heads": 2, "intermediate_size": 11008, "vocab_size": 151936,
        "tie_word_embeddings": True, "vision_intermediate_size": 3420,
    },
    "7B": {
        "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064,
        "tie_word_embeddings": False, "vision_intermediate_size": 3420,
    },
    "32B": {
        "hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 40,
        "num_key_value_heads": 8, "intermediate_size": 27648, "vocab_size": 152064,
        "tie_word_embeddings": False, "vision_intermediate_size": 3456,
    },
    "72B": {
        "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8, "intermediate_size": 29568, "vocab_size": 152064,
        "tie_word_embeddings": False, "vision_intermediate_size": 3456,
    },
}  # fmt: skip
PARAMETERS = {
    "3B": 3_754_622_976,
    "7B": 8_292_166_656,
    "32B": 33_452_718_336,
    "72B": 73_410_777_344,
}
"""As the Hub shows them: half of `total_size` in the index."""
VISION = {"depth": 32, "hidden_size": 1280, "num_heads": 16, "patch_size": 14}


def published_config(size: str, **changes: Any) -> dict[str, Any]:
    """The flat config.json; `changes` replace fields, those of the vision tower as a dict."""
    values = dict(SIZES[size])
    vision = {
        **VISION,
        "intermediate_size": values.pop("vision_intermediate_size"),
        "out_hidden_size": values["hidden_size"],
        "fullatt_block_indexes": [7, 15, 23, 31],
        "hidden_act": "silu",
        "in_chans": 3,
        "model_type": "qwen2_5_vl",
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
        "tokens_per_second": 2,
        "window_size": 112,
    }
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "vision_start_token_id": 151652,
        "vision_end_token_id": 151653,
        "vision_token_id": 151654,
        "image_token_id": 151655,
        "video_token_id": 151656,
        "hidden_act": "silu",
        "max_position_embeddings": 128000,
        "max_window_layers": values["num_hidden_layers"],
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "sliding_window": 32768,
        "use_sliding_window": False,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.41.2",
        **values,
        **changes,
        "vision_config": {**vision, **changes.get("vision_config", {})},
    }


def published_weights(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor by its name in the checkpoint."""
    wide, deep = config["hidden_size"], config["intermediate_size"]
    key_values = wide // config["num_attention_heads"] * config["num_key_value_heads"]
    vision = config["vision_config"]
    v_wide, v_deep = vision["hidden_size"], vision["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], wide),
        "model.norm.weight": (wide,),
        "visual.patch_embed.proj.weight": (v_wide, 3, 2, 14, 14),
        "visual.merger.ln_q.weight": (v_wide,),
        "visual.merger.mlp.0.weight": (4 * v_wide, 4 * v_wide),
        "visual.merger.mlp.0.bias": (4 * v_wide,),
        "visual.merger.mlp.2.weight": (wide, 4 * v_wide),
        "visual.merger.mlp.2.bias": (wide,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], wide)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        for name, rows in (("q", wide), ("k", key_values), ("v", key_values)):
            shapes[f"{layer}.self_attn.{name}_proj.weight"] = (rows, wide)
            shapes[f"{layer}.self_attn.{name}_proj.bias"] = (rows,)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (wide, wide)
        shapes[f"{layer}.mlp.gate_proj.weight"] = (deep, wide)
        shapes[f"{layer}.mlp.up_proj.weight"] = (deep, wide)
        shapes[f"{layer}.mlp.down_proj.weight"] = (wide, deep)
        shapes[f"{layer}.input_layernorm.weight"] = (wide,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (wide,)
    for i in range(vision["depth"]):
        block = f"visual.blocks.{i}"
        for name, rows, columns in (
            ("attn.qkv", 3 * v_wide, v_wide),
            ("attn.proj", v_wide, v_wide),
            ("mlp.gate_proj", v_deep, v_wide),
            ("mlp.up_proj", v_deep, v_wide),
            ("mlp.down_proj", v_wide, v_deep),
        ):
            shapes[f"{block}.{name}.weight"] = (rows, columns)
            shapes[f"{block}.{name}.bias"] = (rows,)
        shapes[f"{block}.norm1.weight"] = shapes[f"{block}.norm2.weight"] = (v_wide,)
    return shapes
