"""Frames -> boxes by any object-detection model of transformers; and what every detector needs."""

from __future__ import annotations

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
from stvg_r1_hub.tracking.score_scale import SURE_SCORES, USUAL_SURE, weak_score

_MAX_DETECTIONS = 300


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
