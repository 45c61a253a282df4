"""Street scenes: one right answer, told by hints, motion and query alone."""

import re

import numpy as np
import pytest

from stvg_r1_hub.answer import parse_answer
from stvg_r1_hub.errors import ConfigError
from train.collate import Collator
from train.command_line import open_samples
from train.hinted_questions import HintedQuestions
from train.rewards import REWARDS, Completion
from train.street.questions import StreetQuestions
from train.street.samples import draw_street_dialogue, draw_street_sample
from train.street.words import LEFT, MOTIONS, NOUNS, RESTS, RIGHT, WALKS, wording
from train.street.world import MAX_NUMBER, asked_segments, sample_street
from train.tiny_model import build_processor
from train.training_config import TrainingConfig


def test_scenes_have_one_answer_or_none():
    scenes = [sample_street((5, i)) for i in range(60)]
    for i, scene in enumerate(scenes):
        assert sample_street((5, i)) == scene
        meant = [
            (w, s) for w in scene.walkers for s in asked_segments(w, scene.noun, scene.motion)
        ]  # fmt: skip
        if scene.target is None:
            assert not meant
        else:
            ((walker, segment),) = meant
            assert walker is scene.target and scene.hints[walker.number] == scene.noun
            assert scene.answer_range == (segment.start_seconds, segment.end_seconds)
        numbers = list(scene.hints)
        assert len(set(numbers)) == len(numbers) and max(numbers) <= MAX_NUMBER
        assert set(scene.hints.values()) <= set(NOUNS)
    assert {scene.motion for scene in scenes} == {*MOTIONS, RESTS, WALKS}
    assert 0 < sum(scene.target is None for scene in scenes) < 15
    alike = [list(s.hints.values()).count(s.noun) > 1 for s in scenes if s.target]
    assert np.mean(alike) > 0.6  # most often motion tells apart what the noun does not


def test_motion_is_what_the_words_say():
    for i in range(20):
        scene = sample_street((6, i))
        for walker in scene.walkers:
            for s in walker.segments:
                ends = walker.places(np.array([s.start_seconds, s.end_seconds]))[:, :2]
                x, y = ends[1] - ends[0]
                assert (x < 0) == (s.motion == LEFT) or abs(x) < abs(y) or s.motion == RESTS
                assert s.motion != RESTS or np.hypot(x, y) < 0.15


@pytest.mark.parametrize("motion", [*MOTIONS, RESTS, WALKS])
def test_wordings_name_noun_and_side(motion):
    rng = np.random.default_rng(3)
    texts = {wording("cup", motion, rng) for _ in range(60)}
    assert len(texts) > 10 and all("cup" in text for text in texts)
    if motion in (LEFT, RIGHT):
        side = motion.split()[1]
        # "from left to right": what comes last is where to.
        assert all(re.findall("left|right", text)[-1] == side for text in texts)


def test_samples_are_rendered_at_the_size_of_their_video():
    for picture, shape in (((768, 576), (112, 140)), ((1280, 720), (84, 168))):
        sample = draw_street_sample((7, 1), duration_seconds=3.0, picture=picture)
        again = draw_street_sample((7, 1), duration_seconds=3.0, picture=picture)
        assert sample.frames.shape == (12, *shape, 3) and (sample.frames == again.frames).all()
        rows, columns = shape[0] // 28, shape[1] // 28
        assert sample.labels.shape == (6, rows * columns, 3)
        assert sample.dialogue.grid_size == (rows, columns)
        red = (sample.frames[..., 0] > 200) & (sample.frames[..., 1:].max(-1) < 60)
        assert red.any((1, 2)).mean() > 0.8  # numbers are drawn
        numbers = {int(n) for n in sample.labels[..., 1].ravel() if n > 0}
        assert numbers <= set(sample_street((7, 1), duration_seconds=3.0).hints)


def test_the_taught_answer_earns_everything():
    questions = StreetQuestions(3, 5)
    for i in range(5):
        sample = questions[i]
        assert questions[i].query == sample.query in sample.prompt
        assert not parse_answer(sample.target_text, strict=True).object_ids or not (
            sample.truth.is_nothing
        )  # fmt: skip
        said = Completion(sample.target_text)
        assert [REWARDS[name](said, sample.truth) for name in ("tiou", "id", "format")] == [1, 1, 1]


def test_text_rows_ask_for_all_that_hints_tell():
    processor = build_processor()
    collator = Collator(processor)
    for i in range(5):
        dialogue = draw_street_dialogue((8, i))
        row = collator.row(dialogue)
        steps, (rows, columns) = dialogue.grid_steps, dialogue.grid_size
        assert (row.ids == collator.video_token).sum() == steps * rows * columns
        blind = collator.without_video(dialogue)
        said = processor.tokenizer.decode(blind.ids[blind.weights > 0])
        listing = said[said.index(".") + 1 : said.index("</think>")]
        assert "walks" not in listing and "0.00" not in listing
        for number, noun in sample_street((8, i)).hints.items():
            assert f" {number} {noun}" in listing
        if "Target ID: none" not in dialogue.answer:
            assert listing.count("(asked)") >= 2


def test_data_of_the_command_line():
    config = TrainingConfig(model="train/easy_base", dtype="float32")
    assert isinstance(open_samples("hinted:street:2:9", config), StreetQuestions)
    medium = open_samples("hinted:medium:2:9", config)
    assert isinstance(medium, HintedQuestions) and (medium.seed, len(medium)) == (2, 9)
    with pytest.raises(ConfigError, match="hinted:LEVEL"):
        open_samples("hinted:street:x", config)
    with pytest.raises(ConfigError, match="levels are"):
        open_samples("hinted:nowhere", config)
