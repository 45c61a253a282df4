"""Open-vocabulary detectors of transformers: Grounding DINO, OWLv2 and their like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.device import half_precision
from stvg_r1_hub.errors import TrackerError, first_line
from stvg_r1_hub.structures import Detections, Pixels
from stvg_r1_hub.tracking.detectors import in_full, postprocess
from stvg_r1_hub.tracking.score_scale import SURE_SCORES, USUAL_SURE, weak_score

OPEN_MODEL = "IDEA-Research/grounding-dino-tiny"
"""Apache-2.0."""
OPEN_MODEL_TYPES = ("grounding-dino", "mm-grounding-dino", "owlv2", "owlvit")
_MOST_WORDS = 24
"""Words of one forward pass: Grounding DINO reads 256 tokens at most, dots included."""


class TransformersOpenDetector:
    """A zero-shot object detector of transformers, from a folder.

    Only safetensors weights are read and no code of the repository is run.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        score_threshold: float | None = None,
        device: str = "cpu",
    ) -> None:
        """Load model and processor.

        Args:
            folder: with the files of a model, such as those of Grounding DINO or OWLv2.
            score_threshold: detections below this are not returned, in 0..1; None takes what
                suits the model.
            device: a torch device.

        Raises:
            TrackerError: nothing usable is there.
        """
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        try:
            self._processor: Any = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
            model: Any = AutoModelForZeroShotObjectDetection.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, device_map=device
            )
        except (OSError, ValueError, ImportError, KeyError) as error:
            raise TrackerError(
                f"Cannot load an open-vocabulary detector from {str(folder)!r}: "
                f"{first_line(error)}; give a folder or Hub id of one such as {OPEN_MODEL}"
            ) from error
        self._model = model.eval()
        self._sure_score = SURE_SCORES.get(model.config.model_type, USUAL_SURE)
        self._score_threshold = (
            weak_score(self._sure_score) if score_threshold is None else score_threshold
        )

    def looking_for(self, words: Sequence[str]) -> _NamedThings:
        """A detector whose classes are these words."""
        scores = (self._score_threshold, self._sure_score)
        return _NamedThings(self._model, self._processor, words, *scores)


class _NamedThings:
    """A detector whose classes are the given words."""

    def __init__(
        self, model: Any, processor: Any, words: Sequence[str], threshold: float, sure: float
    ) -> None:
        self.class_names = tuple(words)
        self._model = model
        self._processor = processor
        self.sure_score = sure
        self._threshold = threshold
        # Grounding DINO reads all words as one text; the others read each on its own.
        self._reads_text = "grounding-dino" in model.config.model_type

    def detect(self, frames: Sequence[Pixels]) -> list[Detections]:
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: Pixels) -> Detections:
        parts = [
            self._find(frame, first, self.class_names[first : first + _MOST_WORDS])
            for first in range(0, len(self.class_names), _MOST_WORDS)
        ]
        boxes, scores, class_ids = (np.concatenate(values) for values in zip(*parts, strict=True))
        return postprocess(boxes, scores, class_ids, frame.shape[0], frame.shape[1], 0.7)

    def _find(
        self, frame: Pixels, first: int, words: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Boxes `(N, 4)`, scores and classes of some of the words, the first being `first`."""
        import torch

        listed = list(words)
        inputs = self._processor(images=frame, text=[listed], return_tensors="pt", padding=True)
        inputs = inputs.to(self._model.device)
        with torch.inference_mode(), half_precision(self._model.device):
            outputs = in_full(self._model(**inputs))
        (result,) = self._processor.post_process_grounded_object_detection(
            outputs,
            # A word counts for a box from the same score on as the box itself, else it has no name.
            **(
                {"input_ids": inputs["input_ids"], "text_threshold": self._threshold}
                if self._reads_text
                else {}
            ),
            threshold=self._threshold,
            target_sizes=[frame.shape[:2]],
            text_labels=[listed],
        )
        labels = result.get("text_labels")
        labels = result["labels"] if labels is None else labels
        boxes, scores = (result[key].float().cpu().numpy() for key in ("boxes", "scores"))
        class_ids = [first + _class_of(label, listed) for label in labels]
        return boxes.reshape(-1, 4), scores, np.array(class_ids, dtype=np.int64)


def _class_of(label: Any, words: Sequence[str]) -> int:
    """The word that a detector's own label means; it may join several, or cut one."""
    if not isinstance(label, str):
        return int(label)
    if label in words:
        return words.index(label)
    for i, word in enumerate(words):
        if word in label or (label and label in word):
            return i
    return 0
