"""Detectors that look for what the query names, at tiny size with random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.hub import HubAccess
from stvg_r1_hub.reading import track_video
from stvg_r1_hub.tracking import OpenVocabularyTracker, TransformersOpenDetector, load_tracker
from stvg_r1_hub.tracking.open_vocabulary import query_nouns
from tests.media import write_clip
from tests.tiny_detectors import save_grounding_dino, save_owlv2


@pytest.mark.parametrize(
    ("query", "nouns"),
    [
        ("the dog jumping", ["dog"]),
        ("The two dogs on the left, chasing a frisbee!", ["dogs", "frisbee"]),
        ("a man in a white shirt who opens the door and leaves", ["man", "shirt", "door"]),
        ("a forklift moving behind the red truck", ["forklift", "truck"]),
        ("the fish that swims after the other fish", ["fish", "swims"]),
        ("king on the building", ["king", "building"]),
        ("It is running.", ["it is running"]),
        ("狗在跑", ["狗在跑"]),
        ("7", ["7"]),
    ],
)
def test_things_a_query_speaks_of(query: str, nouns: list[str]) -> None:
    assert query_nouns(query) == nouns


def test_several_queries_give_each_word_once() -> None:
    assert query_nouns(["the dog jumping", "A fish.", "the fish below the dog"]) == ["dog", "fish"]
    assert query_nouns([]) == []


def test_many_things_are_cut() -> None:
    assert len(query_nouns(" ".join(f"x{chr(97 + i)}y" for i in range(26)))) == 8


@pytest.fixture(scope="module", params=[save_grounding_dino, save_owlv2])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param(tmp_path_factory.mktemp("open"))


def test_a_video_is_tracked_once_for_what_all_queries_name(folder: Path, tmp_path: Path) -> None:
    config = TrackingConfig(score_threshold=0.01)
    tracker, message = load_tracker(folder, config=config, access=HubAccess(local_files_only=True))
    assert isinstance(tracker, OpenVocabularyTracker) and "what the query names" in message
    clip = write_clip(tmp_path / "clip.mp4", 3, size=(80, 60))
    queries = ["the dog chasing a fish", "a forklift behind the dog"]
    tracks = track_video(clip, tracker, query=queries)
    assert len(tracks) > 0
    assert {track.class_name for track in tracks.tracks} <= {"dog", "fish", "forklift"}
    for track in tracks.tracks:
        assert (track.boxes[:, 2:] <= [80, 60]).all() and (track.boxes >= 0).all()
    assert "Only what the words say was looked for: dog, fish, forklift." in tracks.warnings
    with pytest.raises(TrackerError, match="got no query"):
        track_video(clip, tracker)


def test_many_words_are_looked_for_in_several_passes(folder: Path) -> None:
    detector = TransformersOpenDetector(folder, score_threshold=0.0)
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    words = ["fish", *(f"{a}{b}" for a in "abcde" for b in "vwxyz"), "dog"]
    (found,) = detector.looking_for(words).detect([frame])
    assert len(found) > 0 and found.class_ids.max() < len(words) == 27
    with torch.autocast("cpu", dtype=torch.float16):  # As a CUDA device does it.
        (half,) = detector.looking_for(words).detect([frame])
    assert abs(len(half) - len(found)) <= 0.1 * len(found)
    assert abs(float(half.scores.max() - found.scores.max())) < 0.01
    (last,) = detector.looking_for(words[24:]).detect([frame])
    assert set((last.class_ids + 24).tolist()) & set(found.class_ids.tolist()), "also the last"


def test_unreachable_models_are_one_sentence() -> None:
    with pytest.raises(TrackerError, match="grounding-dino-tiny") as raised:
        load_tracker("open", config=TrackingConfig(), access=HubAccess(local_files_only=True))
    assert "\n" not in str(raised.value)
