"""Frame stream -> `Tracks`: every object gets a number that it keeps.

`load_tracker` turns what a user names into a `Tracker`. Detection trackers see 8-15 frames a
second, whatever the language model samples; the paper's tracker sees every frame; precomputed
tracks need no frame at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.mask_session import Segmenter
from stvg_r1_hub.tracking.association import DetectionTracker
from stvg_r1_hub.tracking.detectors import COCO_FOLDER, OnnxDetector, TransformersDetector
from stvg_r1_hub.tracking.open_vocabulary import (
    OPEN_MODEL,
    OPEN_MODEL_TYPES,
    OpenVocabularyTracker,
)
from stvg_r1_hub.tracking.paper import PaperTracker
from stvg_r1_hub.tracking.precomputed import (
    PrecomputedTracks,
    is_official_folder,
    load_tracks,
    save_official,
    save_tracks,
    tracks_to_dict,
)
from stvg_r1_hub.tracking.protocols import Detector, Tracker
from stvg_r1_hub.tracking.ultralytics_detector import PAPER_WEIGHTS, UltralyticsDetector

__all__ = [
    "TRACKERS",
    "DetectionTracker",
    "Detector",
    "OnnxDetector",
    "OpenVocabularyTracker",
    "PaperTracker",
    "PrecomputedTracks",
    "Tracker",
    "TransformersDetector",
    "UltralyticsDetector",
    "load_tracker",
    "load_tracks",
    "save_official",
    "save_tracks",
    "tracks_to_dict",
]

TRACKERS = ("auto", "coco", "rtdetr", "open", "yolo", "paper", "paper-coco")
"""What `tracker=` may name, besides detectors' folders and Hub ids, `.pt` files and tracks."""
STRONG_DETECTOR = "PekingU/rtdetr_v2_r50vd"
"""RT-DETRv2, Apache-2.0: what `"auto"` takes on a GPU."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_ALLOWED = f"{', '.join(map(repr, TRACKERS))}, such a path, or a Hub id like 'owner/name'"


def load_tracker(
    tracker: str | Path | Tracker = "auto",
    *,
    config: TrackingConfig,
    bundle: Path | None = None,
    device: str = "cpu",
    local_files_only: bool = False,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    segmenter: Callable[[], Segmenter] | None = None,
) -> tuple[Tracker, str]:
    """Find the tracker that is meant.

    Args:
        tracker: one of `TRACKERS`. `"auto"`: the bundle's own detector where `config.detector`
            names one, else RT-DETRv2 on a CUDA device, else the bundled COCO detector; `"coco"`:
            that one; `"rtdetr"`; `"open"`: Grounding DINO, looks for what the query names;
            `"yolo"`: YOLOv12-x through ultralytics; `"paper"`: YOLOv12-x and SAM 2 as in the
            paper, `"paper-coco"`: the same with the bundled COCO detector. Or the path of a
            detector folder (`detector.onnx` with `detector.json`, or a transformers model), of
            YOLO weights (`.pt`), of a tracks file or of an official mask folder; a Hub id of a
            transformers detector, with fixed classes or open vocabulary; or a ready `Tracker`.
            A path that exists wins over a Hub id.
        config: detection rate, threshold, number of objects.
        bundle: folder of the loaded checkpoint, searched for the detector it names.
        device: torch device; ONNX detectors use CUDA where ONNX Runtime has it.
        local_files_only: never ask the Hub.
        token: for private or gated repositories.
        cache_dir: where downloads are kept.
        segmenter: gives what follows masks, for the paper's tracker.

    Returns:
        The tracker, and one sentence that says the choice.

    Raises:
        TrackerError: nothing of that name, or what is there cannot be used.
        MissingPackageError: ultralytics is needed and not installed.
    """
    if not isinstance(tracker, str | Path):
        if not isinstance(tracker, Tracker):
            raise TrackerError(
                f"{type(tracker).__name__} is no tracker: it needs name, frames_wanted and track"
            )
        return tracker, f"Tracker: {tracker.name}, as given."
    hub: dict[str, Any] = {
        "device": device,
        "local_files_only": local_files_only,
        "token": token,
        "cache_dir": cache_dir,
    }
    asked = tracker
    if tracker == "auto" and config.detector == "auto":
        return _automatic(config, device, hub)
    if tracker == "auto":
        asked = config.detector
        if bundle is not None and asked not in TRACKERS:
            if _inside(bundle, asked):
                asked = bundle / config.detector
            elif not _HUB_ID.fullmatch(asked):
                raise TrackerError(
                    f"Unknown tracker {asked!r} in the settings of {bundle}; allowed are {_ALLOWED}"
                )
    if asked in TRACKERS:
        return _named(str(asked), config, device, hub, segmenter)
    path = Path(asked).expanduser()
    if path.suffix == ".pt" and path.is_file():
        yolo = UltralyticsDetector(path, score_threshold=config.score_threshold, device=device)
        return DetectionTracker(yolo, config, name=path.stem), f"Tracker: the YOLO model {path}."
    if path.is_file() or is_official_folder(path):
        return PrecomputedTracks(path), f"Tracker: precomputed tracks from {path}."
    if (path / "detector.json").is_file() or (path / "detector.onnx").is_file():
        detector = OnnxDetector(path, device=device)
        said = f"the detector in {path} ({len(detector.class_names)} classes)"
        if bundle is not None and path == bundle / config.detector:
            said = f"the model's own detector ({len(detector.class_names)} classes)"
        return DetectionTracker(detector, config, name=path.name), f"Tracker: {said}."
    is_model_folder = (path / "config.json").is_file()
    if is_model_folder or (not path.exists() and _HUB_ID.fullmatch(str(asked))):
        return _transformers(str(path) if is_model_folder else str(asked), config, hub)
    raise TrackerError(_not_found(str(asked), path, bundle))


def _automatic(config: TrackingConfig, device: str, hub: dict[str, Any]) -> tuple[Tracker, str]:
    """The best tracker for the device that can be had, and why."""
    reason = "no GPU is used"
    if device.startswith("cuda"):
        try:
            chosen, _ = _named("rtdetr", config, device, hub, None)
        except TrackerError:
            reason = f"{STRONG_DETECTOR} is out of reach"
        else:
            return chosen, f"Tracker: RT-DETRv2 ({STRONG_DETECTOR}), chosen because a GPU is used."
    chosen, _ = _named("coco", config, device, hub, None)
    return chosen, (
        f"Tracker: the bundled COCO detector (80 everyday classes), chosen because {reason}."
    )


def _named(
    name: str,
    config: TrackingConfig,
    device: str,
    hub: dict[str, Any],
    segmenter: Callable[[], Segmenter] | None,
) -> tuple[Tracker, str]:
    """One of `TRACKERS`, `"auto"` apart."""
    threshold = config.score_threshold
    if name == "rtdetr":
        strong = TransformersDetector(STRONG_DETECTOR, score_threshold=threshold, **hub)
        return DetectionTracker(
            strong, config, name=name
        ), f"Tracker: RT-DETRv2 ({STRONG_DETECTOR})."
    if name == "open":
        chosen = OpenVocabularyTracker(OPEN_MODEL, config=config, **hub)
        return chosen, f"Tracker: {OPEN_MODEL}, which looks for what the query names."
    if name == "yolo":
        yolo = UltralyticsDetector(score_threshold=threshold, device=device)
        return DetectionTracker(yolo, config, name=name), f"Tracker: YOLO ({PAPER_WEIGHTS})."
    if name == "coco":
        coco = OnnxDetector(COCO_FOLDER, device=device)
        return (
            DetectionTracker(coco, config, name=name),
            "Tracker: the bundled COCO detector (80 everyday classes).",
        )
    if segmenter is None:
        raise TrackerError(f"The tracker {name!r} needs a segmenter; give load_tracker one")
    detector: Detector
    if name == "paper":
        detector, of = UltralyticsDetector(device=device), f"YOLO ({PAPER_WEIGHTS})"
    else:
        detector, of = OnnxDetector(COCO_FOLDER, device=device), "the bundled COCO detector"
    masks = segmenter()
    said = f"Tracker: as in the paper, {of} on every 15th frame and {masks.name} between."
    return PaperTracker(detector, masks, config, name=name), said


def _transformers(name: str, config: TrackingConfig, hub: dict[str, Any]) -> tuple[Tracker, str]:
    """A detector of transformers, with fixed classes or with an open vocabulary."""
    from transformers import AutoConfig

    where = {key: value for key, value in hub.items() if key != "device"}
    try:
        found = AutoConfig.from_pretrained(name, trust_remote_code=False, **where)
        model_type = found.model_type
    except (OSError, ValueError, KeyError):
        model_type = ""  # The detector's own loader says what is wrong.
    if model_type in OPEN_MODEL_TYPES:
        chosen = OpenVocabularyTracker(name, config=config, name=name, **hub)
        return chosen, f"Tracker: {name}, which looks for what the query names."
    detector = TransformersDetector(name, score_threshold=config.score_threshold, **hub)
    named = DetectionTracker(detector, config, name=name)
    return named, f"Tracker: the transformers detector {name}."


def _inside(bundle: Path, name: str) -> bool:
    """Whether a bundle has a folder of this name, and not somewhere above itself."""
    folder = (bundle / name).resolve()
    return folder.is_dir() and bundle.resolve() in folder.parents


def _not_found(asked: str, path: Path, bundle: Path | None) -> str:
    places = f"a folder inside {bundle}, " if bundle is not None else ""
    found = "exists but holds none of them" if path.exists() else "does not exist"
    return (
        f"Unknown tracker {asked!r}: looked for {places}a detector folder (detector.json, or "
        f"config.json of a transformers model), a tracks file and a folder of mask_<i>.json, and "
        f"{path} {found}; allowed are {_ALLOWED}"
    )
