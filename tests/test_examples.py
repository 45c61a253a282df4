"""The clips that come with the package: there, small, and found by name."""

import json
import re

import pytest

import stvg_r1_hub
from stvg_r1_hub.errors import ConfigError, ModelError
from stvg_r1_hub.evaluation.metrics import temporal_iou
from stvg_r1_hub.examples import FOLDER, bundled_examples, example_video
from stvg_r1_hub.video import open_video


def test_the_street_is_real_footage_as_it_was_filmed() -> None:
    street = stvg_r1_hub.example_video("street")
    assert street.stat().st_size <= 400_000
    with open_video(street) as source:
        info = source.info
    assert (info.width, info.height, info.n_frames) == (768, 576, 80)
    assert info.frame_times == pytest.approx([i / 10 for i in range(80)])
    assert info.duration_seconds == pytest.approx(8.0)


def test_every_example_is_found_by_its_name() -> None:
    names = [example.name for example in bundled_examples()]
    assert names[:3] == ["street", "street-leaving", "demo"] and names[3:] == sorted(names[3:])
    for name, clip, query in bundled_examples():
        assert example_video(name) == clip and clip.is_file() and query
        values = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        with open_video(clip) as source:
            end = source.info.duration_seconds
        start, stop = values["true_start_seconds"], values["true_end_seconds"]
        assert (start, stop) == (None, None) or 0 <= start < stop <= end


@pytest.mark.slow
@pytest.mark.parametrize("name", ["street", "street-leaving"])
def test_questions_about_the_street_are_answered_right(
    name: str, tiny: stvg_r1_hub.STVGPipeline
) -> None:
    """Who it is was read off the pictures: points inside of the right one, and when."""
    values = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    answer = tiny(values["query"], example_video(name))
    truth = (values["true_start_seconds"], values["true_end_seconds"])
    assert answer.found and temporal_iou((answer.start_seconds, answer.end_seconds), truth) > 0.7
    boxes = {round(box.time_seconds, 1): box.xyxy for box in answer.boxes}
    for seconds, x, y in values["true_points"]:
        left, top, right, bottom = boxes[seconds]
        assert left < x < right < left + 60 and top < y < bottom < top + 120


def test_another_name_is_told_the_known_ones() -> None:
    said = "Got 'park' as the name of an example; there is street, street-leaving, demo, "
    with pytest.raises(ConfigError, match=re.escape(said)):
        example_video("park")


def test_lost_clips_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr("stvg_r1_hub.examples.FOLDER", tmp_path)
    assert bundled_examples() == []
    with pytest.raises(ModelError, match="pip install --force-reinstall"):
        example_video("street")
