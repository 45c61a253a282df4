"""Detectors that look for what the query names, at tiny size with random weights."""

from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.structures import TimedFrame, VideoInfo
from stvg_r1_hub.tracking import OpenVocabularyTracker, load_tracker
from stvg_r1_hub.tracking.query_nouns import query_nouns

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "dog", "fish", "forklift", "##s"]


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


def test_many_things_are_cut() -> None:
    assert len(query_nouns(" ".join(f"x{chr(97 + i)}y" for i in range(26)))) == 8


def save_grounding_dino(folder: Path) -> Path:
    import torch
    from transformers import (
        BertConfig,
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    folder.mkdir()
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    tokenizer = BertTokenizer(vocab=vocabulary)
    small = {"num_attention_heads": 2, "hidden_size": 32}
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=len(WORDS), num_hidden_layers=1, intermediate_size=16, **small
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=12,
        max_text_len=16,
    )
    torch.manual_seed(0)
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    size = {"height": 128, "width": 128}  # less leaves one value for each group to be normalized
    GroundingDinoProcessor(GroundingDinoImageProcessor(size=size), tokenizer).save_pretrained(
        folder
    )
    return folder


def video(n_frames: int = 3) -> tuple[VideoInfo, list[TimedFrame]]:
    rng = np.random.default_rng(0)
    frames = [
        TimedFrame(i, i / 10, rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
        for i in range(n_frames)
    ]
    return VideoInfo("noise", 80, 60, np.arange(n_frames) / 10, n_frames / 10), frames


def test_grounding_dino_tracks_what_the_query_names(tmp_path: Path) -> None:
    folder = save_grounding_dino(tmp_path / "dino")
    config = TrackingConfig(score_threshold=0.01)
    tracker, said = load_tracker(folder, config=config, local_files_only=True)
    assert isinstance(tracker, OpenVocabularyTracker) and "what the query names" in said
    info, frames = video()
    assert list(tracker.frames_wanted(info)) == [0, 1, 2]
    tracks = tracker.track(iter(frames), info, query="the dog chasing a fish")
    assert len(tracks) > 0
    assert {track.class_name for track in tracks.tracks} <= {"dog", "fish"}
    for track in tracks.tracks:
        assert (track.boxes[:, 2:] <= [80, 60]).all() and (track.boxes >= 0).all()


def test_without_a_query_it_cannot_look(tmp_path: Path) -> None:
    tracker = OpenVocabularyTracker(
        save_grounding_dino(tmp_path / "dino"), config=TrackingConfig(), local_files_only=True
    )
    info, frames = video()
    with pytest.raises(TrackerError, match="got no query"):
        tracker.track(iter(frames), info)


def test_unreachable_models_are_one_sentence() -> None:
    with pytest.raises(TrackerError, match="grounding-dino-tiny") as raised:
        load_tracker("open", config=TrackingConfig(), local_files_only=True)
    assert "\n" not in str(raised.value)
