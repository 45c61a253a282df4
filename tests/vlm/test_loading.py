"""What can be loaded, from Hub-style folders of real architectures at tiny size, and what not."""

import json
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import ConfigError, ModelError, OutOfMemoryError
from stvg_r1_hub.vlm.loading import Placement, load_model
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
    return LocalVLM.from_pretrained(folder, config=STVGConfig(), placement=Placement(**options))


def logits(vlm: LocalVLM) -> torch.Tensor:
    with torch.inference_mode():
        inputs = vlm.model_inputs([PROMPT], vlm.encode(noise_clip()))
        inputs.pop("input_ids")
        return vlm.model(**inputs).logits[0, -1].float()


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


def test_many_missing_shards_are_one_short_sentence(copy: Path) -> None:
    index = {f"layer.{i}": f"model-{i:05}-of-00163.safetensors" for i in range(1, 164)}
    path = copy / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": index}))
    assert torch.is_tensor(logits(load(copy))), "of no account beside a whole model"
    (copy / "model.safetensors").rename(copy / "model-00163-of-00163.safetensors")
    with pytest.raises(ModelError, match=r"lacks model-00001-of.* and 159 more; download") as said:
        load(copy)
    assert len(str(said.value).replace(str(copy), "")) < 300
    path.write_text('{"weight_map": ["no", "map"]}')
    with pytest.raises(ModelError, match="Cannot load the language model"):
        load(copy)


def test_missing_weights_are_not_made_up(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights: .*layers\.1\.mlp\.up_proj"):
        load(copy)


def test_weights_without_a_place_are_said_in_one_sentence(
    copy: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
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


def test_weights_go_straight_to_the_device(base: Path) -> None:
    model, _ = load_model(base, Placement(device="meta"), adapter=None)
    assert {weight.device.type for weight in model.parameters()} == {"meta"}


@pytest.mark.parametrize("elsewhere", ["model.visual", "model.language_model", "lm_head"])
def test_a_model_in_several_places_answers_as_in_one(base: Path, elsewhere: str) -> None:
    whole = dict.fromkeys(("model.visual", "model.language_model", "lm_head"), "cpu")
    vlm = load(base, dtype="float32", device_map={**whole, elsewhere: "disk"})
    assert "meta" in {weight.device.type for weight in vlm.model.parameters()}
    assert torch.allclose(logits(vlm), logits(load(base)), atol=1e-4)
    answers = [
        m.generate([PROMPT], m.encode(noise_clip()), max_new_tokens=4) for m in (vlm, load(base))
    ]
    assert answers[0] == answers[1]


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


@pytest.mark.parametrize(
    ("setting", "given", "known"),
    [("quantization", "2bit", "'4bit', '8bit', 'int8'"), ("dtype", "float17", "'float16'")],
)
def test_unknown_forms_of_weights_name_the_known_ones(setting: str, given: str, known: str) -> None:
    with pytest.raises(ConfigError, match=f"Got {setting} '{given}'.*{known}"):
        STVGPipeline.from_pretrained("tiny", **{setting: given})  # type: ignore[arg-type]


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


def moved_template(folder: Path, place: str, template: str | None = None) -> None:
    """The chat template in one place alone."""
    old = folder / "chat_template.jinja"
    template = template or old.read_text()
    old.unlink(missing_ok=True)
    if place.endswith(".jinja"):
        (folder / place).write_text(template)
        return
    path = folder / place
    values = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**values, "chat_template": template}))


@pytest.mark.parametrize(
    "place", ["chat_template.jinja", "chat_template.json", "tokenizer_config.json"]
)
def test_the_chat_template_may_lie_in_any_of_its_places(base: Path, copy: Path, place: str) -> None:
    moved_template(copy, place)
    assert torch.equal(logits(load(copy)), logits(load(base)))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{{ m.role }}{% endfor %}", "made 0 video places of one video"),
        ("{{ raise_exception('only text') }}", r"cannot write a question .*\(only text\)"),
        ("{% for m in %}", "cannot write a question about a video"),
    ],
    ids=["of a text model", "refuses", "broken"],
)
def test_a_template_that_cannot_ask_is_refused_before_anything_is_tracked(
    copy: Path, template: str, said: str
) -> None:
    moved_template(copy, "tokenizer_config.json", template)
    with pytest.raises(ConfigError, match=said):
        load(copy)


def test_the_processor_follows_from_the_architecture(base: Path, copy: Path) -> None:
    """Checkpoints of early 2025 name a class that transformers has dropped since."""
    values = json.loads((copy / "processor_config.json").read_text())
    (copy / "processor_config.json").unlink()
    old = {**values["image_processor"], "processor_class": "Qwen2_5_VLProcessor"}
    for changed in (
        {},
        {"image_processor_type": "Qwen2_5_VLImageProcessor"},
        {"image_processor_type": "OfATrainer", "processor_class": "OfATrainerProcessor"},
    ):
        (copy / "preprocessor_config.json").write_text(json.dumps({**old, **changed}))
        tokenizer = json.loads((copy / "tokenizer_config.json").read_text())
        tokenizer["processor_class"] = changed.get("processor_class", "Qwen2_5_VLProcessor")
        (copy / "tokenizer_config.json").write_text(json.dumps(tokenizer))
        assert torch.equal(logits(load(copy)), logits(load(base)))


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_weights_that_need_a_missing_package_are_refused(copy: Path) -> None:
    """The base of many an unsloth adapter is stored in 4 bits."""
    path = copy / "config.json"
    stored = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": stored}))
    with pytest.raises(ModelError, match="bitsandbytes"):
        load(copy)
