"""The published checkpoints' names and shapes fit what is built for them; no weight is needed."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.vlm.loading import Placement, check_architecture
from stvg_r1_hub.vlm.local import LocalVLM
from tests.published_shapes import PARAMETERS, SIZES, published_config, published_weights
from tests.tiny_checkpoints import build_processor, common, noise_clip, text_config

SHARDS = 3


def on_meta(config: Any, names: dict[str, tuple[int, ...]]) -> tuple[Any, dict[str, Any]]:
    """transformers' own loading and renaming, of tensors without content."""
    import transformers

    state = {n: torch.empty(s, dtype=torch.bfloat16, device="meta") for n, s in names.items()}
    loaded = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
        None,
        config=config,
        state_dict=state,
        dtype=torch.bfloat16,
        device_map={"": "meta"},
        output_loading_info=True,
    )
    return loaded[0], loaded[1]


def read_config(folder: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder)


def counts(report: dict[str, Any]) -> dict[str, int]:
    return {name: len(found) for name, found in report.items()}


@pytest.mark.parametrize("size", SIZES)
def test_every_published_tensor_has_its_place_and_no_place_is_empty(
    size: str, tmp_path: Path
) -> None:
    values = published_config(size)
    names = published_weights(values)
    assert sum(math.prod(shape) for shape in names.values()) == PARAMETERS[size]
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = read_config(tmp_path)
    check_architecture(size, config.model_type, STVGConfig().position_rule)
    model, report = on_meta(config, names)
    assert set(counts(report).values()) == {0}, report
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS[size]
    assert config.text_config.rope_parameters["mrope_section"] == [16, 24, 24]
    assert config.vision_config.tokens_per_second == 2


def test_another_name_or_shape_would_be_seen(tmp_path: Path) -> None:
    """The test above can fail."""
    values = published_config("7B", num_hidden_layers=1, vision_config={"depth": 1})
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = read_config(tmp_path)
    names = published_weights(values)
    names["visual.blocks.0.attn.qkv2.weight"] = names.pop("visual.blocks.0.attn.qkv.weight")
    _, report = on_meta(config, names)
    assert counts(report)["missing_keys"] == counts(report)["unexpected_keys"] == 1


def save_published(folder: Path, values: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Random weights under the published names, in shards with an index, a flat config."""
    from safetensors.torch import save_file

    folder.mkdir()
    weights = {}
    noise = torch.randn(99_991, generator=torch.Generator().manual_seed(0)).bfloat16() * 0.05
    for name, shape in published_weights(values).items():
        size = math.prod(shape)
        weights[name] = noise.repeat(size // len(noise) + 1)[:size].reshape(shape).clone()
    weight_map = {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        part = {name: w for i, (name, w) in enumerate(weights.items()) if i % SHARDS == shard}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(values))
    build_processor("qwen2_5_vl").save_pretrained(folder)
    return weights


def small_vocabulary(size: str, **changes: Any) -> dict[str, Any]:
    """A published config with the tests' tokenizer and one layer a tower."""
    ids = {key: value for key, value in common().items() if key.endswith("_id")}
    return published_config(
        size,
        vocab_size=text_config()["vocab_size"],
        num_hidden_layers=1,
        eos_token_id=text_config()["eos_token_id"],
        bos_token_id=None,
        **ids,
        **changes,
    )


@pytest.mark.slow
def test_one_layer_of_each_tower_at_the_width_of_7b_loads_and_answers(tmp_path: Path) -> None:
    """0.6 GB of real files under the published names, through the loader to an answer."""
    values = small_vocabulary("7B", vision_config={"depth": 1, "fullatt_block_indexes": [0]})
    weights = save_published(tmp_path / "model", values)
    vlm = LocalVLM.from_pretrained(
        tmp_path / "model", config=STVGConfig(), placement=Placement(dtype="bfloat16")
    )
    built = vlm.model.model
    language = built.language_model
    for ours, name in (
        (built.visual.blocks[0].attn.qkv.weight, "visual.blocks.0.attn.qkv.weight"),
        (built.visual.merger.mlp[2].bias, "visual.merger.mlp.2.bias"),
        (language.embed_tokens.weight, "model.embed_tokens.weight"),
        (
            language.layers[0].mlp.down_proj.weight,
            "model.layers.0.mlp.down_proj.weight",
        ),
        (vlm.model.lm_head.weight, "lm_head.weight"),
    ):
        assert torch.equal(ours, weights[name]), name
    video = vlm.encode(noise_clip(n=4, height=56, width=84))
    assert video.features.shape == (2 * 2 * 3, 3584)
    (text,) = vlm.generate(["the dog"], video, max_new_tokens=2)
    assert isinstance(text, str)
