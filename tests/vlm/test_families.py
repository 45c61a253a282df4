"""Every architecture through one backend, against transformers' own path."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stvg_r1_hub.config import TIMES_AS_TEXT, STVGConfig
from stvg_r1_hub.errors import ConfigError, ModelError
from stvg_r1_hub.structures import MarkedFrames
from stvg_r1_hub.vlm.loading import ARCHITECTURES
from stvg_r1_hub.vlm.local import LocalVLM
from stvg_r1_hub.vlm.packed_attention import grid_inputs
from stvg_r1_hub.vlm.processing import VIDEO_PAD, VISION_END, VISION_START
from tests.tiny_checkpoints import build_model, build_processor, noise_clip, save_checkpoint
from train.bundled.tiny_model import CHAT_TEMPLATE


def config_for(model_type: str, rule: str = "installed") -> STVGConfig:
    return STVGConfig(position_rule="timestamps" if model_type in TIMES_AS_TEXT else rule)


def clip_for(model_type: str, **options: Any) -> MarkedFrames:
    if model_type in TIMES_AS_TEXT:
        options = {"height": 128, "width": 192, **options}
    return noise_clip(**options)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: save_checkpoint(name, root / name) for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def vlms(folders: dict[str, Path]) -> dict[str, LocalVLM]:
    return {
        name: LocalVLM.from_pretrained(folder, config=config_for(name))
        for name, folder in folders.items()
    }


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_vision_tower_equals_the_stock_one(name: str, vlms: dict[str, LocalVLM]) -> None:
    """Windows of four sizes, full frames, and all that is computed from the shape beforehand."""
    video = clip_for(name)
    ours = vlms[name].encode(video)
    stock = build_model(name).eval()
    assert stock.config.vision_config._attn_implementation == "sdpa"
    pixels = torch.from_numpy(video.frames.pixels).permute(0, 3, 1, 2)
    inputs = build_processor(name).video_processor(
        [pixels], do_resize=False, do_sample_frames=False, return_tensors="pt"
    )
    with torch.inference_mode():
        output = stock.model.get_video_features(**inputs)
    torch.testing.assert_close(ours.features, output.pooler_output[0], atol=1e-5, rtol=0)
    assert ours.grid.thw == tuple(inputs["video_grid_thw"][0].tolist())
    for mine, theirs in zip(ours.deepstack, getattr(output, "deepstack_features", ()), strict=True):
        torch.testing.assert_close(mine, theirs[0], atol=1e-5, rtol=0)
    assert (len(ours.deepstack) > 0) == name.startswith("qwen3_vl")


def test_few_attention_calls_and_shapes_computed_once(
    vlms: dict[str, LocalVLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def counted(query: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        calls.append(tuple(query.shape))
        return original(query, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    vlm = vlms["qwen2_5_vl"]
    vlm.encode(noise_clip())
    # 4 steps of 10 x 14 patches; windows of 8 x 8 leave 8 x 6, 2 x 8 and 2 x 6 at the edges.
    assert sorted(calls) == sorted(
        [(4, 2, n, 16) for n in (12, 16, 48, 64)] * 2 + [(4, 2, 140, 16)]
    )
    visual = vlm.model.model.visual
    first, again = (grid_inputs(visual, (4, 10, 14)) for _ in range(2))
    assert first["window_index"] is again["window_index"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tokens_logits_and_text_equal_the_librarys(name: str, vlms: dict[str, LocalVLM]) -> None:
    vlm, video = vlms[name], clip_for(name)
    prompt = "the dog that is jumping"
    content = [{"type": "text", "text": prompt}, {"type": "video"}]
    # The installed Qwen3-VL processor replaces the pad token alone; see below for the marks.
    template = CHAT_TEMPLATE
    if name in TIMES_AS_TEXT:
        template = template.replace(VISION_START + VIDEO_PAD + VISION_END, VIDEO_PAD)
    processor = build_processor(name, template)
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    inputs = processor(
        text=[text],
        videos=[torch.from_numpy(video.frames.pixels).permute(0, 3, 1, 2)],
        do_resize=False,
        do_sample_frames=False,
        video_metadata=[
            {"fps": 24, "total_num_frames": 96, "frames_indices": list(range(0, 96, 12))}
        ],
        return_tensors="pt",
    )
    own = vlm.model_inputs([prompt], vlm.encode(video))
    assert own["input_ids"].tolist() == inputs["input_ids"].tolist()
    stock = build_model(name)
    stock.generation_config = vlm.model.generation_config
    with torch.inference_mode():
        written = stock.generate(**inputs, max_new_tokens=8)[:, inputs["input_ids"].shape[1] :]
        expected = stock(**inputs).logits[0, -1]
    assert vlm.generate([prompt], vlm.encode(video), max_new_tokens=8) == (
        processor.batch_decode(written, skip_special_tokens=True)
    )
    with torch.inference_mode():
        if "inputs_embeds" in own:
            own.pop("input_ids")
        logits = vlm.model(**own).logits[0, -1]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_qwen3_reads_the_times_as_text(vlms: dict[str, LocalVLM]) -> None:
    vlm = vlms["qwen3_vl"]
    encoded = vlm.encode(clip_for("qwen3_vl", n=6, sample_fps=4.0))
    assert encoded.grid.step_seconds == (0.125, 0.625, 1.125)
    ids = vlm.inputs.tokens("x", encoded.grid).input_ids
    text = vlm.processor.tokenizer.decode(ids)
    pads = VIDEO_PAD * (len(encoded.features) // 3)
    steps = "".join(f"<{t} seconds>{VISION_START}{pads}{VISION_END}" for t in ("0.1", "0.6", "1.1"))
    assert f"x{steps}<|im_end|>" in text, "no second pair of marks around the whole video"


def test_qwen2_positions_count_steps_not_seconds(folders: dict[str, Path]) -> None:
    rule = config_for("qwen2_vl", "transformers-4.50")
    vlm = LocalVLM.from_pretrained(folders["qwen2_vl"], config=rule)
    slow, fast = (
        vlm.model_inputs(["x"], vlm.encode(noise_clip(sample_fps=fps)))["position_ids"]
        for fps in (0.5, 4.0)
    )
    assert torch.equal(slow, fast)


def test_other_native_rates_give_the_same_positions(folders: dict[str, Path]) -> None:
    """What reaches the model is the sample's rate, not the file's; and it does reach it."""
    rule = config_for("qwen2_5_vl", "transformers-4.50")
    vlm = LocalVLM.from_pretrained(folders["qwen2_5_vl"], config=rule)

    def positions(native_fps: int, seconds: int = 8) -> torch.Tensor:
        import numpy as np

        from stvg_r1_hub.video import SampleBuffer, open_video, plan_for

        frames = np.zeros((native_fps * seconds, 56, 84, 3), np.uint8)
        with open_video(frames, fps=native_fps) as source:
            plan = plan_for(source.info, rule.sampling)
            buffer = SampleBuffer(plan, source.info)
            for frame in source.stream(plan.frame_indices):
                buffer.add(frame.frame_index, frame.pixels)
        sample = buffer.frames()
        marked = MarkedFrames(sample, (frozenset({1}),) * len(sample))
        positions: torch.Tensor = vlm.model_inputs(["x"], vlm.encode(marked))["position_ids"]
        return positions

    at_10, at_24, at_30 = (positions(fps) for fps in (10, 24, 30))
    assert torch.equal(at_24, at_30) and torch.equal(at_10, at_30)
    assert at_30[0].max() - at_30[0].min() > 2 * 7, "two positions a second of eight"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_batch_of_questions_says_what_single_ones_say(
    name: str, vlms: dict[str, LocalVLM]
) -> None:
    """The repetition penalty of the checkpoint sees no padding."""
    vlm = vlms[name]
    assert vlm.model.generation_config.repetition_penalty == 1.05
    video = vlm.encode(clip_for(name))
    prompts = ["the dog", "a much longer question about the penguin that is shaking", "pig"]
    alone = [vlm.generate([p], video, max_new_tokens=12)[0] for p in prompts]
    assert len(set(alone)) > 1
    assert vlm.generate(prompts * 6, video, max_new_tokens=12) == alone * 6


def test_a_rule_the_architecture_was_not_trained_with_is_refused(folders: dict[str, Path]) -> None:
    refused = {name: "timestamps" for name in ARCHITECTURES}
    refused |= dict.fromkeys(TIMES_AS_TEXT, "installed")
    for name, rule in refused.items():
        with pytest.raises(ConfigError, match=f"position_rule '{rule}'.*{name}"):
            LocalVLM.from_pretrained(folders[name], config=STVGConfig(position_rule=rule))


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ModelError, match=r"'llava'.*qwen2_5_vl, qwen2_vl, qwen3_vl"):
        LocalVLM.from_pretrained(tmp_path, config=STVGConfig())
