"""Frames -> boxes by a detector folder on ONNX Runtime.

The bundled COCO-80 detector and the sprite-world detector have this form.
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

from stvg_r1_hub.errors import TrackerError, first_line
from stvg_r1_hub.structures import Detections, Pixels
from stvg_r1_hub.tracking.detectors import postprocess
from stvg_r1_hub.tracking.quarters import in_quarters, is_small_crowd

COCO_FOLDER = Path(__file__).parent.parent / "bundled" / "coco"
"""The bundled detector for real footage."""
_SETTINGS = "detector.json"
_WEIGHTS = "detector.onnx"
_CALLS_AT_ONCE = 4


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
