import threading

import pytest

from stvg_r1_hub.errors import ConfigError, ModelError, TrackerError
from stvg_r1_hub.web import models
from stvg_r1_hub.web.models import MAX_TRACKERS, Settings, Shelf

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shelf():
    return Shelf(["tiny"], device="cpu")


def test_loaded_once_for_everybody(shelf):
    found = []
    threads = [threading.Thread(target=lambda: found.append(shelf.load("tiny"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(map(id, found))) == 1


def test_untouched_settings_give_the_model_as_it_is(shelf):
    pipeline, notes = shelf.pipeline(Settings("tiny"))
    base = shelf.load("tiny")
    assert pipeline.config == base.config and pipeline.tracker is base.tracker and not notes


def test_settings_reach_the_pipeline_and_no_other_visitor(shelf):
    base = shelf.load("tiny")
    before = base.config
    pipeline, notes = shelf.pipeline(
        Settings("tiny", sample_fps=2.0, total_pixels=500_000, detect_fps=5, score_threshold=0.5)
    )
    assert pipeline.config.sampling.fps == 2.0
    assert pipeline.config.sampling.total_pixels == 500_000
    assert pipeline.config.tracking.fps == 5
    assert len(notes) == 2 and "trained with" in notes[0]
    assert pipeline.tracker is not base.tracker and pipeline.vlm is base.vlm
    assert base.config == before
    again, _ = shelf.pipeline(Settings("tiny", detect_fps=5, score_threshold=0.5))
    assert again.tracker is pipeline.tracker


def test_few_trackers_are_kept(shelf):
    for fps in range(1, MAX_TRACKERS + 4):
        shelf.pipeline(Settings("tiny", detect_fps=fps))
    assert len(shelf._trackers) == MAX_TRACKERS


def test_who_waits_for_a_download_holds_up_nobody_else(shelf, monkeypatch):
    loading, over = threading.Event(), threading.Event()
    load = models.load_tracker

    def slow(name, **arguments):
        if name == "rtdetr":
            loading.set()
            assert over.wait(60)
            name = "coco"
        return load(name, **arguments)

    shelf.load("tiny")
    monkeypatch.setattr(models, "load_tracker", slow)
    thread = threading.Thread(target=shelf.pipeline, args=[Settings("tiny", tracker="rtdetr")])
    thread.start()
    assert loading.wait(60)
    shelf.pipeline(Settings("tiny", tracker="coco"))  # Comes back while the other one loads.
    assert thread.is_alive()
    over.set()
    thread.join()


def test_what_is_not_offered(shelf):
    with pytest.raises(ModelError, match="not offered here; there is tiny"):
        shelf.pipeline(Settings("/etc"))
    with pytest.raises(TrackerError, match="not offered"):
        shelf.pipeline(Settings("tiny", tracker="/etc/passwd"))
    with pytest.raises(ConfigError, match="fps"):
        shelf.pipeline(Settings("tiny", sample_fps=-1))


def test_every_offered_tracker_loads_or_says_what_is_missing(shelf):
    from stvg_r1_hub.errors import MissingPackageError

    for name in shelf.trackers:
        try:
            pipeline, _ = shelf.pipeline(Settings("tiny", tracker=name))
        except (MissingPackageError, TrackerError, ModelError) as error:
            assert len(str(error)) > 20 and "Traceback" not in str(error), name
        else:
            assert pipeline.tracker.name


def test_a_model_that_cannot_be_loaded_is_said_once_and_again():
    shelf = Shelf(["someone/not-there"], device="cpu")
    shelf.load_in_background().join()
    for _ in range(2):
        with pytest.raises(ModelError, match="not in the local cache"):
            shelf.load("someone/not-there")
