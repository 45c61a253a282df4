"""What is left of the numbers at a server, and that a model answers there as it does here."""

from __future__ import annotations

import numpy as np
import pytest
from huggingface_hub import constants

from benchmarks.bench_server import at_server, marker_errors, same_answers
from stvg_r1_hub.config import MarkerStyle
from stvg_r1_hub.marking import mark_frames
from stvg_r1_hub.structures import Tracks
from stvg_r1_hub.vlm.resizing import model_frames
from tests.builders import make_frames, make_track


@pytest.mark.parametrize(
    ("way", "most"), [("video", 4), ("frames", 4), ("images", 8), ("full-size video", 12)]
)
def test_the_red_of_the_numbers_arrives(way: str, most: float) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(60, 200, (45, 60, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    frames = make_frames(np.stack([picture] * 4), model_size=(252, 336))
    boxes = ([30, 30, 200, 180], [250, 120, 430, 330])
    tracks = tuple(make_track(i + 8, range(4), box) for i, box in enumerate(boxes))
    marked = mark_frames(frames, Tracks(480, 360, frames.times_seconds, tracks), MarkerStyle())
    local = model_frames(marked.frames)
    moved = marker_errors(model_frames(frames), local, at_server(marked, way))
    assert moved["redness here"] > 150
    assert moved["mean"] <= most
    assert moved["redness there"] >= moved["redness here"] - 2.5 * most


@pytest.mark.slow
def test_the_bundled_model_answers_the_same_through_a_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for _, equal, here in same_answers(2, ("video", "frames", "images")):
        assert all(equal.values()) and "Target ID" in here
