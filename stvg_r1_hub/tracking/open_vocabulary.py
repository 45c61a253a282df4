"""Trackers that look for what is asked: Grounding DINO, OWLv2 and their like.

A fish or a forklift can be an answer although no fixed list of classes holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.structures import Detections, Pixels, Progress, TimedFrame, Tracks, VideoInfo
from stvg_r1_hub.tracking.association import DetectionTracker
from stvg_r1_hub.tracking.detectors import tidy
from stvg_r1_hub.tracking.query_nouns import query_nouns

OPEN_MODEL = "IDEA-Research/grounding-dino-tiny"
"""Apache-2.0."""
OPEN_MODEL_TYPES = ("grounding-dino", "mm-grounding-dino", "owlv2", "owlvit")


class OpenVocabularyTracker:
    """Tracks the things that the query names."""

    def __init__(
        self,
        folder_or_id: str | Path = OPEN_MODEL,
        *,
        config: TrackingConfig,
        name: str = "open",
        device: str = "cpu",
        local_files_only: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        """Load a zero-shot object detector of transformers.

        Args:
            folder_or_id: such as `"google/owlv2-base-patch16-ensemble"`.
            config: detection rate, threshold, number of objects.
            name: for messages.
            device: a torch device.
            local_files_only: never ask the network.
            token: for private or gated repositories.
            cache_dir: where downloads are kept.

        Raises:
            TrackerError: nothing usable is there.
        """
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        self.name = name
        self._config = config
        common: dict[str, Any] = {
            "local_files_only": local_files_only,
            "token": token,
            "cache_dir": cache_dir,
            "trust_remote_code": False,
        }
        try:
            self._processor: Any = AutoProcessor.from_pretrained(str(folder_or_id), **common)
            model = AutoModelForZeroShotObjectDetection.from_pretrained(
                str(folder_or_id), use_safetensors=True, **common
            )
        except (OSError, ValueError, ImportError, KeyError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise TrackerError(
                f"Cannot load an open-vocabulary detector from {str(folder_or_id)!r}: {reason}; "
                f"give a folder or Hub id of one such as {OPEN_MODEL}"
            ) from error
        self._model: Any = model.to(device).eval()

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """As `DetectionTracker`."""
        return self._tracker(["object"]).frames_wanted(info)

    def track(
        self,
        stream: Iterable[TimedFrame],
        info: VideoInfo,
        *,
        query: str | None = None,
        progress: Progress | None = None,
    ) -> Tracks:
        """Track what the query names; see `DetectionTracker.track`.

        Raises:
            TrackerError: there is no query.
        """
        if not query:
            raise TrackerError(
                f"The tracker {self.name!r} looks for what is asked, but got no query; "
                "give one to open() or track(), or take a tracker with fixed classes such as 'coco'"
            )
        tracker = self._tracker(query_nouns(query))
        return tracker.track(stream, info, query=query, progress=progress)

    def _tracker(self, nouns: list[str]) -> DetectionTracker:
        detector = _NamedThings(self._model, self._processor, nouns, self._config.score_threshold)
        return DetectionTracker(detector, self._config, name=self.name)


class _NamedThings:
    """A detector whose classes are the given words."""

    def __init__(self, model: Any, processor: Any, nouns: list[str], threshold: float) -> None:
        self.class_names = tuple(nouns)
        self._model = model
        self._processor = processor
        self._threshold = threshold

    def detect(self, frames: Sequence[Pixels]) -> list[Detections]:
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: Pixels) -> Detections:
        import torch

        words = list(self.class_names)
        inputs = self._processor(images=frame, text=[words], return_tensors="pt")
        inputs = inputs.to(self._model.device)
        with torch.inference_mode():
            outputs = self._model(**inputs)
        height, width = frame.shape[:2]
        (result,) = self._processor.post_process_grounded_object_detection(
            outputs,
            **({"input_ids": inputs["input_ids"]} if self._reads_phrases else {}),
            threshold=self._threshold,
            target_sizes=[(height, width)],
            text_labels=[words],
        )
        labels = result.get("text_labels")
        labels = result["labels"] if labels is None else labels
        boxes, scores = (result[key].float().cpu().numpy() for key in ("boxes", "scores"))
        class_ids = np.array([self._class_of(label) for label in labels], dtype=np.int64)
        return tidy(boxes, scores, class_ids, height, width, 0.7)

    @property
    def _reads_phrases(self) -> bool:
        return "grounding-dino" in self._model.config.model_type

    def _class_of(self, label: Any) -> int:
        """The word that a detector's own label means; it may join several, or cut one."""
        if not isinstance(label, str):
            return int(label)
        for i, word in enumerate(self.class_names):
            if word in label or (label and label in word):
                return i
        return 0
