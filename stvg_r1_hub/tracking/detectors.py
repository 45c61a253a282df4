"""Frames -> boxes: the detectors behind the tracker.

`OnnxDetector` runs a folder with `detector.onnx` and `detector.json` on ONNX Runtime; the bundled
COCO-80 detector and the sprite-world detector have this form. `TransformersDetector` runs any
object-detection model of transformers.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.device import half_precision
from stvg_r1_hub.errors import TrackerError, first_line
from stvg_r1_hub.geometry import box_iou
from stvg_r1_hub.structures import Detections, Pixels
from stvg_r1_hub.tracking.class_groups import usual_name
from stvg_r1_hub.tracking.quarters import in_quarters, is_small_crowd
from stvg_r1_hub.tracking.score_scale import SURE_SCORES, USUAL_SURE, weak_score

COCO_FOLDER = Path(__file__).parent.parent / "bundled" / "coco"
"""The bundled detector for real footage."""
_SETTINGS = "detector.json"
_WEIGHTS = "detector.onnx"
_MAX_DETECTIONS = 300
_CALLS_AT_ONCE = 4


def nms(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], max_iou: float
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression.

    Args:
        boxes: `(N, 4)` xyxy.
        scores: `(N,)`.
        max_iou: a box that overlaps a kept, better one by more than this is dropped.

    Returns:
        Indices that stay, best score first; equal scores keep their order.
    """
    order = np.argsort(-scores, kind="stable")
    overlap = box_iou(boxes[order], boxes[order]) > max_iou
    alive = np.ones(len(order), dtype=bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~overlap[i, i + 1 :]
    return np.asarray(order[alive], dtype=np.int64)


class OnnxDetector:
    """A detector folder: `detector.onnx` with its `detector.json`.

    The network takes `images` float32 `(B, 3, h, w)` RGB 0-255, whole frames resized without
    keeping the aspect, and returns `boxes` `(B, A, 4)` xyxy in input pixels and `scores`
    `(B, A, C)` in 0..1, before non-maximum suppression. B is 1 or free.
    `detector.json`: `{"input_size": [h, w], "class_names": [...], "score_threshold": 0.3,
    "nms_iou": 0.5}`, and optionally `"smallest_object": 0.15`, the side of the smallest objects
    that it was trained on as a share of the frame's: crowds of smaller ones are seen by quarters.

    Attributes:
        n_threads: how many threads of one video call `detect` at once; on a CPU two calls with
            half of the cores each take less time than one after the other with all of them.
    """

    class_names: tuple[str, ...]

    def __init__(
        self, folder: str | Path, *, device: str = "cpu", threads: int | None = None
    ) -> None:
        """Load the folder.

        Args:
            folder: holds the two files.
            device: `"cpu"` or `"cuda"`; without CUDA in ONNX Runtime the CPU is used.
            threads: CPU threads of one call; None shares the cores among `n_threads` calls.

        Raises:
            TrackerError: a file is missing or its content is not as described.
        """
        import onnxruntime

        folder = Path(folder)
        self._opened_as = {"folder": folder, "device": device, "threads": threads}
        settings = _read_settings(folder)
        self.class_names = tuple(settings["class_names"])
        self._input_size = (int(settings["input_size"][0]), int(settings["input_size"][1]))
        self._score_threshold = float(settings["score_threshold"])
        self._nms_iou = float(settings["nms_iou"])
        self._smallest_object = float(settings["smallest_object"])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Idle threads of ONNX Runtime spin by default: between two calls they take the time of
        # the tracker, the decoder and whoever else is on the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        available = onnxruntime.get_available_providers()
        on_gpu = device.startswith("cuda") and "CUDAExecutionProvider" in available
        providers = ["CUDAExecutionProvider"] if on_gpu else []
        providers.append("CPUExecutionProvider")
        cores = _n_cores()
        self.n_threads = 1 if on_gpu else min(_CALLS_AT_ONCE, cores)
        options.intra_op_num_threads = threads or max(1, cores // self.n_threads)
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / _WEIGHTS), options, providers=providers
            )
        except Exception as error:  # onnxruntime has no common base for its errors
            raise TrackerError(
                f"ONNX Runtime cannot load {folder / _WEIGHTS}: {first_line(error)}"
            ) from error
        self._fixed_batch = self._check_network(folder)

    def __getstate__(self) -> dict[str, Any]:
        return self._opened_as  # A session cannot be copied; it is opened again.

    def __setstate__(self, opened_as: dict[str, Any]) -> None:
        vars(self).update(vars(OnnxDetector(**opened_as)))

    def _check_network(self, folder: Path) -> bool:
        """Whether the batch size is fixed to 1; refuses a network of another form."""
        inputs = {i.name: i.shape for i in self._session.get_inputs()}
        outputs = {o.name for o in self._session.get_outputs()}
        shape = inputs.get("images", [])
        if len(shape) != 4 or set(inputs) != {"images"} or not {"boxes", "scores"} <= outputs:
            raise TrackerError(
                f"{folder / _WEIGHTS} has inputs {inputs} and outputs {sorted(outputs)}; a "
                "detector needs one input images (B, 3, h, w) and outputs boxes and scores"
            )
        if isinstance(shape[0], int) and shape[0] != 1:
            raise TrackerError(
                f"{folder / _WEIGHTS} has a fixed batch of {shape[0]}; export it with a batch "
                "of 1 or a free one"
            )
        return isinstance(shape[0], int)

    def detect(self, frames: Sequence[Pixels]) -> list[Detections]:
        """Objects of each frame, best score first, suppressed per class.

        Args:
            frames: `(H, W, 3)` uint8 RGB each.
        """
        found = self._detect(frames)
        for i, (pixels, whole) in enumerate(zip(frames, found, strict=True)):
            height, width = pixels.shape[:2]
            if is_small_crowd(whole, height, width, self._smallest_object):
                seen = in_quarters(pixels, whole, self._detect)
                found[i] = postprocess(
                    seen.boxes, seen.scores, seen.class_ids, height, width, self._nms_iou
                )
        return found

    def _detect(self, frames: Sequence[Pixels]) -> list[Detections]:
        """What whole frames show."""
        import cv2

        found = []
        step = 1 if self._fixed_batch else max(1, len(frames))
        for first in range(0, len(frames), step):
            batch = frames[first : first + step]
            # Bilinear without antialiasing, as detectors of this family are trained.
            feed = cv2.dnn.blobFromImages(batch, size=self._input_size[::-1])
            boxes, scores = self._session.run(["boxes", "scores"], {"images": feed})
            found += [
                self._read(boxes[i], scores[i], frame.shape[0], frame.shape[1])
                for i, frame in enumerate(batch)
            ]
        return found

    def _read(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], height: int, width: int
    ) -> Detections:
        if scores.shape[1] != len(self.class_names):
            raise TrackerError(
                f"the network scores {scores.shape[1]} classes but {_SETTINGS} names "
                f"{len(self.class_names)}; give one name a class"
            )
        keep = scores.max(axis=1) >= self._score_threshold
        boxes, scores = boxes[keep], scores[keep]
        scale = np.array([width, height, width, height]) / np.array([*self._input_size[::-1]] * 2)
        scaled = (boxes * scale).astype(np.float32)
        best, class_ids = scores.max(axis=1), scores.argmax(axis=1)
        return postprocess(scaled, best, class_ids, height, width, self._nms_iou)


class TransformersDetector:
    """Any object-detection model of transformers, from a folder.

    Only safetensors weights are read and no code of the repository is run.
    """

    class_names: tuple[str, ...]

    def __init__(
        self,
        folder: str | Path,
        *,
        score_threshold: float | None = None,
        device: str = "cpu",
        batch_size: int = 8,
    ) -> None:
        """Load model and image processor.

        Args:
            folder: with the files of a model, such as those of RT-DETRv2 or YOLOS.
            score_threshold: detections below this are not returned, in 0..1; None takes what
                suits the model.
            device: a torch device.
            batch_size: frames of one forward pass, at most.

        Raises:
            TrackerError: nothing usable is there, or a package it needs is missing.
        """
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        try:
            load_processor: Any = AutoImageProcessor.from_pretrained
            self._processor = load_processor(folder, trust_remote_code=False)
            model: Any = AutoModelForObjectDetection.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, device_map=device
            )
        except (OSError, ValueError, ImportError, KeyError) as error:
            raise TrackerError(
                f"Cannot load a transformers object detector from {str(folder)!r}: "
                f"{first_line(error)}; give a folder or Hub id with config.json, "
                "preprocessor_config.json and model.safetensors"
            ) from error
        self._model = model.eval()
        self._device = device
        self._batch_size = batch_size
        self.sure_score = SURE_SCORES.get(model.config.model_type, USUAL_SURE)
        self._score_threshold = (
            weak_score(self.sure_score) if score_threshold is None else score_threshold
        )
        labels = {int(i): str(label) for i, label in model.config.id2label.items()}
        self.class_names = tuple(
            usual_name(labels.get(i, f"class {i}")) for i in range(max(labels) + 1)
        )

    def detect(self, frames: Sequence[Pixels]) -> list[Detections]:
        """Objects of each frame, best score first.

        Args:
            frames: `(H, W, 3)` uint8 RGB each, all of one size.
        """
        found: list[Detections] = []
        for first in range(0, len(frames), self._batch_size):
            found += self._detect_batch(frames[first : first + self._batch_size])
        return found

    def _detect_batch(self, frames: Sequence[Pixels]) -> list[Detections]:
        import torch

        sizes = [frame.shape[:2] for frame in frames]
        # Resized where the model is: on a CPU that takes longer than the network on a GPU.
        inputs = self._processor(images=list(frames), return_tensors="pt", device=self._device)
        with torch.inference_mode(), half_precision(self._device):
            outputs = self._model(**inputs.to(self._device))
        results = self._processor.post_process_object_detection(
            in_full(outputs), threshold=self._score_threshold, target_sizes=sizes
        )
        found = []
        for (height, width), result in zip(sizes, results, strict=True):
            boxes, scores, labels = (
                result[key].float().cpu().numpy() for key in ("boxes", "scores", "labels")
            )
            found.append(postprocess(boxes, scores, labels.astype(np.int64), height, width, 0.7))
        return found


def in_full(outputs: Any) -> Any:
    """A transformers detector's outputs in float32: 16 bits do not tell pixels above 2048 apart."""
    outputs.logits, outputs.pred_boxes = outputs.logits.float(), outputs.pred_boxes.float()
    return outputs


def postprocess(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    height: int,
    width: int,
    max_iou: float,
) -> Detections:
    """Clip to the frame, drop empty and non-finite boxes, suppress within each class."""
    limits = np.array([width, height, width, height], dtype=np.float32)
    boxes = np.clip(boxes.reshape(-1, 4), 0, limits)
    whole = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    whole &= (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
    index = np.flatnonzero(whole)
    index = index[np.argsort(-scores[index], kind="stable")[:_MAX_DETECTIONS]]
    # Moving every class to its own place lets one pass suppress within classes only.
    apart = boxes[index] + (class_ids[index, None] * (max(height, width) + 1)).astype(np.float32)
    index = index[nms(apart, scores[index], max_iou)]
    return Detections(
        boxes=boxes[index].astype(np.float32),
        scores=scores[index].astype(np.float32),
        class_ids=class_ids[index].astype(np.int64),
    )


def _n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def detector_classes(folder: Path) -> tuple[str, ...]:
    """What the detector of a folder can tell apart; empty where the folder holds none."""
    if not (folder / _SETTINGS).is_file():
        return ()
    return tuple(_read_settings(folder)["class_names"])


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / _SETTINGS
    missing = [name for name in (_SETTINGS, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise TrackerError(
            f"The detector folder {folder} has no {' and no '.join(missing)}; it must hold "
            f"{_SETTINGS} and {_WEIGHTS}"
        )
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrackerError(f"{path} is not JSON: {error}; write it anew") from error
    if not isinstance(settings, dict):
        raise TrackerError(f"{path} holds {type(settings).__name__}; it must hold an object")
    settings = {"smallest_object": 0.0, **settings}
    size, names = settings.get("input_size"), settings.get("class_names")
    if not (
        isinstance(size, list) and len(size) == 2 and all(_is_number(v, 1, 8192) for v in size)
    ):
        raise TrackerError(
            f"input_size in {path} is {size!r}; it must be [height, width] in pixels"
        )
    if not (isinstance(names, list) and names and all(isinstance(n, str) for n in names)):
        raise TrackerError(f"class_names in {path} must be a list of names, got {names!r:.80}")
    for key in ("score_threshold", "nms_iou", "smallest_object"):
        if not _is_number(settings.get(key), 0, 1):
            raise TrackerError(f"{key} in {path} is {settings.get(key)!r}; it must be in 0..1")
    return settings


def _is_number(value: Any, low: float, high: float) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and low <= value <= high
