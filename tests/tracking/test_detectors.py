"""Detector folders of both forms, the bundled COCO detector, and what goes wrong with them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.hub import HubAccess
from stvg_r1_hub.reading import track_video
from stvg_r1_hub.tracking import Detector, OnnxDetector, TransformersDetector, load_tracker
from stvg_r1_hub.tracking.detectors import nms
from stvg_r1_hub.tracking.onnx_detector import COCO_FOLDER
from tests.media import write_clip
from tests.tiny_detectors import FIXED, save_fixed

SETTINGS = {
    "input_size": [32, 64],
    "class_names": ["bright", "dark"],
    "score_threshold": 0.4,
    "nms_iou": 0.5,
}


def write_detector(folder: Path, *, free_batch: bool = True) -> Path:
    """A real ONNX network: a fixed box whose score is the frame's brightness, and a double."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    batch = "B" if free_batch else 1
    boxes = np.array([[[8, 4, 24, 20], [9, 4, 25, 20], [40, 8, 60, 28]]], np.float32)
    share = np.array([[[1.0, 0], [0.9, 0], [0.2, 0.8]]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean4"], keepdims=1),
        helper.make_node("Div", ["mean4", "white"], ["level4"]),
        helper.make_node("Reshape", ["level4", "as3"], ["level"]),
        helper.make_node("Mul", ["level", "share"], ["scores"]),
        helper.make_node("Mul", ["level", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "anchors"], ["boxes"]),
    ]
    constants = {
        "axes": np.array([1, 2, 3], np.int64),
        "white": np.array(255, np.float32),
        "as3": np.array([-1, 1, 1], np.int64),
        "zero": np.array(0, np.float32),
        "share": share,
        "anchors": boxes,
    }
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 32, 64])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [batch, 3, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 3, 2]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "detector.onnx")
    (folder / "detector.json").write_text(json.dumps(SETTINGS))
    return folder


@pytest.mark.parametrize("free_batch", [True, False])
def test_boxes_come_back_in_frame_pixels(tmp_path: Path, free_batch: bool) -> None:
    detector = OnnxDetector(write_detector(tmp_path, free_batch=free_batch), threads=1)
    assert isinstance(detector, Detector)
    white, dark = np.full((64, 64, 3), 255, np.uint8), np.full((32, 64, 3), 60, np.uint8)
    bright, none, tall = detector.detect([white, dark, np.full((320, 64, 3), 255, np.uint8)])
    # The double of the first box is suppressed; the frame is twice as high as the input.
    assert bright.boxes.tolist() == [[8, 8, 24, 40], [40, 16, 60, 56]]
    assert bright.scores == pytest.approx([1.0, 0.8])
    assert bright.class_ids.tolist() == [0, 1]
    assert len(none) == 0 and none.boxes.shape == (0, 4)
    assert tall.boxes[0].tolist() == [8, 40, 24, 200]
    assert detector.detect([]) == []


def test_suppression_keeps_the_best_and_the_distant() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], np.float32)
    scores = np.array([0.5, 0.9, 0.7], np.float32)
    assert nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert nms(boxes, scores, 0.9).tolist() == [1, 2, 0]
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": [32]}, "input_size"),
        ({"class_names": []}, "class_names"),
        ({"score_threshold": "high"}, "score_threshold"),
        ({"nms_iou": 2}, "nms_iou"),
        ({"smallest_object": -1}, "smallest_object"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = write_detector(tmp_path)
    (folder / "detector.json").write_text(json.dumps(SETTINGS | change))
    with pytest.raises(TrackerError, match=message):
        OnnxDetector(folder)


def test_broken_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=r"no detector\.json and no detector\.onnx"):
        OnnxDetector(tmp_path)
    folder = write_detector(tmp_path / "a")
    (folder / "detector.json").write_text("{")
    with pytest.raises(TrackerError, match="not JSON"):
        OnnxDetector(folder)
    (folder / "detector.json").write_text(json.dumps(SETTINGS))
    (folder / "detector.onnx").write_bytes(b"nonsense")
    with pytest.raises(TrackerError, match="cannot load"):
        OnnxDetector(folder)
    folder = write_detector(tmp_path / "b")
    (folder / "detector.json").write_text(json.dumps(SETTINGS | {"class_names": ["one"]}))
    with pytest.raises(TrackerError, match="scores 2 classes"):
        OnnxDetector(folder).detect([np.full((32, 64, 3), 255, np.uint8)])


def figure() -> np.ndarray:
    """A rendered traffic-light pole and a human-like figure on grass."""
    import cv2

    frame = np.full((480, 640, 3), (120, 160, 90), np.uint8)
    cv2.circle(frame, (320, 130), 26, (224, 180, 150), -1)
    cv2.ellipse(frame, (320, 225), (45, 75), 0, 0, 360, (30, 40, 120), -1)
    for side in (-1, 1):
        foot, hand = (320 + 30 * side, 420), (320 + 75 * side, 260)
        cv2.line(frame, (320 + 15 * side, 280), foot, (40, 40, 50), 26)
        cv2.line(frame, (320 + 38 * side, 180), hand, (30, 40, 120), 18)
    return frame


def test_the_bundled_coco_detector_runs() -> None:
    detector = OnnxDetector(COCO_FOLDER, threads=1)
    assert len(detector.class_names) == 80 and detector.class_names[0] == "person"
    drawn, noise = detector.detect([figure(), np.zeros((50, 333, 3), np.uint8)])
    for found, (height, width) in ((drawn, (480, 640)), (noise, (50, 333))):
        assert found.boxes.shape == (len(found), 4) and found.boxes.dtype == np.float32
        assert (found.boxes >= 0).all() and (found.boxes <= [width, height, width, height]).all()
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
        assert ((found.scores >= 0.3) & (found.scores <= 1)).all()
        assert ((found.class_ids >= 0) & (found.class_ids < 80)).all()
        assert (np.diff(found.scores) <= 0).all()
    assert (COCO_FOLDER / "NOTICE").is_file()


@pytest.fixture(scope="module")
def yolos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random YOLOS with two classes, saved as a transformers folder."""
    import torch
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    folder = tmp_path_factory.mktemp("yolos")
    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=[32, 48],
        patch_size=16,
        num_detection_tokens=5,
        use_mid_position_embeddings=False,
        id2label={0: "cat", 1: "dog"},
        label2id={"cat": 0, "dog": 1},
    )
    YolosForObjectDetection(config).save_pretrained(folder, safe_serialization=True)
    YolosImageProcessor(size={"height": 32, "width": 48}, do_pad=False).save_pretrained(folder)
    return folder


def test_a_transformers_folder_detects(yolos: Path) -> None:
    detector = TransformersDetector(yolos, score_threshold=0.0, batch_size=2)
    assert isinstance(detector, Detector)
    assert detector.class_names == ("cat", "dog")
    frames = [np.full((60, 90, 3), shade, np.uint8) for shade in (0, 120, 250)]
    found = detector.detect(frames)
    assert len(found) == 3 and len(found[0]) > 0
    for seen in found:
        assert (seen.boxes >= 0).all() and (seen.boxes <= [90, 60, 90, 60]).all()
        assert set(seen.class_ids.tolist()) <= {0, 1}
    alone = detector.detect(frames[1:2])[0]
    assert np.allclose(alone.boxes, found[1].boxes, atol=1e-2)
    # As a CUDA device does it.
    with torch.autocast("cpu", dtype=torch.float16):
        (half,) = detector.detect(frames[1:2])
    assert np.abs(half.boxes - alone.boxes).max() < 0.5
    assert np.abs(half.scores - alone.scores).max() < 0.01
    strict = TransformersDetector(yolos, score_threshold=0.999)
    assert len(strict.detect(frames)[0]) == 0


@pytest.mark.parametrize("kind", list(FIXED))
def test_detectors_of_the_hub_track_a_video(kind: str, tmp_path: Path) -> None:
    """RT-DETRv2, D-FINE and RF-DETR: real architecture and image processor, random weights."""
    folder = save_fixed(kind, tmp_path / kind)
    config = TrackingConfig(score_threshold=0.001)
    tracker, message = load_tracker(folder, config=config, access=HubAccess(local_files_only=True))
    assert "transformers detector" in message
    tracks = track_video(write_clip(tmp_path / "clip.mp4", 3, size=(80, 60)), tracker)
    assert len(tracks) > 0
    for track in tracks.tracks:
        assert track.class_name in ("cat", "dog")
        assert (track.boxes >= 0).all() and (track.boxes <= [80, 60, 80, 60]).all()


def test_pickled_weights_are_not_read(yolos: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((yolos / name).read_bytes())
    torch.save(load_file(yolos / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(TrackerError, match="safetensors"):
        TransformersDetector(tmp_path, score_threshold=0.3)
