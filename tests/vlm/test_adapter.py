"""Adapters as trainers and releases write them act as the adapter they are."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import ModelError
from stvg_r1_hub.vlm.local import LocalVLM
from tests.tiny_checkpoints import build_model, build_processor, noise_clip, save_checkpoint

PROMPT = "the dog that is jumping"
WEIGHTS = "adapter_model.safetensors"
BOTH_TOWERS = r".*(visual.*(qkv|up_proj)|language_model.*(q_proj|v_proj|down_proj))"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint("qwen2_5_vl", tmp_path_factory.mktemp("base") / "model")


def load(base: Path, adapter: Path | None = None) -> LocalVLM:
    return LocalVLM.from_pretrained(base, config=STVGConfig(), adapter=adapter)


def logits(vlm: LocalVLM) -> torch.Tensor:
    with torch.inference_mode():
        inputs = vlm.model_inputs([PROMPT], vlm.encode(noise_clip()))
        inputs.pop("input_ids")
        return vlm.model(**inputs).logits[0, -1].float()


def save_adapter(folder: Path, base: Path, model: Any = None, **options: Any) -> torch.Tensor:
    """A LoRA whose weights do something; returns the logits of the model it was saved from."""
    from peft import LoraConfig, get_peft_model

    options = {"r": 2, "target_modules": ["q_proj", "v_proj"], **options}
    torch.manual_seed(3)
    config = LoraConfig(init_lora_weights=False, **options)
    adapted = get_peft_model(build_model("qwen2_5_vl") if model is None else model, config)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder)
    whole = adapted.get_base_model().eval()
    return logits(LocalVLM(whole, build_processor("qwen2_5_vl"), STVGConfig()))


def rename(folder: Path, renamed: Callable[[str], str]) -> None:
    weights = {renamed(name): weight for name, weight in load_file(folder / WEIGHTS).items()}
    save_file(weights, folder / WEIGHTS)


def change(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def refusal(base: Path, adapter: Path) -> str:
    with pytest.raises(ModelError) as raised:
        load(base, adapter)
    said = str(raised.value)
    assert len(said.replace(str(base), "").replace(str(adapter), "")) <= 300 and "\n" not in said
    return said


def of_old(name: str) -> str:
    """As transformers up to 4.51 called it."""
    return name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


def raw(name: str) -> str:
    """As in a state dict that was not saved through peft."""
    return re.sub(r"(lora_[AB])\.", r"\1.default.", name)


def for_vllm(name: str) -> str:
    return name.replace("model.language_model.", "language_model.model.").replace(
        "model.visual.", "visual."
    )


def headless(name: str) -> str:
    """Of the model without its head."""
    return name.replace("base_model.model.model.", "base_model.model.")


NAMED = {
    "peft of today": str,
    "transformers 4.51": of_old,
    "raw": raw,
    "raw, transformers 4.51": lambda name: raw(of_old(name)),
    "vLLM": for_vllm,
    "without the head": headless,
    "without peft's prefix": lambda name: of_old(name).removeprefix("base_model.model."),
}


@pytest.mark.parametrize("renamed", NAMED.values(), ids=NAMED)
def test_an_adapter_acts_alike_under_every_name(
    base: Path, tmp_path: Path, renamed: Callable[[str], str]
) -> None:
    expected = save_adapter(
        tmp_path,
        base,
        target_modules=BOTH_TOWERS,
        rank_pattern={
            r"layers\.1\.self_attn\.q_proj": 4,
            "language_model.layers.0.mlp.down_proj": 3,
        },
        alpha_pattern={"visual.blocks.1.attn.qkv": 32},
    )
    rename(tmp_path, renamed)
    if renamed is not str:  # Written for the names that the weights have.
        change(
            tmp_path,
            target_modules=r"^(model)(?!.*(lm_head|emb)).*|visual\.blocks.*",
            rank_pattern={r"layers\.1\.self_attn\.q_proj": 4, "layers.0.mlp.down_proj": 3},
        )
    merged = load(base, tmp_path)
    assert not any("lora" in name for name, _ in merged.model.named_parameters())
    torch.testing.assert_close(logits(merged), expected, atol=1e-4, rtol=0)
    assert (logits(load(base)) - expected).abs().max() > 1e-2


TARGETS = {
    "a list": ["q_proj", "v_proj"],
    "whole names (2U1)": [f"model.layers.{i}.self_attn.{p}_proj" for i in (0, 1) for p in "qv"],
    "ms-swift": r"^(model)(?!.*(lm_head|output|emb|wte|shared)).*",
    "LLaMA-Factory": r"^(?!.*visual).*(?:q_proj|v_proj).*",
    "unsloth": r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|v_proj).*?)|"
    r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|v_proj)))",
    "more than has weights": ["q_proj", "v_proj", "o_proj"],
}


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_the_weights_say_where_an_old_adapter_goes(
    base: Path, tmp_path: Path, targets: list[str] | str
) -> None:
    expected = save_adapter(tmp_path, base, use_rslora=True)
    rename(tmp_path, of_old)
    change(tmp_path, target_modules=targets, exclude_modules=["visual"], task_type="CAUSAL_LM")
    torch.testing.assert_close(logits(load(base, tmp_path)), expected, atol=1e-4, rtol=0)


def test_whole_modules_saved_with_an_adapter_are_used(base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = build_model("qwen2_5_vl")
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head", "merger"])
    adapted = get_peft_model(model, config)
    model.lm_head.modules_to_save["default"].weight.data += 0.1
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(tmp_path)
    expected = logits(
        LocalVLM(adapted.get_base_model().eval(), build_processor("qwen2_5_vl"), STVGConfig())
    )
    assert (logits(load(base)) - expected).abs().max() > 1e-2
    for renamed in (str, of_old):
        rename(tmp_path, renamed)
        torch.testing.assert_close(logits(load(base, tmp_path)), expected, atol=1e-4, rtol=0)


def test_a_pipeline_from_an_adapter_repo_and_back(base: Path, tmp_path: Path) -> None:
    """Also from a folder that holds the base's config and tokenizer, as trainers write it."""
    expected = save_adapter(tmp_path / "lora", base)
    base_config = (base / "config.json").read_text()
    (tmp_path / "lora" / "config.json").write_text(base_config)
    build_processor("qwen2_5_vl").save_pretrained(tmp_path / "lora")
    (tmp_path / "lora" / "non_lora_state_dict.bin").write_bytes(b"a pickle")
    (tmp_path / "lora" / "checkpoint-50").mkdir()
    (tmp_path / "lora" / "checkpoint-50" / WEIGHTS).write_bytes(b"an earlier stage")
    pipeline = STVGPipeline.from_pretrained(tmp_path / "lora", device="cpu", tracker="coco")
    assert "official STVG-R1 preset" in pipeline.warnings[0]
    (said,) = (w for w in pipeline.warnings if "non_lora_state_dict.bin" in w)
    assert "not used" in said and "pickle" in said
    pipeline.save_pretrained(tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {WEIGHTS, "adapter_config.json", "stvg_config.json"} <= names
    assert not names & {"model.safetensors", "checkpoint-50", "non_lora_state_dict.bin"}
    again = STVGPipeline.from_pretrained(tmp_path / "saved", device="cpu", tracker="coco")
    assert isinstance(again.vlm, LocalVLM) and isinstance(pipeline.vlm, LocalVLM)
    assert torch.equal(logits(again.vlm), logits(pipeline.vlm))
    torch.testing.assert_close(logits(again.vlm), expected, atol=1e-4, rtol=0)


def test_an_adapter_for_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "wide", base, build_model("qwen2_5_vl", 64))
    said = refusal(base, tmp_path / "wide")
    assert (
        "does not fit the base model" in said and "is (2, 64), and the model takes (2, 32)" in said
    )
    save_adapter(tmp_path / "deep", base)
    rename(tmp_path / "deep", lambda name: name.replace("layers.1.", "layers.27."))
    assert "has no layer model.language_model.layers.27." in refusal(base, tmp_path / "deep")


def test_a_rank_that_contradicts_the_weights_is_named(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path, base)
    change(tmp_path, r=4)
    assert "has weights of rank 2 for " in refusal(base, tmp_path)
    change(tmp_path, rank_pattern={"nothing.like_it": 2})
    assert "and the pattern 'nothing.like_it' matches no layer" in refusal(base, tmp_path)


def test_a_pattern_without_effect_is_said(base: Path, tmp_path: Path) -> None:
    expected = save_adapter(tmp_path, base)
    change(tmp_path, rank_pattern={"nothing.like_it": 8})
    vlm = load(base, tmp_path)
    assert "'nothing.like_it'" in vlm.warnings[0] and "matches none" in vlm.warnings[0]
    torch.testing.assert_close(logits(vlm), expected, atol=1e-4, rtol=0)


def test_what_is_no_usable_adapter_says_why(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path, base)
    weights = load_file(tmp_path / WEIGHTS)
    half = {
        name: weight for name, weight in weights.items() if "1.self_attn.q_proj.lora_B" not in name
    }
    save_file(half, tmp_path / WEIGHTS)
    assert "it lacks model.language_model.layers.1.self_attn.q_proj.lora_B" in refusal(
        base, tmp_path
    )
    save_file({"something.else": torch.zeros(2)}, tmp_path / WEIGHTS)
    assert "has no LoRA weights" in refusal(base, tmp_path)
    save_file(weights, tmp_path / WEIGHTS)
    change(tmp_path, peft_type="PREFIX_TUNING", num_virtual_tokens=3)
    assert "PREFIX_TUNING" in refusal(base, tmp_path)
    change(tmp_path, peft_type="LORA_OF_TOMORROW")
    assert "cannot be read by the installed peft" in refusal(base, tmp_path)
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-10])
    assert f"{WEIGHTS} of {tmp_path} is damaged" in refusal(base, tmp_path)
