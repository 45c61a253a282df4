"""What becomes HTML: escaped, and what it must say."""

import re
from dataclasses import replace

import numpy as np
import pytest

from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.structures import Alternative, Answer, Box, Track, Tracks, Tube
from stvg_r1_hub.visual.pictures import MAX_ROWS
from stvg_r1_hub.web import markup
from tests.builders import make_track

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
TIMES = np.arange(40) / 10
WINDOW = (0.0, 4.0)
BOXES = tuple(Box(i, TIMES[i], (1.0, 2.0, 11.0, 12.0), False, 1) for i in range(20, 30))
TUBE = Tube((1,), 2.0, 3.0, BOXES)


def track(object_id: int, frames: list[int], name: str = "dog") -> Track:
    return make_track(object_id, frames, [1, 2, 11, 12], name=name)


def result(**changes) -> GroundingResult:
    tracks = Tracks(64, 48, TIMES, (track(1, [*range(10), *range(20, 40)]), track(2, [5, 6])))
    found = GroundingResult(
        query="the dog jumping",
        tube=TUBE,
        answer=Answer((1,), 2.0, 3.0, "it jumps"),
        raw_text="<think>it jumps</think>",
        timings={"answer": 0.5},
        warnings=(),
        tracks=tracks,
    )
    return replace(found, **changes)


def test_everything_from_outside_is_escaped():
    tracks = Tracks(64, 48, TIMES, (track(1, [20, 21], EVIL),))
    answer = Answer((1,), 2.0, 3.0, EVIL)
    evil = result(query=EVIL, answer=answer, raw_text=EVIL, warnings=(EVIL,), tracks=tracks)
    pages = [
        markup.answer_card(evil, [EVIL]),
        markup.answer_card(replace(evil, tube=None), asks=[EVIL]),
        markup.answer_card(evil, by_hand=EVIL),
        markup.waiting_card(EVIL),
        markup.timeline(tracks, evil.tube, WINDOW),
        markup.reasoning(evil),
        markup.problem(EVIL),
        markup.note(EVIL),
        markup.caution(EVIL),
        markup.progress(EVIL, 1, 2),
    ]
    for page in pages:
        assert "&lt;script&gt;" in page
        assert "<script" not in page and "<img src=x" not in page
        # No attribute is left early: every quote of the evil text is escaped too.
        assert "onerror=alert" not in re.sub(r"&lt;img src=x onerror=alert\(2\)&gt;", "", page)


def test_card_of_an_answer():
    card = markup.answer_card(result(), ["Noted."])
    assert 'data-found="true"' in card and "2.00 s" in card and "3.00 s" in card
    assert "number 1, dog" in card and "1.00 s long, a box in 10 frames" in card
    assert 'data-seek="2.0"' in card and "Noted." in card


def test_several_moments_and_other_objects():
    tube = replace(TUBE, start_seconds=1.0, ranges=((1.0, 1.5), (2.0, 3.0)))
    answer = result(tube=tube, confidence=0.75, alternatives=(Alternative(2, 1.0, 2.0, 0.25),))
    card = markup.answer_card(answer)
    assert "1.50 s long" in card and "confidence 0.75" in card and "1.00 to 2.00 s" in card
    assert card.count("data-seek") == 2 and "Play 1.00 to 1.50 s" in card
    assert "It might also be" in card and "number 2" in card
    assert markup.timeline(answer.tracks, tube, WINDOW).count("stvg-span") == 2


def test_card_of_no_answer_is_no_error():
    card = markup.answer_card(result(tube=None, warnings=("Nobody jumps.",)))
    assert "Not found in this video" in card and "Nobody jumps." in card
    assert "alert" not in card and "data-seek" not in card


def test_timeline_places():
    html = markup.timeline(result().tracks, TUBE, WINDOW)
    bars = re.findall(r'<i style="left:([\d.]+)%;width:([\d.]+)%">', html)
    assert [(float(a), float(b)) for a, b in bars] == [(0, 25), (50, 50), (12.5, 5)]
    assert "left:50.000%;width:25.000%" in html  # The answered range.
    assert html.count("stvg-answered") == 1


def test_a_timeline_of_a_part_begins_with_it():
    html = markup.timeline(Tracks(64, 48, TIMES, (track(1, [*range(20, 30)]),)), TUBE, (2.0, 4.0))
    assert '<i style="left:0.000%;width:50.000%">' in html and "50.000%;--object" in html
    assert 'data-from="2.0" data-duration="2.0"' in html
    assert re.findall(r">([\d.]+) s<", html)[0] == "2" and ">4 s<" in html and ">0 s<" not in html


def test_timeline_of_a_crowd_says_what_it_leaves_out():
    tracks = Tracks(64, 48, TIMES, tuple(track(i, [1, 2]) for i in range(1, 61)))
    html = markup.timeline(tracks, replace(TUBE, object_ids=(60,)), WINDOW)
    assert html.count('class="stvg-lane') == MAX_ROWS + 1  # and the box around them
    assert "60 dog" in html and f"{60 - MAX_ROWS} more objects" in html


def test_timeline_without_objects():
    html = markup.timeline(Tracks(64, 48, TIMES, ()), None, WINDOW)
    assert "No object was found" in html


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (("decode/track", 3, 80), "frame 3 of 80"),
        (("wait", 2, None), "visitors before you: 2"),
        (("answer", 40, 2048), "word piece 40<"),
        (("encode", 0, 1), "Looking"),
    ],
)
def test_progress_has_the_real_counts(step, words):
    assert words in markup.progress(*step)


def test_short_answer():
    assert markup.short_answer(result()) == "the dog jumping: 2.00 to 3.00 s"
    assert markup.short_answer(result(tube=None)) == "the dog jumping: not found"
