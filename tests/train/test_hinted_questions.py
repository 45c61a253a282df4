"""Class hints: the same nouns in hints, query and answer, and no tie to how things look."""

import re

import pytest

from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.prompting import build_prompt
from train.hinted_questions import HintedQuestions, draw_hinted_dialogue
from train.sprite_questions import SpriteQuestions, question_scene
from train.street.words import NOUNS


@pytest.mark.parametrize("level", ["easy", "medium"])
def test_hints_query_and_answer_agree(level):
    plain, hinted = SpriteQuestions(level, 5, 9), HintedQuestions(level, 5, 9)
    for i in range(3):
        sample, scene = hinted[i], question_scene(level, 5, i)
        found = re.fullmatch(r'Objects: (.*)\. Find "(.*)"\. Give its ID and time\.', sample.prompt)
        hints = dict(part.split(" ", 1) for part in found[1].split(", "))
        assert len(hints) == len(scene.objects)
        assert set(hints.values()) <= set(NOUNS)
        if sample.truth.is_nothing:
            assert "Target ID: none" in sample.target_text
            continue
        asked = hints[str(sample.truth.object_ids[0])]
        assert asked in found[2] and found[2] == sample.query
        assert (
            f"{sample.truth.object_ids[0]} " in sample.target_text and asked in sample.target_text
        )
        same_kind = [o for o in scene.objects if o.kind == scene.target.kind]
        assert list(hints.values()).count(asked) == len(same_kind)
        assert (sample.frames == plain[i].frames).all()
        assert str(sample.truth) == str(plain[i].truth)
    assert hinted[0].prompt == HintedQuestions(level, 5, 9)[0].prompt


def test_a_prompt_with_hints_needs_the_objects():
    with pytest.raises(ConfigError, match="give objects="):
        build_prompt("the man", "sprites-hints-v1")
    assert build_prompt("x", "sprites-hints-v1", objects={}).startswith("Objects: none.")
    assert "[OBJECTS]" in build_prompt("a [OBJECTS] [EVENT]", "sprites-v1", objects={1: "dog"})
    twice = build_prompt("[EVENT]", "sprites-hints-v1", objects={1: "[EVENT]"})
    assert twice == 'Objects: 1 [EVENT]. Find "[EVENT]". Give its ID and time.'


def test_what_only_the_clip_tells_is_known():
    dialogue = draw_hinted_dialogue("easy", (2, 1))
    told = dialogue.answer
    for start, stop in reversed(dialogue.seen):
        told = told[:start] + told[stop:]
    listing = told[told.index(".") + 1 : told.index("</think>")]
    assert not re.search(r"\d\.\d|jumps|walks|spins|grows|shakes|rests", listing)
    assert "(asked)" in listing
