"""YOLO by extra: a random YOLOv12 built from the package's own description, no download."""

import sys
from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import MissingPackageError, TrackerError, VideoError
from stvg_r1_hub.structures import TimedFrame
from stvg_r1_hub.tracking import DetectionTracker, UltralyticsDetector, load_tracker
from stvg_r1_hub.video import open_video
from tests.tracking.worlds import World, info_of, moving, tracked


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    for name in ("yolo", "paper"):
        with pytest.raises(MissingPackageError, match=r"stvg-r1-hub\[yolo\]"):
            load_tracker(name, config=TrackingConfig(), segmenter=lambda: None)  # type: ignore[arg-type, return-value]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ultralytics = pytest.importorskip("ultralytics")
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("yolo") / "tiny.pt"
    ultralytics.YOLO("yolo12n.yaml").save(str(path))
    return path


def test_boxes_are_in_frame_pixels_and_rgb_is_turned(weights: Path) -> None:
    import torch
    import ultralytics

    detector = UltralyticsDetector(weights, score_threshold=0.0001)
    assert len(detector.class_names) == 80
    frame = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    found, again = detector.detect([frame, frame])
    assert detector.detect([]) == []
    assert len(found) > 0 and np.array_equal(found.boxes, again.boxes)
    assert (found.boxes[:, 2] <= 160).all() and (found.boxes[:, 3] <= 120).all()
    torch.manual_seed(0)
    (expected,) = ultralytics.YOLO(str(weights)).predict(
        frame[..., ::-1].copy(), conf=0.0001, verbose=False, device="cpu"
    )
    np.testing.assert_allclose(found.boxes, expected.boxes.xyxy.numpy(), atol=1e-3)


def test_usage_statistics_are_off(weights: Path) -> None:
    from ultralytics.utils.events import events

    events.enabled = True
    UltralyticsDetector(weights)
    assert events.enabled is False


def test_a_weights_file_is_a_tracker(weights: Path) -> None:
    tracker, message = load_tracker(weights, config=TrackingConfig(score_threshold=0.001))
    assert isinstance(tracker, DetectionTracker) and str(weights) in message
    info = info_of(2)
    world = World({(220, 30, 30): moving(range(2), (20, 20), (2, 0))})
    frames = (TimedFrame(i, i / 10, world.picture(i)) for i in range(2))
    assert len(tracked(tracker, frames, info).frame_times) == 2


def test_unknown_weights_are_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    for name in (tmp_path / "missing.pt", "no-such-yolo.yaml"):
        with pytest.raises(TrackerError, match="Cannot load YOLO weights"):
            UltralyticsDetector(name)
    ultralytics = sys.modules["ultralytics"]
    with pytest.raises(TrackerError, match="made for 'classify'"):
        UltralyticsDetector("x", model=ultralytics.YOLO("yolo11n-cls.yaml"))


def test_broken_pictures_are_named_also_once_ultralytics_reads_pictures(tmp_path: Path) -> None:
    assert pytest.importorskip("ultralytics").YOLO  # importing it is what wraps the reader
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"1\.png"), open_video(tmp_path, fps=5) as source:
        list(source.stream())
