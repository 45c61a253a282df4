"""The language model backend, on a random model of the bundled architecture."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stvg_r1_hub import GroundingResult, STVGPipeline
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import Cancelled, ConfigError, ModelError
from stvg_r1_hub.hub import BUNDLED
from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.structures import Generated, MarkedFrames
from stvg_r1_hub.vlm.loading import Placement
from stvg_r1_hub.vlm.local import EncodedVideo, LocalVLM
from stvg_r1_hub.vlm.number_probabilities import written_number
from stvg_r1_hub.vlm.reader import NotesReader
from stvg_r1_hub.vlm.scripted import ScriptedVLM
from tests.builders import make_frames, marked
from train.bundled.sizes import SMALL, bundle_config
from train.bundled.tiny_model import build_model, build_processor, save_bundle

CONFIG = bundle_config(SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("random-model")
    processor = build_processor()
    save_bundle(build_model(processor.tokenizer), processor, path)
    return path


@pytest.fixture(scope="module")
def vlm(folder: Path) -> LocalVLM:
    return LocalVLM.from_pretrained(folder, config=CONFIG)


def clip(seed: int = 0, n: int = 8, sample_fps: float = 4.0, size: int = 140) -> MarkedFrames:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    indices = np.arange(n) * 6
    frames = make_frames(
        pixels, sample_fps=sample_fps, indices=indices, times=indices / 24, model_size=(140, 140)
    )
    return marked(frames, 1)


def logits(vlm: LocalVLM, video: MarkedFrames, prompt: str = "the dog") -> torch.Tensor:
    with torch.inference_mode():
        inputs = vlm.model_inputs([prompt], vlm.encode(video))
        inputs.pop("input_ids")
        return vlm.model(**inputs).logits[0, -1]


def test_pixels_change_the_logits(vlm: LocalVLM) -> None:
    assert torch.equal(logits(vlm, clip(0)), logits(vlm, clip(0)))
    assert (logits(vlm, clip(0)) - logits(vlm, clip(1))).abs().max() > 1e-4


def test_equals_the_library_path_where_positions_are_the_librarys(folder: Path) -> None:
    """Same logits as processor and model called the documented way."""
    own = LocalVLM.from_pretrained(
        folder, config=STVGConfig(**{**CONFIG.__dict__, "position_rule": "installed"})
    )
    video = clip(2)
    prompt = "the dog that is jumping"
    content = [{"type": "text", "text": prompt}, {"type": "video"}]
    text = own.processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    inputs = own.processor(
        text=[text],
        videos=[torch.from_numpy(video.frames.pixels).permute(0, 3, 1, 2)],
        do_resize=False,
        do_sample_frames=False,
        video_metadata=[{"fps": 4.0, "total_num_frames": 8, "frames_indices": list(range(8))}],
        return_tensors="pt",
    )
    with torch.inference_mode():
        expected = own.model(**inputs).logits[0, -1]
    assert torch.allclose(logits(own, video, prompt), expected, atol=1e-4)


def test_seconds_per_grid_reach_the_positions(vlm: LocalVLM) -> None:
    slow = vlm.model_inputs(["x"], vlm.encode(clip(sample_fps=1.0)))["position_ids"]
    fast = vlm.model_inputs(["x"], vlm.encode(clip(sample_fps=4.0)))["position_ids"]
    video = (
        vlm.model_inputs(["x"], vlm.encode(clip()))["input_ids"] == vlm.model.config.video_token_id
    )
    start = fast[0][video].min()
    assert (fast[0][video] - start).unique().tolist() == [0, 1, 2, 3]
    assert (slow[0][video] - start).unique().tolist() == [0, 4, 8, 12]
    assert fast[:, 0, -1].unique().numel() == 1  # text is the same on all three axes


def test_generation_continues_at_the_next_position(vlm: LocalVLM) -> None:
    """Greedy decoding with a cache says the same as scoring the whole text again each time."""
    video = vlm.encode(clip(3))
    vlm_text = vlm.generate(["the pig"], video, max_new_tokens=6)[0]
    with torch.inference_mode():
        inputs = vlm.model_inputs(["the pig"], video)
        ids = inputs.pop("input_ids")
        start = ids.shape[1]
        for _ in range(6):
            token = vlm.model(**inputs).logits[:, -1:].argmax(-1)
            ids = torch.cat([ids, token], 1)
            inputs["inputs_embeds"] = torch.cat(
                [inputs["inputs_embeds"], vlm.model.get_input_embeddings()(token)], 1
            )
            inputs["attention_mask"] = torch.ones_like(ids)
            places = inputs["position_ids"]
            inputs["position_ids"] = torch.cat([places, places[..., -1:] + 1], -1)
    assert vlm.processor.batch_decode(ids[:, start:], skip_special_tokens=True)[0] == vlm_text


def test_a_batch_says_what_single_questions_say(vlm: LocalVLM) -> None:
    video = vlm.encode(clip(4))
    prompts = ["the dog", "a much longer question about the penguin that is shaking", "pig"]
    alone = [vlm.generate([p], video, max_new_tokens=5)[0] for p in prompts]
    assert vlm.generate(prompts, video, max_new_tokens=5) == alone
    many = vlm.generate(prompts * 4, video, max_new_tokens=5)
    assert many == alone * 4


def test_each_text_is_told_as_soon_as_it_is_whole(tiny: STVGPipeline) -> None:
    """Of the bundled model, which writes less where nothing is found; in two batches, too."""
    assert isinstance(tiny.vlm, NotesReader)
    config, sight = replace(tiny.config, reads_notes=False), tiny.vlm.sight
    queries = ["the frog jumping", "the dog jumping", "a penguin spins", "the sheep jumping"]
    steps: list[int] = []
    told: dict[int, tuple[int, GroundingResult]] = {}
    with tiny.replace(config=config, vlm=sight).open(BUNDLED / "demo" / "clip.mp4") as opened:
        prompts = [build_prompt(query, opened.prompt_id) for query in queries]
        expected = sight.generate(prompts, opened.encode(), max_new_tokens=99)
        results = opened.ground(
            queries,
            progress=lambda stage, done, total: steps.append(done),
            on_result=lambda i, result: told.update({i: (steps[-1], result)}),
        )
        many: dict[int, str] = {}
        texts = sight.generate(
            prompts * 5, opened.encode(), max_new_tokens=99, on_text=many.__setitem__
        )
    assert [result.raw_text for result in results] == expected
    assert [told[i][1] for i in range(4)] == results
    assert all(isinstance(result.raw_text, Generated) for result in results if result.found)
    first, *_, last = told.values()
    assert first[0] < last[0] == steps[-1] and first[1].timings["answer"] > 0
    assert texts == expected * 5 == [many[i] for i in range(20)]


def test_resizing_is_antialiased_and_to_the_planned_size(vlm: LocalVLM) -> None:
    encoded = vlm.encode(clip(size=336))
    assert encoded.grid.thw == (4, 10, 10)
    assert encoded.features.shape == (4 * 25, 192)


def test_progress_can_cancel(vlm: LocalVLM) -> None:
    def stop(stage: str, done: int, total: int | None) -> None:
        assert stage == "answer"
        if done >= 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        vlm.generate(["x"], vlm.encode(clip()), max_new_tokens=50, progress=stop)


def test_other_architectures_and_broken_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelError, match="bert"):
        LocalVLM.from_pretrained(tmp_path, config=CONFIG)
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match=r"model\.safetensors of .* is damaged"):
        LocalVLM.from_pretrained(broken, config=CONFIG)


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError):
        LocalVLM.from_pretrained(tmp_path, config=CONFIG)


@pytest.mark.parametrize("dtype", ["float64", "int8", "nonsense"])
def test_unknown_dtype(folder: Path, dtype: str) -> None:
    with pytest.raises(ConfigError, match=dtype):
        LocalVLM.from_pretrained(folder, config=CONFIG, placement=Placement(dtype=dtype))


def test_unknown_quantization(folder: Path) -> None:
    with pytest.raises(ConfigError, match="3bit"):
        LocalVLM.from_pretrained(folder, config=CONFIG, placement=Placement(quantization="3bit"))


def test_scripted_model() -> None:
    vlm = ScriptedVLM(["a b c", "d"])
    assert vlm.generate(["1", "2", "3"], vlm.encode(clip()), max_new_tokens=2) == [
        "a b",
        "d",
        "a b",
    ]
    assert ScriptedVLM(str.upper).generate(["x"], clip(), max_new_tokens=9) == ["X"]
    with pytest.raises(ValueError, match="at least one"):
        ScriptedVLM([])


def test_probabilities_are_what_the_model_gives_each_number_there(tiny: STVGPipeline) -> None:
    """As one pass over question and answer scores the digit's place."""
    reader = tiny.vlm
    assert isinstance(reader, NotesReader)
    sight = reader.sight
    assert isinstance(sight, LocalVLM)
    with tiny.open(BUNDLED / "demo" / "clip.mp4") as opened:
        prompts = [
            build_prompt(query, "sprites-v1") for query in ("the dog jumping", "the dog growing")
        ]
        video = sight.encode(opened.marked)
        # As in a window of a long video, where what is drawn stands for a longer ID.
        drawn = opened.marked.drawn_ids
        far = tuple(frozenset(i + 100 for i in ids) for ids in drawn)
        numbers = {i + 100: i for ids in drawn for i in ids}
        renamed = sight.encode(replace(opened.marked, drawn_ids=far, numbers=numbers))
    assert renamed.object_ids == video.object_ids
    texts = sight.generate(prompts, video, max_new_tokens=99)
    for prompt, text in zip(prompts, texts, strict=True):
        assert isinstance(text, Generated)
        assert sum(text.id_probabilities.values()) == pytest.approx(1)
        written = written_number(text)
        assert written is not None
        expected = digits_after(sight, video, prompt, text[: written[0]].rstrip())
        others = [i for i in range(1, 10) if str(i) != written[1] and i in text.id_probabilities]
        found = np.array([text.id_probabilities[i] for i in others])
        likely = expected[np.array(others) - 1]
        assert np.allclose(found / found.sum(), likely / likely.sum(), atol=1e-3)


def digits_after(vlm: LocalVLM, video: EncodedVideo, prompt: str, answer: str) -> np.ndarray:
    """Probabilities of the numbers 1 to 9 as next token."""
    tokenizer = vlm.processor.tokenizer
    with torch.inference_mode():
        inputs = vlm.model_inputs([prompt], video)
        ids = torch.tensor([vlm.inputs.answer_ids(answer)[:-1]])
        places = inputs["position_ids"]
        steps = places[..., -1:] + 1 + torch.arange(ids.shape[1])
        logits = vlm.model(
            inputs_embeds=torch.cat(
                [inputs["inputs_embeds"], vlm.model.get_input_embeddings()(ids)], 1
            ),
            position_ids=torch.cat([places, steps], -1),
        ).logits[0, -1]
    digits = [tokenizer(f" {i}", add_special_tokens=False).input_ids[0] for i in range(1, 10)]
    return logits.softmax(-1)[digits].double().numpy()
