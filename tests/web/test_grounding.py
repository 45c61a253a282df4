import json
import os
import re
import time
import zipfile
from dataclasses import replace

import imageio.v3 as imageio
import numpy as np
import pytest

from stvg_r1_hub.errors import Cancelled, VideoError
from stvg_r1_hub.evaluation.benchmarks.sprites import read_sprites
from stvg_r1_hub.evaluation.oracles import oracle_scores
from stvg_r1_hub.evaluation.prediction import prediction_of
from stvg_r1_hub.evaluation.protocols import strict
from stvg_r1_hub.examples import FOLDER, bundled_examples
from stvg_r1_hub.geometry import encode_mask
from stvg_r1_hub.sprites.clips import clip_scene
from stvg_r1_hub.video import open_video
from stvg_r1_hub.web import grounding
from stvg_r1_hub.web.answers import Seen, _write_masks
from stvg_r1_hub.web.grounding import Grounder, _example_questions, sweep
from stvg_r1_hub.web.limits import Limits
from stvg_r1_hub.web.models import Settings
from tests.media import write_clip
from tests.web.test_markup import result


def silent(stage, done, total):
    pass


@pytest.fixture
def grounder(registry, tmp_path):
    return Grounder(registry, Limits(), tmp_path / "results")


@pytest.mark.slow
def test_everything_that_is_shown(grounder, demo):
    stages, made = [], []
    queries = [demo.query, "the frog"]
    answers = grounder.ground(
        demo.clip, queries, Settings("tiny"), lambda *step: stages.append(step), made.append
    )
    # The objects come first, then each answer as soon as it stands: reading is quicker than seeing.
    assert isinstance(made[0], Seen) and made[1:] == answers[::-1]
    assert made[0].objects.count('class="stvg-object"') >= 3 and made[0].asks
    assert [a.values["query"] for a in answers] == queries
    first = answers[0]
    assert first.values["found"] and len(first.rows) == len(first.values["boxes"])
    assert first.files_exist() and first.masks is None
    with open_video(demo.clip) as given, open_video(first.marked) as marked:
        assert marked.info.duration_seconds == pytest.approx(given.info.duration_seconds, abs=0.1)
    assert {"load", "decode/track", "encode", "answer", "writing"} <= {s[0] for s in stages}
    assert "data:image/jpeg;base64," in first.keyframes and 'data-inside="true"' in first.keyframes
    assert answers[0].overlay != answers[1].overlay
    # What is known of both alike is said once, and the JSON of each says all.
    (tracker,) = [w for w in first.values["warnings"] if w.startswith("Tracker:")]
    assert "Tracker:" in made[0].remarks
    assert "Tracker:" not in first.card and tracker in answers[1].values["warnings"]


@pytest.mark.slow
def test_the_example_is_answered_once(grounder, demo, monkeypatch):
    ask = Settings("tiny")
    first = grounder.ground(demo.clip, [demo.query], ask, silent)
    monkeypatch.setattr(grounding, "_ask", lambda *unused: pytest.fail("asked again"))
    (again,) = grounder.ground(demo.clip, [demo.query], ask, silent)
    # In a folder of its own: what one visitor corrects is nobody else's.
    assert again.card == first[0].card and again.json.parent != first[0].json.parent
    assert again.files_exist()
    monkeypatch.undo()
    for known in grounder._examples.values():
        known.answers[0].overlay.unlink()  # Deleted after its time: then it is made again.
    stages = []
    grounder.ground(demo.clip, [demo.query], ask, lambda *step: stages.append(step[0]))
    assert "answer" in stages


@pytest.mark.slow
def test_videos_of_visitors_are_never_kept_for_others(grounder, demo):
    grounder.ground(demo.clip, ["the frog"], Settings("tiny"), silent)
    assert not grounder._examples


@pytest.mark.slow
def test_stopping_leaves_nothing(grounder, demo):
    for stage in ("decode/track", "encode", "answer", "writing"):

        def stop(now, done, total, stage=stage):
            if now == stage:
                raise Cancelled("enough")

        with pytest.raises(Cancelled):
            grounder.ground(demo.clip, [demo.query], Settings("tiny"), stop)
        assert not list(grounder.folder.iterdir()) and len(grounder.line) == 0


def test_bad_video_takes_no_place_in_line(grounder, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    with pytest.raises(VideoError):
        grounder.ground(bad, ["x"], Settings("tiny"), lambda *step: pytest.fail("work began"))
    assert not grounder.folder.exists()


def test_masks_as_pictures(tmp_path):
    inside = np.zeros((48, 64), bool)
    inside[5:9, 10:20] = True
    answer = result()
    boxes = [replace(box, mask=encode_mask(inside)) for box in answer.boxes[::2]]
    answer = replace(answer, tube=replace(answer.tube, boxes=(*boxes, *answer.boxes[1::2])))
    path = tmp_path / "masks.zip"
    _write_masks(path, answer)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        picture = imageio.imread(archive.read("frame-000020.png"), extension=".png")
    assert len(names) == 5
    assert np.array_equal(picture, inside * 1)


def test_old_results_are_deleted(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "answer.mp4").write_bytes(b"x")
    past = time.time() - 100
    os.utime(old, (past, past))
    assert sweep(tmp_path, keep_seconds=50) == 1
    assert not old.exists() and new.exists()
    assert sweep(tmp_path / "missing", 50) == 0


def test_marked_video_of_a_short_clip(tmp_path, registry):
    """A sample that repeats its last frame still becomes a video with ascending times."""
    path = write_clip(tmp_path / "two.mp4", 2)
    answers = Grounder(registry, Limits(), tmp_path / "out").ground(
        path, ["the dog"], Settings("tiny"), silent
    )
    with open_video(answers[0].marked) as marked:
        assert marked.info.n_frames == 2
    assert json.loads(answers[0].json.read_text(encoding="utf-8")) == answers[0].values


SPRITES = sorted(
    path.name for path in FOLDER.glob("*.json") if "sprite world" in path.read_text("utf-8")
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPRITES)
def test_bundled_sprites_are_answered_right(registry, name):
    """Against the whole true tube, of the unseen scene that the file names."""
    values = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    level, seed, number = re.match(
        r"sprite world, level (\w+), seed (\d+), clip (\d+): never seen in training",
        values["source"],
    ).groups()
    scene = clip_scene(level, int(seed), int(number))
    truth = (values["true_start_seconds"], values["true_end_seconds"])
    assert values["query"] == scene.query
    assert truth == (scene.answer_range or (None, None))
    assert (FOLDER / values["clip"]).stat().st_size < 100_000
    pipeline, _ = registry.pipeline(Settings("tiny"))
    answer = pipeline(values["query"], FOLDER / values["clip"])
    sample = read_sprites(level, int(seed), int(number) + 1, FOLDER)[-1]
    prediction = prediction_of(answer)
    assert answer.found == sample.answerable
    if sample.answerable:
        assert oracle_scores(sample, prediction)["id correct"] == 1
        assert strict(sample, prediction)["viou"] > 0.7
    else:
        assert strict(sample, prediction) == {"none": 1}


def test_examples_on_the_page():
    """The real street first, and one of each form of question."""
    names = [example.name for example in bundled_examples()]
    assert names == ["street", "street-leaving", "demo", "attribute", "look-alike", "none"]
    assert len(_example_questions(("tiny", "other"))) == 12
