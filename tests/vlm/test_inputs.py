"""What a model reads is the same in serving, training, evaluation and at a server."""

import base64
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from stvg_r1_hub.evaluation.benchmarks.hcstvg import read_hcstvg
from stvg_r1_hub.evaluation.evaluator import Evaluator
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.sprites.clips import true_tracks
from stvg_r1_hub.structures import Frames
from stvg_r1_hub.tracking import save_tracks
from stvg_r1_hub.tracking.precomputed import PrecomputedTracks
from stvg_r1_hub.vlm.inputs import InputBuilder, TokenRow, padded
from stvg_r1_hub.vlm.local import LocalVLM
from stvg_r1_hub.vlm.resizing import model_frames
from stvg_r1_hub.vlm.server.inputs import as_frames as send_frames
from tests import tiny_checkpoints
from tests.evaluation import layouts
from train.bundled.collate import Collator
from train.bundled.dialogue import Dialogue
from train.bundled.fast_forward import patchify
from train.bundled.sizes import SMALL, bundle_config
from train.bundled.tiny_model import build_model, build_processor
from train.data.samples import FRAMES, as_frames, read_frames, write_frames
from train.grpo.policy import Policy

ANSWER = "<think>a dog</think><answer>Target ID: 1, Time range: 0.50 to 1.00</answer>"


class Recording(LocalVLM):
    """Keeps what its decoder and its vision tower were given."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.clips, self.questions = [], []
        self.model.model.visual.register_forward_pre_hook(self._see)

    def _see(self, module, args):
        self.pixels = args[0].clone()

    def encode(self, video):
        self.clips.append(video)
        return super().encode(video)

    def model_inputs(self, prompts, video):
        inputs = super().model_inputs(prompts, video)
        self.questions.append((prompts, inputs, self.pixels))
        return inputs


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A clip with its true tracks, and a random model that was asked about it."""
    folder = tmp_path_factory.mktemp("clips")
    (scene,) = layouts.write_videos(folder, 1)
    tracks = folder / "tracks" / "0_clip.json"
    tracks.parent.mkdir()
    save_tracks(true_tracks(scene), tracks)
    torch.manual_seed(0)
    processor = build_processor()
    config = bundle_config(SMALL)
    config = replace(config, generation=replace(config.generation, max_new_tokens=2))
    vlm = Recording(build_model(processor.tokenizer), processor, config)
    pipeline = STVGPipeline(config, PrecomputedTracks(tracks), vlm)
    pipeline(scene.query, folder / "0_clip.mp4")
    return scene, folder, pipeline


def asked(vlm):
    """Tokens, positions, mask and pixels of the last question."""
    _, inputs, pixels = vlm.questions[-1]
    return inputs["input_ids"][0], inputs["position_ids"][:, 0], inputs["attention_mask"][0], pixels


def test_evaluation_asks_as_serving_does(world, tmp_path):
    scene, folder, pipeline = world
    served = asked(pipeline.vlm)
    path = layouts.write_json(tmp_path / "one.json", layouts.hcstvg([scene]))
    (sample,) = read_hcstvg(path, folder).samples
    evaluator = Evaluator(pipeline, "tube", tracks=folder / "tracks")
    with evaluator.open(sample, [sample.query]) as clip:
        clip.ask(sample)
    assert len(pipeline.vlm.clips) == 2
    for expected, got in zip(served, asked(pipeline.vlm), strict=True):
        assert torch.equal(expected, got)


def test_training_asks_as_serving_does(world, tmp_path):
    """From the frames that a prepared folder keeps, for GRPO and supervised training."""
    _, _, pipeline = world
    vlm = pipeline.vlm
    (prompt,), _, _ = vlm.questions[-1]
    frames = vlm.clips[-1].frames
    write_frames(tmp_path / FRAMES, model_frames(frames))
    kept = as_frames(read_frames(tmp_path / FRAMES, len(frames)), frames.sample_fps)
    inputs = InputBuilder.of(vlm.model, vlm.processor, "transformers-4.50").prompt_inputs(
        prompt, kept
    )
    ids, positions, mask, pixels = asked(vlm)
    assert torch.equal(inputs.input_ids, ids) and torch.equal(inputs.position_ids, positions)
    assert mask.all() and inputs.next_position == positions.max() + 1
    assert torch.equal(inputs.video.pixel_values, pixels)
    features = Policy(vlm.model)("encode", inputs)
    torch.testing.assert_close(features, vlm.encode(vlm.clips[-1]).features, atol=1e-5, rtol=0)


def test_the_bundled_models_training_asks_as_serving_does(world):
    _, _, pipeline = world
    vlm = pipeline.vlm
    (prompt,), _, _ = vlm.questions[-1]
    ids, positions, _, pixels = asked(vlm)
    frames = model_frames(vlm.clips[-1].frames)
    row, weights = Collator(vlm.processor).row(Dialogue(prompt, ANSWER, len(frames) // 2))
    n = row.prompt_length
    assert torch.equal(row.input_ids[:n], ids) and torch.equal(row.position_ids[:, :n], positions)
    answer = row.input_ids[n:].tolist()
    assert answer == vlm.inputs.answer_ids(ANSWER) and weights[:n].sum() == 0
    after = torch.arange(len(answer)) + positions.max() + 1
    assert torch.equal(row.position_ids[:, n:], after.expand(3, -1))
    patches = patchify(torch.from_numpy(frames[None])).flatten(0, 1)
    torch.testing.assert_close(patches, pixels, atol=1e-5, rtol=0)


def picture_of(data):
    """An `(H, W, 3)` RGB picture, of a JPEG in base64."""
    values = np.frombuffer(base64.b64decode(data), np.uint8)
    return cv2.imdecode(values, cv2.IMREAD_COLOR)[..., ::-1]


def test_a_server_is_sent_what_becomes_the_same_inputs(world):
    """Frames one by one with their times, put together again as vLLM does."""
    _, _, pipeline = world
    vlm = pipeline.vlm
    (prompt,), _, _ = vlm.questions[-1]
    ids, positions, _, pixels = asked(vlm)
    frames = vlm.clips[-1].frames
    sent = send_frames(frames)
    (part,) = sent.parts
    pictures = part["video_url"]["url"].split(",")[1:]
    arrived = np.stack([picture_of(data) for data in pictures])
    told = sent.fields["media_io_kwargs"]["video"]
    times = np.array(told["frames_indices"]) / told["fps"]
    fps = len(arrived) / told["duration"]
    there = Frames(arrived, np.arange(len(arrived)), times, fps, *arrived.shape[1:3])
    inputs = vlm.inputs.prompt_inputs(prompt, there)
    assert torch.equal(inputs.input_ids, ids) and torch.equal(inputs.position_ids, positions)
    assert inputs.video.pixel_values.shape == pixels.shape
    level = 1 / 255 / 0.26  # of a colour, as the model reads it
    assert (inputs.video.pixel_values - pixels).abs().mean() < level
    video_tokens = int((ids == vlm.model.config.video_token_id).sum())
    assert sent.least_tokens == video_tokens // 2


@pytest.mark.parametrize("rule", ["transformers-4.50", "installed"])
def test_a_question_behind_an_answer_has_the_positions_of_one_alone(rule):
    processor = tiny_checkpoints.build_processor("qwen2_5_vl")
    builder = InputBuilder.of(tiny_checkpoints.build_model("qwen2_5_vl"), processor, rule)
    frames = tiny_checkpoints.noise_clip(n=12, sample_fps=0.5).frames
    inputs = builder.prompt_inputs("the dog", frames)
    row = builder.tokens("the dog", inputs.video.grid, "it runs")
    n = row.prompt_length
    assert torch.equal(row.input_ids[:n], inputs.input_ids) and len(row.input_ids) > n + 1
    assert torch.equal(row.position_ids[:, :n], inputs.position_ids)
    assert row.position_ids[:, n].tolist() == [inputs.next_position] * 3


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_masked_and_repeats_the_first_token(side):
    def row(n):
        return TokenRow(torch.arange(7, 7 + n), torch.arange(n).expand(3, -1), n)

    batch = padded([row(3), row(6)], side, multiple_of=4)
    assert batch.input_ids.shape == batch.attention_mask.shape == (2, 8)
    for i, n in enumerate((3, 6)):
        kept = batch.attention_mask[i].bool()
        assert batch.input_ids[i, kept].tolist() == list(range(7, 7 + n))
        assert batch.position_ids[:, i, kept].tolist() == [list(range(n))] * 3
        assert (batch.input_ids[i, ~kept] == 7).all()
        assert bool(kept[-1]) is (side == "left")
