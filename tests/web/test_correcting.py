"""Corrections, visits and what is offered next, without a browser."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stvg_r1_hub.errors import STVGError, VideoError
from stvg_r1_hub.structures import Notes, Tracks
from stvg_r1_hub.video import open_video
from stvg_r1_hub.web import visits
from stvg_r1_hub.web.answers import Answered, Seen
from stvg_r1_hub.web.correcting import _ranges, correct, redraw
from stvg_r1_hub.web.grounding import Grounder
from stvg_r1_hub.web.limits import Limits
from stvg_r1_hub.web.models import Settings
from stvg_r1_hub.web.next_step import next_step
from stvg_r1_hub.web.objects import MOST_MOMENTS, object_list, questions
from stvg_r1_hub.web.page import Page
from tests.builders import make_track
from tests.web.conftest import Demo
from train.data.samples import PreparedSamples


@pytest.fixture(params=[None, (0.5, 3.5)], ids=["whole", "part"])
def asked(
    request: pytest.FixtureRequest, registry: Any, demo: Demo, tmp_path: Path
) -> tuple[Seen, Answered]:
    made: list[Any] = []
    start, end = request.param or (None, None)
    grounder = Grounder(registry, Limits(), tmp_path / "results")
    video = Path(shutil.copy(demo.clip, tmp_path / "mine.mp4"))
    quiet = lambda *step: None  # noqa: E731
    settings = Settings("tiny", start_seconds=start, end_seconds=end)
    grounder.ground(video, [demo.query], settings, quiet, made.append)
    return made[0], made[1]


@pytest.mark.slow
def test_a_correction_asks_no_model_and_becomes_a_training_sample(
    asked: tuple[Seen, Answered], tmp_path: Path
) -> None:
    seen, answer = asked
    (model_says,) = answer.values["object_ids"]  # type: ignore[misc]
    right = 1 if model_says != 1 else 2
    new = correct(seen, answer, right)
    assert new.values["object_ids"] == [right] and new.values["corrected"]
    assert new.values["start_seconds"] == answer.values["start_seconds"]
    assert {row[2] for row in new.rows} == {right} and new.overlay != answer.overlay
    assert new.files_exist() and new.before is answer and 'data-pick="0"' in new.card
    # Once more, from what the model said and not from the correction.
    assert correct(seen, new, 3 if model_says != 3 else 2).before is answer

    assert new.sample is not None
    with zipfile.ZipFile(new.sample) as archive:
        archive.extractall(tmp_path / "prepared")
    (sample,) = PreparedSamples(tmp_path / "prepared")
    assert sample.query == answer.values["query"] and sample.truth.object_ids == (right,)
    assert sample.truth.tracks.get(right) is not None
    assert len(sample.truth.boxes) == len(new.rows) and sample.frames.ndim == 4
    start, end = seen.window
    assert sample.truth.start_seconds == pytest.approx(new.values["start_seconds"] - start)
    assert sample.truth.duration_seconds == pytest.approx(end - start)
    first, *_, last = sample.truth.boxes
    assert sample.truth.tracks.get(right).box_at(first) is not None
    assert 0 <= first <= last < 30 * (end - start) + 1

    # The address brings back the correction, as long as the files are there.
    visits.save(visits.Visit("the dog", seen, [new]))
    results = seen.folder.parent
    again = visits.load(results, seen.folder.name)
    assert again is not None and again.answers == [new] and again.seen == seen
    seen.video.unlink()
    assert visits.load(results, seen.folder.name) is None
    with pytest.raises(VideoError, match="deleted by now"):
        correct(seen, answer, right)


@pytest.mark.slow
def test_an_answer_is_drawn_in_other_ways_once_each(asked: tuple[Seen, Answered]) -> None:
    seen, answer = asked
    assert redraw(seen, answer, ()) == answer.overlay
    drawn = redraw(seen, answer, {"blur", "moment", "not a style"})
    assert drawn is not None and drawn.name == "answer-1-blur-moment.mp4"
    long = sum(r["end_seconds"] - r["start_seconds"] for r in answer.values["ranges"])
    start, end = seen.window
    with open_video(drawn) as moment, open_video(answer.overlay) as all_of_it:
        assert moment.info.duration_seconds == pytest.approx(long, abs=0.1)
        assert all_of_it.info.duration_seconds == pytest.approx(end - start, abs=0.1)
    made = drawn.stat().st_mtime_ns
    assert redraw(seen, answer, ["moment", "blur"]) == drawn and drawn.stat().st_mtime_ns == made
    assert redraw(seen, replace(answer, overlay=None), {"blur"}) is None
    seen.video.unlink()
    with pytest.raises(VideoError, match="deleted by now"):
        redraw(seen, answer, {"trails"})


@pytest.mark.slow
@pytest.mark.parametrize("asked", [None], indirect=True)
def test_two_tabs_of_one_visit_keep_apart(asked: tuple[Seen, Answered], registry: Any) -> None:
    seen, answer = asked
    results = seen.folder.parent
    page = Page(Grounder(registry, Limits(), results))
    visits.save(visits.Visit("the dog", seen, [answer]))
    tabs = [visits.load(results, seen.folder.name) for _ in range(2)]
    others = [number for number in (1, 2, 3) if [number] != answer.values["object_ids"]]
    for tab, number in zip(tabs, others, strict=True):
        assert tab is not None
        page._correct(str(number), tab.seen, tab.answers, 1, tab.text)
    for tab, number in zip(tabs, others, strict=True):
        assert tab is not None and tab.answers[0].values["object_ids"] == [number]
        assert tab.answers[0].files_exist()
    again = visits.load(results, seen.folder.name)
    assert again is not None and again.answers == tabs[1].answers  # The last word counts.


@pytest.mark.parametrize(
    ("pick", "words"),
    [("1", "wait for the answer"), ("0", "wait for the answer"), ("-1", ""), ("9" * 9, "")],
)
def test_a_click_while_the_answer_is_made(
    registry: Any, tmp_path: Path, pick: str, words: str
) -> None:
    page = Page(Grounder(registry, Limits(), tmp_path))
    seen = Seen(tmp_path, tmp_path, tmp_path, (), "", "", "", (), (0.0, 1.0))
    (update,) = page._correct(pick, seen, [], None, "the dog").values()
    assert words in update.get("value", "") and bool(words) == ("value" in update)


@pytest.mark.slow
def test_an_object_that_is_not_there(asked: tuple[Seen, Answered]) -> None:
    with pytest.raises(STVGError, match="no object 99 in this video; there is 1, 2"):
        correct(*asked, 99)


@pytest.mark.parametrize(
    ("frames", "ranges", "why"),
    [
        (range(5, 15), ((1.0, 2.0),), "in the answered time"),
        (range(30, 40), ((3.0, 4.0),), "as long as it is seen"),
        # Lost by the detector in between and at the end of the video.
        ([2, 3, 30], ((0.2, 3.1),), "as long as it is seen"),
    ],
)
def test_an_object_that_is_lost_in_the_answered_time(
    frames: Any, ranges: tuple[tuple[float, float], ...], why: str
) -> None:
    track = make_track(1, frames, [1, 2, 11, 12])
    tracks = Tracks(64, 48, np.arange(40) / 10, (track,))
    values = {"ranges": [{"start_seconds": 1.0, "end_seconds": 2.0}]}
    found, said = _ranges(values, track, tracks, 4.0)
    assert np.allclose(found, ranges) and said == why


@pytest.mark.parametrize("token", ["", "..", "../" + "a" * 29, "A" * 32, "0" * 32, "0" * 33])
def test_an_address_leads_nowhere_else(tmp_path: Path, token: str) -> None:
    assert visits.load(tmp_path, token) is None


def test_a_list_of_thirty_is_escaped_and_small() -> None:
    times = np.arange(1800) / 10
    every = list(range(1800))
    tracks = Tracks(
        640,
        480,
        times,
        tuple(make_track(i, every, [1, 2, 11, 12], name="<b>'dog") for i in range(1, 31)),
    )
    html = object_list(tracks, ["3 dog: <i>seen</i>"], {})
    assert html.count("data-pick") == 30 and "<b>" not in html and "<i>seen" not in html
    assert len(html) < 200_000 and html.count("null") == 0
    assert html.count("[2,4,17,25]") == 30 * MOST_MOMENTS
    assert object_list(Tracks(64, 48, times, ()), [], {}) == ""
    assert questions(Notes((), (), 64, 48, 1.0)) == ()


@pytest.mark.parametrize(
    ("query", "tracker", "here", "offered"),
    [
        ("the man who waves", "coco", {"coco"}, "the person"),
        ("the man who waves", "coco", {"coco", "open"}, "open"),
        ("the man who waves", "detector", {"coco"}, "coco"),
        ("the man who waves", "open", {"coco", "open", "rtdetr"}, "the person"),
        ("the person", "coco", {"coco"}, None),
        ("", "coco", {"coco"}, None),
    ],
)
def test_one_thing_is_offered_next(
    query: str, tracker: str, here: set[str], offered: str | None
) -> None:
    step = next_step(query, tracker, here)
    assert (step and (step.tracker or step.text)) == offered
