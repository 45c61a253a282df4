"""What can be loaded, from Hub-style folders of real architectures at tiny size, and what not."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import ConfigError, ModelError, OutOfMemoryError
from stvg_r1_hub.vlm.local import LocalVLM
from tests.tiny_checkpoints import build_model, noise_clip, save_checkpoint

PROMPT = "the dog that is jumping"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint("qwen2_5_vl", tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


def load(folder: Path, **options: Any) -> LocalVLM:
    return LocalVLM.from_pretrained(folder, config=STVGConfig(), **options)


def logits(vlm: LocalVLM) -> torch.Tensor:
    with torch.inference_mode():
        inputs = vlm.model_inputs([PROMPT], vlm.encode(noise_clip()))
        inputs.pop("input_ids")
        return vlm.model(**inputs).logits[0, -1].float()


def save_adapter(folder: Path, base: Path, model_type: str = "qwen2_5_vl", rank: int = 2) -> Any:
    """A LoRA whose weights do something; returns the adapted model it was saved from."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    torch.manual_seed(3)
    adapted = get_peft_model(build_model(model_type), config)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder)
    return adapted.eval()


def test_an_adapter_changes_what_the_base_says_as_peft_does(base: Path, tmp_path: Path) -> None:
    adapted = save_adapter(tmp_path / "lora", base)
    plain, merged = load(base), load(base, adapter=tmp_path / "lora")
    assert not any("lora" in name for name, _ in merged.model.named_parameters())
    with torch.inference_mode():
        inputs = plain.model_inputs([PROMPT], plain.encode(noise_clip()))
        inputs.pop("input_ids")
        expected = adapted(**inputs).logits[0, -1]
    torch.testing.assert_close(logits(merged), expected, atol=1e-4, rtol=0)
    assert (logits(plain) - expected).abs().max() > 1e-2


def test_a_pipeline_from_an_adapter_repo_and_back(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "lora", base)
    pipeline = STVGPipeline.from_pretrained(tmp_path / "lora", device="cpu", tracker="coco")
    assert "official STVG-R1 preset" in pipeline.warnings[0]
    pipeline.save_pretrained(tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "stvg_config.json"} <= names
    assert "model.safetensors" not in names, "the base model stays where it is"
    again = STVGPipeline.from_pretrained(tmp_path / "saved", device="cpu", tracker="coco")
    assert isinstance(again.vlm, LocalVLM) and isinstance(pipeline.vlm, LocalVLM)
    assert torch.equal(logits(again.vlm), logits(pipeline.vlm))


def test_an_adapter_for_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "lora", base)
    config_path = tmp_path / "lora" / "adapter_config.json"
    values = json.loads(config_path.read_text())
    for change in ({"target_modules": ["c_attn"]}, {"r": 4}, {"target_modules": ["q_proj"]}):
        config_path.write_text(json.dumps({**values, **change}))
        with pytest.raises(ModelError, match="does not fit the base model"):
            load(base, adapter=tmp_path / "lora")


@pytest.mark.parametrize(
    ("remove", "named"),
    [
        ({"vision_config"}, "'vision_config' in config.json"),
        ({"video_token_id"}, "'video_token_id' in config.json"),
        ({"text_config"}, "'hidden_size' in config.json, 'num_hidden_layers' in config.json"),
    ],
)
def test_a_config_that_lacks_something_is_refused(copy: Path, remove: set[str], named: str) -> None:
    path = copy / "config.json"
    values = {k: v for k, v in json.loads(path.read_text()).items() if k not in remove}
    path.write_text(json.dumps(values))
    with pytest.raises(ModelError) as raised:
        load(copy)
    assert named in str(raised.value) and "incomplete" in str(raised.value)


def test_all_missing_files_are_listed(copy: Path) -> None:
    for name in ("tokenizer.json", "processor_config.json", "chat_template.jinja"):
        (copy / name).unlink()
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        (copy / name).unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"tokenizer\.json, preprocessor.*, chat_template\.jinja"):
        load(copy)


def rewrite(folder: Path, renamed: Callable[[str], str] = lambda name: name) -> list[Path]:
    """The weights under other names, in two shards with an index."""
    from safetensors.torch import load_file, save_file

    single = folder / "model.safetensors"
    weights = {renamed(name): weight for name, weight in load_file(single).items()}
    single.unlink()
    shards = [folder / f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    weight_map = {}
    for i, shard in enumerate(shards):
        part = dict(list(weights.items())[i::2])
        save_file(part, shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, shard.name)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return shards


def of_today(name: str) -> str:
    """A name as modules are called since transformers 4.52; published ones are older."""
    if name.startswith("visual."):
        return f"model.{name}"
    return re.sub(r"^model\.(?=layers|embed|norm)", "model.language_model.", name)


@pytest.mark.parametrize("renamed", [str, of_today], ids=["published", "of today"])
def test_shards_load_under_published_names_and_those_of_today(
    base: Path, copy: Path, renamed: Callable[[str], str]
) -> None:
    rewrite(copy, renamed)
    names = json.loads((copy / "model.safetensors.index.json").read_text())["weight_map"]
    assert ("visual.blocks.0.attn.qkv.weight" in names) == (renamed is str)
    assert ("model.layers.0.self_attn.q_proj.weight" in names) == (renamed is str)
    assert torch.equal(logits(load(copy)), logits(load(base)))


def test_a_shard_that_is_missing_or_cut_off_is_named(copy: Path) -> None:
    _, second = rewrite(copy)
    whole = second.read_bytes()
    second.write_bytes(whole[:-100])
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors of .* is damaged"):
        load(copy)
    second.unlink()
    with pytest.raises(ModelError, match=r"lacks model-00002-of-00002\.safetensors"):
        load(copy)


def test_missing_weights_are_not_made_up(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights: .*layers\.1\.mlp\.up_proj"):
        load(copy)


def test_weights_without_a_place_are_said_in_one_sentence(
    copy: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    assert load(copy).warnings == ()
    weights = load_file(copy / "model.safetensors")
    weights |= {f"visual.extra.{i}.weight": torch.zeros(2) for i in range(5)}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    capfd.readouterr()
    pipeline = STVGPipeline.from_pretrained(copy, device="cpu", tracker="coco")
    (said,) = (warning for warning in pipeline.warnings if "no place" in warning)
    assert said.endswith(
        "not used: model.visual.extra.0.weight, model.visual.extra.1.weight, "
        "model.visual.extra.2.weight and 2 more; check that config and weights belong together."
    )
    assert not caplog.records and "UNEXPECTED" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("keep", [100, 20_000])
def test_half_downloaded_weights_are_refused(copy: Path, keep: int) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors of .* damaged or only half downl"):
        load(copy)
    assert path.exists()


def test_a_damaged_adapter_is_named(base: Path, tmp_path: Path) -> None:
    save_adapter(tmp_path / "lora", base)
    path = tmp_path / "lora" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors of .*lora is damaged"):
        load(base, adapter=tmp_path / "lora")


@pytest.mark.parametrize("model_type", ["llama", "qwen9_vl"], ids=["another", "newer than all"])
def test_an_unsupported_architecture_is_named(copy: Path, model_type: str) -> None:
    path = copy / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": model_type}))
    with pytest.raises(ModelError, match=f"is a '{model_type}' model; this version runs") as said:
        load(copy)
    assert "\n" not in str(said.value)


def test_weights_of_another_size_are_refused(copy: Path) -> None:
    path = copy / "config.json"
    values = json.loads(path.read_text())
    values["text_config"]["intermediate_size"] = 80
    path.write_text(json.dumps(values))
    with pytest.raises(ModelError, match="Cannot load"):
        load(copy)


def test_bfloat16_and_device_map(base: Path) -> None:
    vlm = load(base, dtype="bfloat16", device_map="cpu")
    assert vlm.model.dtype == torch.bfloat16
    assert torch.cosine_similarity(logits(vlm), logits(load(base)), dim=0) > 0.95


@pytest.mark.parametrize(
    ("name", "package"), [("int8", "torchao"), ("8bit", "bitsandbytes"), ("4bit", "bitsandbytes")]
)
def test_quantized_weights(name: str, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package)
    folder = save_checkpoint("qwen2_5_vl", tmp_path / "m", model=build_model("qwen2_5_vl", 64))
    vlm = load(folder, quantization=name)
    layer = vlm.model.model.language_model.layers[0].mlp.up_proj
    assert type(layer).__name__ != "Linear" or type(layer.weight.data).__name__ == "Int8Tensor"
    assert type(vlm.model.model.visual.blocks[0].mlp.up_proj.weight.data) is torch.Tensor
    # A random network multiplies the rounding of 4 bits; unrelated logits would be near 0.
    least = 0.15 if name == "4bit" else 0.7
    assert torch.cosine_similarity(logits(vlm), logits(load(folder)), dim=0) > least
    assert isinstance(vlm.generate([PROMPT], vlm.encode(noise_clip()), max_new_tokens=3)[0], str)


def test_unknown_quantization_names_the_known_ones(base: Path) -> None:
    with pytest.raises(ConfigError, match="'4bit', '8bit', 'int8'"):
        load(base, quantization="2bit")


def test_a_shortage_of_memory_is_named(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = load(base)

    def exhausted(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    encoded = vlm.encode(noise_clip())
    monkeypatch.setattr(vlm.model, "generate", exhausted)
    with pytest.raises(OutOfMemoryError, match="Memory ran out on cpu; give a shorter video"):
        vlm.generate([PROMPT], encoded, max_new_tokens=3)
    monkeypatch.setattr("stvg_r1_hub.vlm.local.load_model", exhausted)
    with pytest.raises(OutOfMemoryError, match="choose a smaller model, load with quantization"):
        load(base)


def test_questions_that_do_not_fit_together_are_asked_apart(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = load(base)
    encoded = vlm.encode(noise_clip())
    questions = [f"the dog {i}" for i in range(7)]
    expected = vlm.generate(questions, encoded, max_new_tokens=3)
    original, sizes = vlm.model.generate, []

    def small(input_ids: torch.Tensor, **inputs: Any) -> Any:
        sizes.append(len(input_ids))
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(input_ids=input_ids, **inputs)

    monkeypatch.setattr(vlm.model, "generate", small)
    assert vlm.generate(questions, encoded, max_new_tokens=3) == expected
    assert sizes == [7, 4, 2, 2, 3, 2, 1]


def test_another_prompt_is_said(base: Path) -> None:
    pipeline = STVGPipeline.from_pretrained(
        base, device="cpu", tracker="coco", prompt_id="stvg-r1-multi"
    )
    assert pipeline.config.prompt_id == "stvg-r1-multi"
    assert any("'stvg-r1-multi' is used" in warning for warning in pipeline.warnings)
    with pytest.raises(ConfigError, match="'nope'"):
        STVGPipeline.from_pretrained(base, device="cpu", tracker="coco", prompt_id="nope")
