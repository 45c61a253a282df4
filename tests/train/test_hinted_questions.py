"""Class hints: the same nouns in hints, query and answer, and no tie to how things look."""

import re

import pytest

from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.prompting import build_prompt
from train.hinted_questions import NOUNS, HintedQuestions
from train.sprite_questions import SpriteQuestions, answerable_scene


@pytest.mark.parametrize("level", ["easy", "medium"])
def test_hints_query_and_answer_agree(level):
    plain, hinted = SpriteQuestions(level, 5, 9), HintedQuestions(level, 5, 9)
    for i in range(3):
        sample, scene = hinted[i], answerable_scene(level, 5, i)
        found = re.fullmatch(r'Objects: (.*)\. Find "(.*)"\. Give its ID and time\.', sample.prompt)
        hints = dict(part.split(" ", 1) for part in found[1].split(", "))
        assert len(hints) == len(scene.objects)
        assert set(hints.values()) <= set(NOUNS)
        asked = hints[str(sample.truth.object_ids[0])]
        assert asked in found[2] and found[2] == sample.query
        assert (
            f"{sample.truth.object_ids[0]} " in sample.target_text and asked in sample.target_text
        )
        same_kind = [o for o in scene.objects if o.kind == scene.target.kind]
        assert list(hints.values()).count(asked) == len(same_kind)
        assert (sample.frames == plain[i].frames).all()
        assert sample.truth.solution == plain[i].truth.solution
    assert hinted[0].prompt == HintedQuestions(level, 5, 9)[0].prompt


def test_a_prompt_with_hints_needs_the_objects():
    with pytest.raises(ConfigError, match="give objects="):
        build_prompt("the man", "sprites-hints-v1")
    assert build_prompt("x", "sprites-hints-v1", objects={}).startswith("Objects: none.")
    assert "[OBJECTS]" in build_prompt("a [OBJECTS] [EVENT]", "sprites-v1", objects={1: "dog"})
    twice = build_prompt("[EVENT]", "sprites-hints-v1", objects={1: "[EVENT]"})
    assert twice == 'Objects: 1 [EVENT]. Find "[EVENT]". Give its ID and time.'
