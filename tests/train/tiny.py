"""The smallest real Qwen2.5-VL that the bundled tokenizer and processor fit."""

from pathlib import Path

import numpy as np
import torch

from stvg_r1_hub.vlm.inputs import InputBuilder
from stvg_r1_hub.vlm.processing import load_processor
from train.data.samples import as_frames

BUNDLE = Path(__file__).parents[2] / "train" / "bundled" / "easy_base"


def processor():
    return load_processor(BUNDLE, "qwen2_5_vl")


def model(*, seed=0, hidden=32, layers=2):
    """A random model of about 100,000 parameters, with M-RoPE and window attention."""
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    config = AutoConfig.from_pretrained(BUNDLE)
    text, vision = config.text_config, config.vision_config
    text.hidden_size, text.intermediate_size = hidden, 2 * hidden
    text.num_hidden_layers, text.num_attention_heads, text.num_key_value_heads = layers, 4, 2
    text.layer_types = ["full_attention"] * layers
    text.rope_parameters["mrope_section"] = [1, 1, 2]
    vision.hidden_size, vision.intermediate_size, vision.num_heads = 32, 64, 2
    vision.depth, vision.fullatt_block_indexes, vision.window_size = 2, [1], 56
    vision.out_hidden_size = hidden
    torch.manual_seed(seed)
    built = Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    # The usual start weights are so small that a wrong mask or position would hardly show.
    with torch.no_grad():
        for weight in built.parameters():
            if weight.ndim > 1:
                weight.mul_(4)
    return built


def question(tiny, *, prompt="Find it.", frames=6, height=56, width=84, seed=0):
    """A prompt with a clip of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    builder = InputBuilder.of(tiny, processor(), "transformers-4.50")
    return builder.prompt_inputs(prompt, as_frames(noise, 2.0))


def ragged(lengths, *, seed=0, vocabulary=500):
    """Random generated tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(10, vocabulary, (n,), generator=generator) for n in lengths]
