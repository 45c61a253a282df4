"""Frame stream -> `Tracks`: every object gets a number that it keeps.

`load_tracker` turns what a user names into a `Tracker`. Detection trackers see 8-15 frames a
second, whatever the language model samples; the paper's tracker sees every frame; precomputed
tracks need no frame at all.
"""

from __future__ import annotations

from stvg_r1_hub.tracking.association import DetectionTracker
from stvg_r1_hub.tracking.by_name import TRACKERS, load_tracker
from stvg_r1_hub.tracking.choosing import (
    FRAMES_TO_CHOOSE_BY,
    ChoosingSession,
    ChoosingTracker,
)
from stvg_r1_hub.tracking.detectors import TransformersDetector
from stvg_r1_hub.tracking.interfaces import (
    Detector,
    OpenDetector,
    Tracker,
    TrackingSession,
    check_tracker,
)
from stvg_r1_hub.tracking.official_masks import is_official_folder
from stvg_r1_hub.tracking.onnx_detector import OnnxDetector
from stvg_r1_hub.tracking.open_vocabulary import OpenVocabularyTracker
from stvg_r1_hub.tracking.paper import PaperTracker
from stvg_r1_hub.tracking.precomputed import (
    GivenTracks,
    PrecomputedTracks,
    WholeVideoTracks,
    load_tracks,
    save_tracks,
    tracks_to_dict,
)
from stvg_r1_hub.tracking.transformers_open import TransformersOpenDetector
from stvg_r1_hub.tracking.ultralytics_detector import UltralyticsDetector
from stvg_r1_hub.tracking.ultralytics_open import UltralyticsOpenDetector

__all__ = [
    "FRAMES_TO_CHOOSE_BY",
    "TRACKERS",
    "ChoosingSession",
    "ChoosingTracker",
    "DetectionTracker",
    "Detector",
    "GivenTracks",
    "OnnxDetector",
    "OpenDetector",
    "OpenVocabularyTracker",
    "PaperTracker",
    "PrecomputedTracks",
    "Tracker",
    "TrackingSession",
    "TransformersDetector",
    "TransformersOpenDetector",
    "UltralyticsDetector",
    "UltralyticsOpenDetector",
    "WholeVideoTracks",
    "check_tracker",
    "is_official_folder",
    "load_tracker",
    "load_tracks",
    "save_tracks",
    "tracks_to_dict",
]
