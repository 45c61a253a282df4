"""Videos opened in a child process, which some of them kill."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.video import open_video
from stvg_r1_hub.video import trial as video_trial
from stvg_r1_hub.video.trial import Trials
from tests.killing import killing_file, make_children_careless
from tests.media import one_sentence, write_clip


@pytest.fixture
def trials():
    made = Trials()
    yield made
    made.close()


def test_the_child_says_what_we_would_find(tmp_path, trials):
    path = write_clip(
        tmp_path / "ünï 12:30.mp4", 30, audio="aac", times=[i**1.1 for i in range(30)]
    )
    with open_video(path) as source:
        mine, its = source.info, trials.open(path)
    assert repr(mine) == repr(its) and mine.has_audio == its.has_audio
    assert np.array_equal(mine.frame_times, its.frame_times)


def test_a_refusal_is_the_same_sentence(tmp_path, trials):
    path = tmp_path / "noise.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(VideoError) as mine:
        open_video(path)
    with pytest.raises(VideoError) as its:
        trials.open(path)
    assert str(mine.value) == str(its.value)


def test_what_kills_the_child_is_a_sentence_and_the_next_is_served(tmp_path, trials, monkeypatch):
    fine, deadly = write_clip(tmp_path / "fine.mp4"), killing_file(tmp_path / "deadly.mov")
    make_children_careless(tmp_path, monkeypatch)
    for _ in range(2):
        with pytest.raises(
            VideoError, match=r"'deadly\.mov' makes the video decoder crash"
        ) as said:
            trials.open(deadly)
        assert one_sentence(said)
        assert trials.open(fine).n_frames == 30
    monkeypatch.undo()
    trials.close()
    assert trials.open(deadly).n_frames == 6  # Our own reader takes no harm.


def test_the_killing_file_is_real(tmp_path, monkeypatch):
    make_children_careless(tmp_path, monkeypatch)
    code = "import gc, sys; from stvg_r1_hub.video import open_video; open_video(sys.argv[1])"
    deadly = str(killing_file(tmp_path / "deadly.mov"))
    done = subprocess.run([sys.executable, "-c", f"{code}; gc.collect()", deadly], check=False)
    assert done.returncode < 0


def test_time_and_memory_are_limited(tmp_path):
    path = write_clip(tmp_path / "v.mp4", 4, size=(2048, 1024))
    hasty, poor = Trials(limit_seconds=0.01), Trials(limit_bytes=90 * 1024**2)
    for trials, words in ((hasty, r"within 0\.01 s"), (poor, "memory|decoded")):
        with pytest.raises(VideoError, match=words) as said:
            trials.open(path)
        assert one_sentence(said)
        trials.close()


def test_slow_decoding_is_no_fault(tmp_path):
    """A long video of which every frame needs the one before is believed after a while."""
    trials = Trials(patience_seconds=1e-3)
    assert trials.open(write_clip(tmp_path / "v.mp4", 100, size=(512, 256))).n_frames == 100
    trials.close()


@pytest.mark.slow
def test_many_at_once_and_a_spare_that_died(tmp_path, trials):
    paths = [write_clip(tmp_path / f"{n}.mp4", n) for n in range(2, 8)]
    with ThreadPoolExecutor(6) as pool:
        assert [info.n_frames for info in pool.map(trials.open, paths)] == list(range(2, 8))
    trials._ready[0].kill()
    trials._ready[0].wait()
    assert trials.open(paths[0]).n_frames == 2


def test_a_child_without_a_parent_ends(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["", "1", "1"])
    monkeypatch.setattr(video_trial, "_limit_memory", lambda _: None)
    with open("/dev/null", encoding="utf-8") as nothing:
        video_trial.main(nothing)
