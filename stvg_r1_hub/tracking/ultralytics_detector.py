"""YOLO detectors of the ultralytics package (extra `[yolo]`, AGPL-3.0), loaded when asked for.

Nothing of ours needs it. Its usage statistics are switched off for this process, it installs
nothing by itself, and it stays offline when Hub downloads are switched off.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.errors import TrackerError, first_line, require_package
from stvg_r1_hub.structures import Detections, Pixels
from stvg_r1_hub.tracking.score_scale import SURE_SCORES, weak_score

PAPER_WEIGHTS = "yolo12x.pt"
"""What the paper detects with; ultralytics downloads it when it is first used."""


def load_yolo(weights: str | Path) -> Any:
    """The `ultralytics.YOLO` of some weights, or its `YOLOWorld` or `YOLOE`.

    Args:
        weights: a `.pt`, `.onnx` or `.yaml` file, or a name that ultralytics knows. A `.pt` file
            can run code when it is loaded: take it only from where you trust.

    Raises:
        MissingPackageError: ultralytics is not installed.
        TrackerError: no such weights.
    """
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        os.environ.setdefault("YOLO_OFFLINE", "true")
    ultralytics: Any = require_package("ultralytics", "yolo")
    from ultralytics.utils.events import events

    events.enabled = False
    name = str(weights)
    try:
        return ultralytics.YOLO(name)
    except Exception as error:  # It raises whatever its downloader and unpickler raise.
        raise TrackerError(
            f"Cannot load YOLO weights {name!r}: {first_line(error)}; give an existing .pt or "
            ".onnx file, or a name that ultralytics can download."
        ) from error


class UltralyticsDetector:
    """A YOLO detector, with or without masks, of which the boxes are used."""

    class_names: tuple[str, ...]

    def __init__(
        self,
        weights: str | Path = PAPER_WEIGHTS,
        *,
        score_threshold: float | None = None,
        device: str = "cpu",
        model: Any = None,
        kind: str = "yolo",
    ) -> None:
        """Load weights.

        Args:
            weights: as `load_yolo` takes them.
            score_threshold: detections below this are not returned, in 0..1; None takes what
                suits the kind.
            device: a torch device.
            model: what `load_yolo` returned, to use instead of loading `weights`.
            kind: of `score_scale.SURE_SCORES`.

        Raises:
            MissingPackageError: ultralytics is not installed.
            TrackerError: no such weights, or no detector.
        """
        self._model = load_yolo(weights) if model is None else model
        if self._model.task not in ("detect", "segment"):
            raise TrackerError(
                f"The YOLO model {str(weights)!r} is made for {self._model.task!r}; "
                "give one for detection or segmentation."
            )
        self.sure_score = SURE_SCORES[kind]
        lowest = weak_score(self.sure_score) if score_threshold is None else score_threshold
        half = device.startswith("cuda")
        self._options = {"conf": lowest, "device": device, "half": half, "verbose": False}
        listed = self._model.names
        names = dict(enumerate(listed)) if isinstance(listed, list) else listed
        names = {int(i): str(n) for i, n in names.items()}
        self.class_names = tuple(names.get(i, f"class {i}") for i in range(max(names) + 1))

    def detect(self, frames: Sequence[Pixels]) -> list[Detections]:
        """Objects of each `(H, W, 3)` uint8 RGB frame, in the detector's order."""
        if not len(frames):
            return []
        import cv2

        bgr = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR) for frame in frames]
        found = []
        for result in self._model.predict(bgr, **self._options):
            boxes = result.boxes
            found.append(
                Detections(
                    boxes=boxes.xyxy.cpu().numpy().astype(np.float32).reshape(-1, 4),
                    scores=boxes.conf.cpu().numpy().astype(np.float32),
                    class_ids=boxes.cls.cpu().numpy().astype(np.int64),
                )
            )
        return found
