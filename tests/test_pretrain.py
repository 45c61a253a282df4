"""Training of the bundled model and its detector: the real code, a few steps long."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stvg_r1_hub.evaluation.sprites.scene import KINDS
from train import detector, pretrain
from train.fast_forward import patchify, text_forward, vision_forward
from train.sprite_samples import IGNORED, Sample, draw_dialogue, draw_sample
from train.tiny_model import answer_text, build_model, build_processor


@pytest.fixture(scope="module")
def processor():
    return build_processor()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [draw_sample((1, i), duration_seconds=3.0, dense=False) for i in range(3)]


def test_samples_are_reproducible(samples: list[Sample]) -> None:
    again = draw_sample((1, 1), duration_seconds=3.0, dense=False)
    assert np.array_equal(again.frames, samples[1].frames)
    assert again.dialogue == samples[1].dialogue


def test_labels_name_what_the_answer_lists(samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.frames.shape == (12, 140, 140, 3)
        seen = sample.labels[sample.labels[..., 0] != IGNORED]
        for kind, number in {(k, i) for k, i, _ in seen.tolist()}:
            assert f"{number} {KINDS[kind]} " in sample.dialogue.answer


def test_the_answer_is_one_the_parser_reads_strictly(samples: list[Sample]) -> None:
    from stvg_r1_hub.answer import parse_answer

    for sample in samples:
        answer = parse_answer(sample.dialogue.answer, strict=True)
        assert answer.is_valid and answer.end_seconds > answer.start_seconds
    assert "<answer>" not in answer_text([(1, "dog", "", 0, 0)], None)


def test_the_tokenizer_keeps_text_and_marks_the_answers_id(processor, samples) -> None:
    collator = pretrain.Collator(processor)
    decode = processor.tokenizer.decode
    for sample in samples:
        answer = sample.dialogue.answer
        row = collator._row(sample.dialogue)
        assert decode(row.ids[row.weights > 0], skip_special_tokens=True) == answer
        (place,) = np.flatnonzero(row.weights == 3)
        assert f"Target ID: {decode(row.ids[[place]]).strip()}," in answer
        # Read without the clip, only what follows from query and listing is asked for.
        blind = collator._without_video(row)
        said = decode(blind.ids[blind.weights > 0], skip_special_tokens=True)
        assert said.startswith(answer[: answer.index(".")])
        assert said.endswith(answer[answer.index("<answer>") :])
        assert len(said) < len(answer)
        assert np.array_equal(blind.positions[:, -9:], row.positions[:, -9:])


def test_dialogues_without_a_clip_are_answerable_from_their_listing() -> None:
    for i in range(20):
        dialogue = draw_dialogue((3, i))
        listing, answer = dialogue.answer.split("</think>")
        number, span = (
            answer.split("Target ID: ")[1].removesuffix("</answer>").split(", Time range: ")
        )
        (line,) = (part for part in listing.split(". ") if span in part and f"{number} " in part)
        assert line.removeprefix("<think>").split()[1] in dialogue.prompt


def test_fast_forward_equals_the_library(processor, samples: list[Sample]) -> None:
    torch.manual_seed(0)
    model = build_model(processor.tokenizer).eval()
    batch = pretrain.Collator(processor)((samples, []))
    videos = [torch.from_numpy(s.frames).permute(0, 3, 1, 2) for s in samples]
    inputs = processor.video_processor(
        videos,
        do_resize=False,
        do_sample_frames=False,
        cap_pixels_per_frame=False,
        return_tensors="pt",
    )
    with torch.no_grad():
        ours = vision_forward(model.model.visual, patchify(batch["frames"]))
        theirs = torch.cat(model.model.get_video_features(**inputs).pooler_output)
        assert torch.allclose(ours.flatten(0, 1), theirs, atol=1e-5)
        embeds = model.get_input_embeddings()(batch["ids"])
        hidden = text_forward(model.model.language_model, embeds, batch["positions"])
        library = model.model.language_model(
            inputs_embeds=embeds, position_ids=batch["positions"]
        ).last_hidden_state
        assert torch.allclose(hidden, library, atol=1e-4)


@pytest.fixture
def small_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, stage in pretrain.STAGES.items():
        small = dataclasses.replace(stage, batch_size=2, n_dialogues=min(2, stage.n_dialogues))
        monkeypatch.setitem(pretrain.STAGES, name, small)


@pytest.mark.slow
@pytest.mark.usefixtures("small_stages")
def test_stages_follow_each_other_and_write_a_bundle(tmp_path: Path) -> None:
    for stage in pretrain.STAGES:
        pretrain.train_stage(stage, tmp_path, steps=2, workers=0)
        lines = [json.loads(line) for line in (tmp_path / f"{stage}.jsonl").open()]
        assert [line["step"] for line in lines] == [0, 1]
        assert all(np.isfinite(line["loss"]) for line in lines)
    pretrain.export(tmp_path, tmp_path / "bundle")
    names = {path.name for path in (tmp_path / "bundle").iterdir()}
    assert {"model.safetensors", "stvg_config.json", "tokenizer.json"} <= names


def test_a_stage_without_its_predecessor_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"train\.pretrain tok"):
        pretrain.train_stage("dense", tmp_path, steps=1, workers=0)


@pytest.mark.slow
@pytest.mark.usefixtures("small_stages")
def test_samples_come_from_another_process(tmp_path: Path) -> None:
    pretrain.train_stage("tok", tmp_path / "here", steps=1, workers=0)
    pretrain.train_stage("tok", tmp_path / "there", steps=1, workers=1)
    here, there = (tmp_path / name / "tok.safetensors" for name in ("here", "there"))
    assert here.read_bytes() == there.read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("small_stages")
def test_an_interrupted_stage_continues_to_the_same_weights(tmp_path: Path, monkeypatch) -> None:
    pretrain.train_stage("tok", tmp_path / "whole", steps=3, workers=0)
    whole = (tmp_path / "whole" / "tok.safetensors").read_bytes()

    real_step = pretrain._step

    def killed(*args):
        if args[6] == 2:
            raise KeyboardInterrupt
        real_step(*args)

    monkeypatch.setattr(pretrain, "SAVE_EVERY", 2)
    monkeypatch.setattr(pretrain, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain.train_stage("tok", tmp_path / "cut", steps=3, workers=0)
    monkeypatch.setattr(pretrain, "_step", real_step)
    pretrain.train_stage("tok", tmp_path / "cut", steps=3, workers=0)
    assert (tmp_path / "cut" / "tok.safetensors").read_bytes() == whole


@pytest.mark.slow
def test_the_detector_trains_and_its_file_says_the_same(tmp_path: Path) -> None:
    import onnxruntime

    model = detector.train(tmp_path, steps=2, batch_size=2, workers=0)
    figures = detector.evaluate(model, n_images=3)
    assert 0 <= figures["recall"] <= 1
    detector.export(model, tmp_path / "detector", figures)
    session = onnxruntime.InferenceSession(tmp_path / "detector" / "detector.onnx")
    images = torch.randint(0, 256, (3, 3, 192, 192)).float()
    boxes, scores = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        expected_boxes, expected_scores = model(images)
    assert np.allclose(boxes, expected_boxes, atol=1e-2)
    assert np.allclose(scores, expected_scores, atol=1e-4)
