"""Corrections, visits and what is offered next, without a browser."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stvg_r1_hub.errors import STVGError, VideoError
from stvg_r1_hub.structures import Notes, Tracks
from stvg_r1_hub.web import visits
from stvg_r1_hub.web.answers import Answered, Seen
from stvg_r1_hub.web.correcting import correct
from stvg_r1_hub.web.grounding import Grounder
from stvg_r1_hub.web.limits import Limits
from stvg_r1_hub.web.models import Settings
from stvg_r1_hub.web.next_step import next_step
from stvg_r1_hub.web.objects import MOST_MOMENTS, object_list, questions
from tests.builders import make_track
from tests.web.conftest import Demo
from train.data.samples import PreparedSamples


@pytest.fixture
def asked(registry: Any, demo: Demo, tmp_path: Path) -> tuple[Seen, Answered]:
    made: list[Any] = []
    grounder = Grounder(registry, Limits(), tmp_path / "results")
    video = Path(shutil.copy(demo.clip, tmp_path / "mine.mp4"))
    quiet = lambda *step: None  # noqa: E731
    grounder.ground(video, [demo.query], Settings("tiny"), quiet, made.append)
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
def test_an_object_that_is_not_there(asked: tuple[Seen, Answered]) -> None:
    with pytest.raises(STVGError, match="no object 99 in this video; there is 1, 2"):
        correct(*asked, 99)


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
