"""YOLO-World and YOLOE: real models of the package with random weights, words through CLIP.

What cannot be had without a download are trained weights and ultralytics' MobileCLIP file: a tiny
TorchScript of the same form takes its place.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.hub import HubAccess
from stvg_r1_hub.reading import track_video
from stvg_r1_hub.tracking import OpenVocabularyTracker, UltralyticsOpenDetector, load_tracker
from tests.media import write_clip
from tests.tiny_detectors import save_clip_text

ultralytics = pytest.importorskip("ultralytics")


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip_text(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module", params=["yolov8n-worldv2", "yoloe-11n-seg"])
def weights(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A saved model, in a folder that also has what YOLOE embeds words with."""
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("open-yolo")
    model = ultralytics.YOLO(f"{request.param}.yaml")
    for scorer in model.model.model[-1].cv4:
        scorer.bias.data += 10  # Fresh ones score everything below 0.0001,
        scorer.logit_scale.data += 8  # and see next to nothing.
    model.save(str(folder / "tiny.pt"))

    class Words(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(100, 512)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(self.table(tokens).mean(1), dim=-1)

    torch.jit.trace(Words(), torch.zeros(1, 77, dtype=torch.long)).save(
        str(folder / "mobileclip_blt.ts")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder / "tiny.pt"


def test_its_classes_are_the_words_of_each_video(weights: Path, text_model: Path) -> None:
    detector = UltralyticsOpenDetector(weights, score_threshold=0.01, text_model=text_model)
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    animals, truck = detector.looking_for(["dog", "fish", "bird"]), detector.looking_for(["truck"])
    assert animals.class_names == ("dog", "fish", "bird") and truck.class_names == ("truck",)
    (first,) = animals.detect([frame])
    assert len(first) > 0 and set(first.class_ids.tolist()) <= {0, 1, 2}
    (other,) = truck.detect([frame])
    assert set(other.class_ids.tolist()) == {0}
    # Another video's words do not reach this one, and the same words give the same boxes.
    (again,) = animals.detect([frame])
    (anew,) = detector.looking_for(["dog", "fish", "bird"]).detect([frame])
    for found in (again, anew):
        assert np.array_equal(found.scores, first.scores)
    assert not np.array_equal(np.sort(first.scores), np.sort(other.scores)), "words count"


def test_by_path_it_tracks_what_all_queries_name(
    weights: Path, text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stvg_r1_hub.tracking.ultralytics_open.TEXT_MODEL", str(text_model))
    config = TrackingConfig(score_threshold=0.1)
    tracker, message = load_tracker(weights, config=config, access=HubAccess(local_files_only=True))
    assert isinstance(tracker, OpenVocabularyTracker) and "what the query names" in message
    tracks = track_video(write_clip(tmp_path / "clip.mp4", 6), tracker, query=["a dog", "a fish"])
    assert len(tracks) > 0 and {t.class_name for t in tracks.tracks} <= {"dog", "fish"}


def test_without_its_text_encoder_it_says_so(weights: Path) -> None:
    with pytest.raises(TrackerError, match="Cannot load the text encoder") as raised:
        UltralyticsOpenDetector(
            weights, score_threshold=0.1, access=HubAccess(local_files_only=True)
        )
    assert "\n" not in str(raised.value)


def test_fixed_classes_take_no_words(tmp_path: Path) -> None:
    model = ultralytics.YOLO("yolo12n.yaml")
    with pytest.raises(TrackerError, match="has fixed classes"):
        UltralyticsOpenDetector("yolo12n", score_threshold=0.1, model=model)


@pytest.mark.parametrize("name", ["yolo-world", "yoloe"])
def test_unreachable_weights_are_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TrackerError) as raised:
        patch.chdir(tmp_path)
        load_tracker(name, config=TrackingConfig(), access=HubAccess(local_files_only=True))
    assert "Cannot load YOLO weights" in str(raised.value) and "\n" not in str(raised.value)
