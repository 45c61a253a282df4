import pytest

from stvg_r1_hub.tracking import TRACKERS
from stvg_r1_hub.web import markup, reach


@pytest.fixture(params=[True, False])
def answers(request, monkeypatch):
    monkeypatch.setattr(reach, "hub_answers", lambda: request.param)
    monkeypatch.setattr(reach.importlib.util, "find_spec", lambda name: request.param or None)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *unused: None)
    return request.param


def test_what_cannot_be_had_says_why(answers):
    why = {name: reach.why_no_tracker(name, "cpu") for name in TRACKERS}
    there = set(TRACKERS) if answers else {"auto", "coco"}
    assert {name for name, reason in why.items() if not reason} == there
    assert bool(reach.why_no_masks("cpu")) is not answers
    if not answers:
        assert "pip install" in why["yolo"] and "Hub" in why["rtdetr"]


def test_weights_in_the_cache_need_no_hub(monkeypatch):
    monkeypatch.setattr(reach, "hub_answers", lambda: False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *unused: "/a/config.json")
    assert not reach.why_no_tracker("open", "cpu")


def test_one_reason_is_said_once():
    assert reach.absent_models(["tiny"]) and not reach.absent_models([reach.PUBLISHED, "tiny"])
    html = markup.not_here([reach.Absent("<a>", "gone"), reach.Absent("b", "gone")])
    assert html.count("gone") == 1 and "<li>&lt;a&gt;</li><li>b</li>" in html
