"""Detectors score on scales of their own: from which score on is an object there?

What is sure to Grounding DINO would be doubtful to DETR, whose classes compete. An object begins
with a detection of the sure score and is continued by weaker ones, down to two thirds of it.
"""

from __future__ import annotations

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.tracking.interfaces import Detector

USUAL_SURE = 0.45
"""Detectors with a sigmoid a class: RT-DETR, D-FINE, RF-DETR, NanoDet; chosen on NanoDet."""
SURE_SCORES = {
    "detr": 0.75,
    "yolos": 0.75,
    "table-transformer": 0.75,
    "grounding-dino": 0.3,
    "mm-grounding-dino": 0.3,
    "owlv2": 0.15,
    "owlvit": 0.15,
    "yolo": 0.25,
    "yolo-world": 0.1,
    "yoloe": 0.25,
}
"""By `model_type` of transformers, or kind of ultralytics. From the examples and default
thresholds of their makers (YOLO also from the official STVG-R1 code), not measured here."""
_SURE_OVER_WEAK = 1.5


def weak_score(sure_score: float) -> float:
    """The lowest score of a detection that continues an object, of a scale.

    >>> weak_score(USUAL_SURE)
    0.3
    """
    return sure_score / _SURE_OVER_WEAK


def score_limits(detector: Detector, config: TrackingConfig) -> tuple[float, float]:
    """The lowest score of a detection that counts, and of one that begins an object.

    Args:
        detector: its `sure_score` where it has one, else the usual one.
        config: its `score_threshold` is the first where it has one, else the detector's own.
    """
    if config.score_threshold is None:
        sure = float(getattr(detector, "sure_score", USUAL_SURE))
        return weak_score(sure), sure
    weak = config.score_threshold
    return weak, min(weak * _SURE_OVER_WEAK, (1 + weak) / 2)
