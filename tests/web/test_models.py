import threading

import pytest

from stvg_r1_hub.errors import ConfigError, ModelError, TrackerError
from stvg_r1_hub.web import models
from stvg_r1_hub.web.models import MAX_TRACKERS, ModelRegistry, Settings

pytestmark = pytest.mark.slow


def test_loaded_once_for_everybody(registry):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(registry.load("tiny"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(map(id, found))) == 1


def test_untouched_settings_give_the_model_as_it_is(registry):
    pipeline, notes = registry.pipeline(Settings("tiny"))
    base = registry.load("tiny")
    assert pipeline.config == base.config and pipeline.tracker is base.tracker and not notes


def test_settings_reach_the_pipeline_and_no_other_visitor(registry):
    base = registry.load("tiny")
    before = base.config
    pipeline, notes = registry.pipeline(
        Settings("tiny", sample_fps=2.0, total_pixels=500_000, detect_fps=5, score_threshold=0.5)
    )
    assert pipeline.config.sampling.fps == 2.0
    assert pipeline.config.sampling.total_pixels == 500_000
    assert pipeline.config.tracking.fps == 5
    assert len(notes) == 2 and "trained with" in notes[0]
    assert pipeline.tracker is not base.tracker and pipeline.vlm is base.vlm
    assert base.config == before
    again, _ = registry.pipeline(Settings("tiny", detect_fps=5, score_threshold=0.5))
    assert again.tracker is pipeline.tracker


def test_few_trackers_are_kept(registry):
    for fps in range(1, MAX_TRACKERS + 4):
        registry.pipeline(Settings("tiny", detect_fps=fps))
    assert len(registry._trackers) == MAX_TRACKERS


def test_who_waits_for_a_download_holds_up_nobody_else(registry, monkeypatch):
    loading, over = threading.Event(), threading.Event()
    load = models.load_tracker

    def slow(name, **arguments):
        if name == "rtdetr":
            loading.set()
            assert over.wait(60)
            name = "coco"
        return load(name, **arguments)

    registry.load("tiny")
    monkeypatch.setattr(models, "load_tracker", slow)
    thread = threading.Thread(target=registry.pipeline, args=[Settings("tiny", tracker="rtdetr")])
    thread.start()
    assert loading.wait(60)
    registry.pipeline(Settings("tiny", tracker="coco"))  # Comes back while the other one loads.
    assert thread.is_alive()
    over.set()
    thread.join()


def test_what_is_not_offered(registry):
    with pytest.raises(ModelError, match="not offered here; there is tiny"):
        registry.pipeline(Settings("/etc"))
    with pytest.raises(TrackerError, match="not offered"):
        registry.pipeline(Settings("tiny", tracker="/etc/passwd"))
    with pytest.raises(ConfigError, match="fps"):
        registry.pipeline(Settings("tiny", sample_fps=-1))


def test_every_offered_tracker_loads_or_says_what_is_missing(registry):
    from stvg_r1_hub.errors import MissingPackageError

    for name in registry.trackers:
        try:
            pipeline, _ = registry.pipeline(Settings("tiny", tracker=name))
        except (MissingPackageError, TrackerError, ModelError) as error:
            assert len(str(error)) > 20 and "Traceback" not in str(error), name
        else:
            assert pipeline.tracker.name


def test_a_model_that_cannot_be_loaded_is_said_once_and_again():
    registry = ModelRegistry(["someone/not-there"], device="cpu")
    registry.load_in_background().join()
    for _ in range(2):
        with pytest.raises(ModelError, match="not in the local cache"):
            registry.load("someone/not-there")
