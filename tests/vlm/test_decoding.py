"""Answers of a model, token by token."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stvg_r1_hub.config import TIMES_AS_TEXT, STVGConfig
from stvg_r1_hub.vlm.decoding import _grouped_sdpa, end_of_answer
from stvg_r1_hub.vlm.loading import ARCHITECTURES
from stvg_r1_hub.vlm.local import LocalVLM
from tests.tiny_checkpoints import noise_clip, save_checkpoint

PROMPTS = ["the dog", "a much longer question about the penguin that is shaking", "pig"]


def load(name: str, folder: Path, **options: Any) -> LocalVLM:
    rule = "timestamps" if name in TIMES_AS_TEXT else "transformers-4.50"
    config = STVGConfig(position_rule=rule)
    return LocalVLM.from_pretrained(save_checkpoint(name, folder), config=config, **options)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_static_cache_gives_the_same_answers(name: str, tmp_path: Path) -> None:
    plain, static = (load(name, tmp_path, static_cache=choice) for choice in (False, True))
    size = {"height": 128, "width": 192} if name in TIMES_AS_TEXT else {}
    video = plain.encode(noise_clip(**size))
    taken = []
    generate = static.model.generate

    def noted(**inputs: Any) -> torch.Tensor:
        taken.append(inputs.get("cache_implementation"))
        result: torch.Tensor = generate(**inputs)
        return result

    static.model.generate = noted
    for prompts in (PROMPTS[:1], PROMPTS):
        expected = plain.generate(prompts, video, max_new_tokens=12)
        assert static.generate(prompts, video, max_new_tokens=12) == expected
    assert len(set(expected)) > 1
    assert taken == ["static", "static"]
    assert static.model.model.language_model.config._attn_implementation == "grouped_sdpa"
    assert plain.model.model.language_model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [1, 3, 5])  # in one, for each head group, as transformers
def test_grouped_attention_equals_that_with_copied_heads(length: int, masked: bool) -> None:
    from torch.nn.functional import scaled_dot_product_attention

    torch.manual_seed(0)
    query = torch.randn(2, 6, length, 8)
    key, value = torch.randn(2, 2, 2, 9, 8)
    mask = (torch.rand(2, 1, length, 9) > 0.3) if masked else None
    layer = torch.nn.Module()
    layer.num_key_value_groups, layer.is_causal = 3, False
    got, _ = _grouped_sdpa(layer, query, key, value, mask, scaling=0.5)
    expected = scaled_dot_product_attention(
        query, key.repeat_interleave(3, 1), value.repeat_interleave(3, 1), mask, scale=0.5
    )
    torch.testing.assert_close(got, expected.transpose(1, 2))


def test_what_cannot_be_compiled_is_decoded_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain, static = (load("qwen2_5_vl", tmp_path, static_cache=choice) for choice in (False, True))
    video = plain.encode(noise_clip())
    generate = static.model.generate

    def without_compiler(**inputs: Any) -> torch.Tensor:
        if "cache_implementation" in inputs:
            raise RuntimeError("no compiler")
        result: torch.Tensor = generate(**inputs)
        return result

    static.model.generate = without_compiler
    expected = plain.generate(PROMPTS, video, max_new_tokens=4)
    for _ in range(2):
        assert static.generate(PROMPTS, video, max_new_tokens=4) == expected
    assert caplog.text.count("without a static cache: no compiler") == 1


class Saying(torch.nn.Module):
    """In place of a model's last layer: says the given texts, one a row, whatever it reads."""

    def __init__(self, tokenizer: Any, texts: list[str]) -> None:
        super().__init__()
        self.rows = [tokenizer(text).input_ids for text in texts]
        self.size = len(tokenizer)
        self.step = -1

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.step += 1
        logits = torch.zeros(len(hidden), 1, self.size)
        for own, ids in zip(logits, self.rows, strict=True):
            own[0, ids[min(self.step, len(ids) - 1)]] = 100.0
        return logits


THOUGHT = "<think>It goes between <answer> and </answer>.</think>"
ANSWER = "<answer>Target ID: 1, Time range: 0.50 to 1.00</answer>"


@pytest.mark.parametrize("texts", [[f"{ANSWER} and"], [f"{THOUGHT}{ANSWER} and", f"{ANSWER} so"]])
def test_an_answer_ends_at_its_end_whatever_would_follow(texts: list[str], tmp_path: Path) -> None:
    vlm = load("qwen2_5_vl", tmp_path)
    vlm.model.generation_config.repetition_penalty = 1.0
    vlm.model.lm_head = saying = Saying(vlm.processor.tokenizer, texts)
    steps: list[int] = []
    answers = vlm.generate(
        [f"x {ANSWER}"] * len(texts), vlm.encode(noise_clip()), max_new_tokens=200,
        progress=lambda stage, done, total: steps.append(done),
    )  # fmt: skip
    assert answers == [text[: text.rindex(">") + 1] for text in texts]
    assert steps[-1] == max(map(len, saying.rows)) - 1


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", 0),
        ("<answer>a", 0),
        ("<answer>a</answer>", 18),
        ("<answer>a</answer> b</answer>", 18),
        ("a</answer>", 10),
        ("<think>a</answer>", 0),
        ("<think>a</answer></think><answer>", 0),
        ("<think>a</think></answer>", 25),
        ("b</think>c</answer>d", 19),
    ],
)
def test_end_of_answer(text: str, kept: int) -> None:
    assert end_of_answer(text) == kept
