"""Training of the bundled model and its detector: the real code, a few steps long."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stvg_r1_hub.answer import parse_answer
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.marking import box_center, draw_markers, marker_font
from stvg_r1_hub.sprites.levels import sample_scene
from stvg_r1_hub.sprites.scene import KINDS
from stvg_r1_hub.structures import SAYS_NOTHING
from stvg_r1_hub.video import plan_sampling
from stvg_r1_hub.vlm.resizing import resized
from train.bundled import pretrain, stage_files
from train.bundled.collate import Collator
from train.bundled.dialogue import dense_dialogue
from train.bundled.fast_forward import patchify, text_forward, vision_forward
from train.bundled.model_with_heads import TinyModelWithHeads, take_over
from train.bundled.recipes import RECIPES, Recipe
from train.bundled.sizes import LARGE, SIZES, bundle_config
from train.bundled.sprite_samples import (
    IGNORED,
    Sample,
    draw_dialogue,
    draw_enlargement,
    draw_sample,
    numbered,
)
from train.bundled.stage_files import load_stage, run_processor
from train.bundled.tiny_model import TRAINED_LEVELS, build_model, build_processor


@pytest.fixture(scope="module")
def processor():
    return build_processor()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [draw_sample("easy", (1, i), duration_seconds=3.0, dense=False) for i in range(3)]


def test_samples_are_reproducible(samples: list[Sample]) -> None:
    again = draw_sample("easy", (1, 1), duration_seconds=3.0, dense=False)
    assert np.array_equal(again.frames, samples[1].frames)
    assert again.dialogue == samples[1].dialogue


def test_labels_name_what_the_answer_lists(samples: list[Sample]) -> None:
    for sample in samples:
        assert sample.frames.shape == (12, 140, 140, 3)
        seen = sample.labels[sample.labels[..., 0] != IGNORED]
        for kind, number in {(k, i) for k, i, _ in seen.tolist()}:
            assert f"{number} {KINDS[kind]} " in sample.dialogue.answer


def test_the_answer_is_one_the_parser_reads_strictly(samples: list[Sample]) -> None:
    for sample in samples:
        answer = parse_answer(sample.dialogue.answer, strict=True)
        assert answer.is_valid and answer.end_seconds > answer.start_seconds
    scene = sample_scene("hard", (1, 1))
    numbers = {o.object_id: o.object_id for o in scene.objects}
    assert "<answer>" not in dense_dialogue(scene, numbers, 2, "sprites-v1").answer


def test_the_tokenizer_keeps_text_and_marks_the_answers_id(processor, samples) -> None:
    collator = Collator(processor)
    decode = processor.tokenizer.decode
    for sample in samples:
        answer = sample.dialogue.answer
        row, weights = collator.row(sample.dialogue)
        assert decode(row.input_ids[weights > 0], skip_special_tokens=True) == answer
        (place,) = np.flatnonzero(weights == 3)
        assert f"Target ID: {decode(row.input_ids[[place]]).strip()}," in answer
        # Read without the clip, only what follows from query and listing is asked for.
        blind, weights = collator.without_video(sample.dialogue)
        said = decode(blind.input_ids[weights > 0], skip_special_tokens=True)
        assert said.startswith(answer[: answer.index(".")])
        assert said.endswith(answer[answer.index("<answer>") :])
        assert len(said) < len(answer)
        assert torch.equal(blind.position_ids[:, -9:], row.position_ids[:, -9:])


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_training_shows_the_line_widths_that_videos_have(size) -> None:
    def share(side: float) -> float:
        return marker_font(round(side), round(side), size.marker)[1] / round(side)

    rng = np.random.default_rng(0)
    shown = [share(size.side * draw_enlargement(rng)) for _ in range(200)]
    for side in (336, 640, 768, 1280, 1920):
        assert min(shown) <= share(side) <= max(shown), side


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_square_videos_of_any_size_give_the_frames_that_training_draws(size) -> None:
    sampling = bundle_config(size).sampling
    for side in (336, 480, 640, 1080, *range(size.side, 1000, 13)):
        plan = plan_sampling(100, 25.0, side, side, sampling)
        assert (plan.model_height, plan.model_width) == (size.side, size.side), side


def test_numbers_stand_where_the_pipeline_draws_them() -> None:
    style = SIZES["detailed"].marker
    video = np.full((336, 336, 3), 128, np.uint8)
    box = np.array([101.0, 51.0, 150.0, 121.0])
    drawn = draw_markers(video, {7: box_center(box)}, style)
    (expected,) = resized(drawn[None], 196, 196)
    small = np.full((196, 196, 3), 128, np.uint8)
    assert np.array_equal(numbered(small, {7: box * 196 / 336}, style, 336 / 196), expected)


def test_dialogues_without_a_clip_are_answerable_from_their_listing() -> None:
    for i in range(20):
        dialogue = draw_dialogue("easy", (3, i))
        listing, answer = dialogue.answer.split("</think>")
        number, span = (
            answer.split("Target ID: ")[1].removesuffix("</answer>").split(", Time range: ")
        )
        (line,) = (part for part in listing.split(". ") if span in part and f"{number} " in part)
        assert line.removeprefix("<think>").split()[1] in dialogue.prompt


def test_fast_forward_equals_the_library(processor, samples: list[Sample]) -> None:
    torch.manual_seed(0)
    model = build_model(processor.tokenizer).eval()
    batch = Collator(processor)((samples, []))
    videos = [torch.from_numpy(s.frames).permute(0, 3, 1, 2) for s in samples]
    inputs = processor.video_processor(
        videos,
        do_resize=False,
        do_sample_frames=False,
        cap_pixels_per_frame=False,
        return_tensors="pt",
    )
    with torch.no_grad():
        ours = vision_forward(model.model.visual, patchify(batch["frames"]), (5, 5))
        theirs = torch.cat(model.model.get_video_features(**inputs).pooler_output)
        assert torch.allclose(ours.flatten(0, 1), theirs, atol=1e-5)
        embeds = model.get_input_embeddings()(batch["ids"])
        hidden = text_forward(model.model.language_model, embeds, batch["positions"])
        library = model.model.language_model(
            inputs_embeds=embeds, position_ids=batch["positions"]
        ).last_hidden_state
        assert torch.allclose(hidden, library, atol=1e-4)


@pytest.fixture(params=["cpu", "gpu"])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """The real recipe with batches of two, and with two layers of the large model."""
    whole = RECIPES[request.param]
    size = whole.size
    if size is LARGE:
        size = dataclasses.replace(LARGE, layers=2, vision_layers=2)
    stages = {
        name: dataclasses.replace(
            stage, batch_size=2, n_dialogues=min(2, stage.n_dialogues), durations=(4.0,)
        )
        for name, stage in whole.stages.items()
    }
    return dataclasses.replace(whole, stages=stages, size=size)


only_cpu = pytest.mark.parametrize("recipe", ["cpu"], indirect=True)


@pytest.mark.slow
def test_stages_follow_each_other_and_write_a_bundle(recipe: Recipe, tmp_path: Path) -> None:
    for stage in recipe.stages:
        pretrain.train_stage(recipe, stage, tmp_path, steps=2, workers=0)
        lines = [json.loads(line) for line in (tmp_path / f"{stage}.jsonl").open()]
        assert [line["step"] for line in lines] == [0, 1]
        assert all(np.isfinite(line["loss"]) for line in lines)
    assert (tmp_path / "curves.png").stat().st_size > 5000
    last = list(recipe.stages)[-1]
    pretrain.export(recipe, tmp_path, tmp_path / "bundle", stage=last)
    names = {path.name for path in (tmp_path / "bundle").iterdir()}
    assert {"model.safetensors", "stvg_config.json", "tokenizer.json"} <= names
    figures = pretrain.check(recipe, tmp_path, last, n=1)
    assert figures["n"] == 1 and 0 <= figures["id_accuracy"] <= 1


@pytest.mark.slow
def test_a_finished_model_is_sharpened_with_its_own_vocabulary(tmp_path: Path) -> None:
    whole = RECIPES["detailed"]
    stage = dataclasses.replace(
        whole.stages["sharpen"], batch_size=2, n_dialogues=2, durations=(3.0,)
    )
    recipe = dataclasses.replace(whole, stages={"sharpen": stage})
    with pytest.raises(SystemExit, match="--warm-start"):
        pretrain.train_stage(recipe, "sharpen", tmp_path, steps=1, workers=0)
    start = Path("train/bundled/easy_base")
    pretrain.train_stage(recipe, "sharpen", tmp_path, steps=2, workers=0, warm_start=start)
    lines = [json.loads(line) for line in (tmp_path / "sharpen.jsonl").open()]
    assert all(np.isfinite(line["loss"]) for line in lines) and len(lines) == 2
    pretrain.export(recipe, tmp_path, tmp_path / "bundle", stage="sharpen")
    shipped = STVGConfig.load("stvg_r1_hub/bundled/tiny")
    # How sure the shipped weights were is measured of them alone.
    assert STVGConfig.load(tmp_path / "bundle") == dataclasses.replace(shipped, confidence=None)
    vocabulary = [json.loads((f / "tokenizer.json").read_text())["model"]["vocab"]
                  for f in (start, tmp_path / "bundle")]  # fmt: skip
    assert vocabulary[0] == vocabulary[1]


def test_a_stage_without_its_predecessor_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"train\.bundled\.pretrain tok"):
        pretrain.train_stage(RECIPES["cpu"], "dense", tmp_path, steps=1, workers=0)


@pytest.mark.slow
@only_cpu
def test_samples_come_from_another_process(recipe: Recipe, tmp_path: Path) -> None:
    pretrain.train_stage(recipe, "tok", tmp_path / "here", steps=1, workers=0)
    pretrain.train_stage(recipe, "tok", tmp_path / "there", steps=1, workers=1)
    here, there = (tmp_path / name / "tok.safetensors" for name in ("here", "there"))
    assert here.read_bytes() == there.read_bytes()


@pytest.mark.slow
@only_cpu
def test_an_interrupted_stage_continues_to_the_same_weights(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain.train_stage(recipe, "tok", tmp_path / "whole", steps=3, workers=0)
    whole = (tmp_path / "whole" / "tok.safetensors").read_bytes()

    real_step = pretrain._step
    done = []

    def killed(*args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return real_step(*args)

    monkeypatch.setattr(pretrain, "SAVE_EVERY", 2)
    monkeypatch.setattr(pretrain, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain.train_stage(recipe, "tok", tmp_path / "cut", steps=3, workers=0)
    monkeypatch.setattr(pretrain, "_step", real_step)
    with pytest.raises(SystemExit, match="other settings"):
        pretrain.train_stage(recipe, "tok", tmp_path / "cut", steps=4, workers=0)
    pretrain.train_stage(recipe, "tok", tmp_path / "cut", steps=3, workers=0)
    assert (tmp_path / "cut" / "tok.safetensors").read_bytes() == whole
    steps = [json.loads(x)["step"] for x in (tmp_path / "cut" / "tok.jsonl").open()]
    assert steps == [0, 1, 2]


@pytest.mark.slow
@only_cpu
def test_short_runs_add_up_from_small_files(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs that end for want of time leave small files, from which the third goes on."""
    monkeypatch.setattr(stage_files, "PIECE_BYTES", 3_000_000)
    assert pretrain.train_stage(recipe, "tok", tmp_path / "whole", steps=3, workers=0)
    out = tmp_path / "cut"
    sizes = []
    for done in (1, 2):
        assert not pretrain.train_stage(recipe, "tok", out, steps=3, workers=0, end=0)
        pieces = list(out.glob("tok.state.pt.*"))
        assert 5 < len(pieces) == len({piece.name for piece in pieces}), "no piece of an older one"
        assert len((out / "tok.jsonl").read_text().splitlines()) == done
        sizes += [file.stat().st_size for file in out.glob("tok*")]
        out = out.rename(tmp_path / f"elsewhere{done}")
    assert max(sizes) == 3_000_000
    here = out / pieces[3].name
    lost = here.rename(tmp_path / "lost")
    with pytest.raises(SystemExit, match="is missing"):
        pretrain.train_stage(recipe, "tok", out, steps=3, workers=0)
    here.write_bytes(lost.read_bytes()[::-1])
    with pytest.raises(SystemExit, match="damaged"):
        pretrain.train_stage(recipe, "tok", out, steps=3, workers=0)
    lost.rename(here)
    assert pretrain.train_stage(recipe, "tok", out, steps=3, workers=0, end=0), "the last step"
    assert not list(out.glob("tok.state*"))
    weights = [stage_files._joined(d / "tok.safetensors") for d in (tmp_path / "whole", out)]
    assert weights[0] == weights[1]


def test_a_run_keeps_its_vocabulary_when_the_worlds_text_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES["cpu"]
    before = run_processor(recipe, tmp_path)
    monkeypatch.setattr("train.bundled.tiny_model._corpus", lambda: ["quite other words"] * 9)
    after = run_processor(recipe, tmp_path)
    text = draw_dialogue("medium", (4, 4)).answer
    assert after.tokenizer(text).input_ids == before.tokenizer(text).input_ids
    assert after.tokenizer.decode(after.tokenizer(text).input_ids) == text
    fresh = run_processor(recipe, tmp_path / "other")
    assert fresh.tokenizer(text).input_ids != before.tokenizer(text).input_ids


@pytest.mark.slow
@only_cpu
def test_a_full_disk_leaves_the_last_good_weights(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain.train_stage(recipe, "tok", tmp_path, steps=1, workers=0)
    good = (tmp_path / "tok.safetensors").read_bytes()
    before = {*tmp_path.iterdir(), tmp_path / "tok.state.pt"}

    def full(state, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stage_files, "save_file", full)
    with pytest.raises(SystemExit, match="Make room"):
        pretrain.train_stage(recipe, "tok", tmp_path, steps=1, workers=0)
    assert (tmp_path / "tok.safetensors").read_bytes() == good
    assert {file for file in tmp_path.iterdir() if ".state.pt." not in file.name} == before


@pytest.mark.slow
@only_cpu
def test_a_finished_model_can_be_started_from(recipe: Recipe, tmp_path: Path, processor) -> None:
    pretrain.train_stage(recipe, "tok", tmp_path / "run", steps=1, workers=0)
    pretrain.export(recipe, tmp_path / "run", tmp_path / "bundle", stage="tok")
    model = TinyModelWithHeads(processor)
    said = take_over(model, processor.tokenizer, tmp_path / "bundle")
    n = len(processor.tokenizer)
    assert said.endswith(f"{n} of {n} tokens")
    with pytest.raises(SystemExit, match="Cannot start"):
        take_over(model, processor.tokenizer, tmp_path / "nothing")
    other = TinyModelWithHeads(processor, LARGE)
    with pytest.raises(SystemExit, match="another model"):
        load_stage(other, tmp_path / "run" / "tok.safetensors", "tok")


@pytest.mark.parametrize("level", TRAINED_LEVELS)
def test_every_answer_is_said_in_the_grammar_that_the_parser_reads(level: str) -> None:
    for number in range(60):
        scene = sample_scene(level, (11, number))
        answer = parse_answer(draw_dialogue(level, (11, number)).answer)
        if scene.answer_range is None:
            assert answer.problem and answer.problem.startswith(SAYS_NOTHING)
        else:
            assert (answer.start_seconds, answer.end_seconds) == scene.answer_range


@pytest.mark.parametrize("size", list(SIZES.values()), ids=list(SIZES))
def test_words_and_numbers_are_single_tokens_and_answers_fit(size, processor) -> None:
    limit = bundle_config(size).generation.max_new_tokens
    for word in KINDS:
        assert len(processor.tokenizer(f" {word}").input_ids) == 1
    lengths = [
        len(processor.tokenizer(draw_dialogue("hard", (12, i)).answer).input_ids)
        for i in range(100)
    ]
    assert max(lengths) < limit


@pytest.mark.slow
def test_the_detector_trains_and_its_file_says_the_same(tmp_path: Path) -> None:
    import onnxruntime

    from train.bundled import detector

    model = detector.train(tmp_path, steps=2, batch_size=2, workers=0)
    detector.train(tmp_path, 1, 2, workers=0, start_from=tmp_path / "detector.pt")
    with pytest.raises(SystemExit, match="Cannot start"):
        detector.train(tmp_path, 1, 2, workers=0, start_from=tmp_path / "none.pt")
    model = detector.train(tmp_path, steps=2, batch_size=2, workers=0)
    figures = detector.evaluate(model, "hard", n_images=3)
    assert 0 <= figures["recall"] <= 1
    detector.export(model, tmp_path / "detector", {"hard": figures})
    session = onnxruntime.InferenceSession(tmp_path / "detector" / "detector.onnx")
    images = torch.randint(0, 256, (3, 3, 192, 192)).float()
    boxes, scores = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        expected_boxes, expected_scores = model(images)
    assert np.allclose(boxes, expected_boxes, atol=1e-2)
    assert np.allclose(scores, expected_scores, atol=1e-4)
