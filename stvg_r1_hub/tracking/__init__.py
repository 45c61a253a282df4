"""Frame stream -> `Tracks`: every object gets a number that it keeps.

`load_tracker` turns what a user names into a `Tracker`. Detection trackers see 8-15 frames a
second, whatever the language model samples; precomputed tracks need no frame at all.
"""

from __future__ import annotations

import re
from pathlib import Path

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.tracking.association import DetectionTracker
from stvg_r1_hub.tracking.detectors import COCO_FOLDER, OnnxDetector, TransformersDetector
from stvg_r1_hub.tracking.precomputed import (
    PrecomputedTracks,
    is_official_folder,
    load_tracks,
    save_official,
    save_tracks,
    tracks_to_dict,
)
from stvg_r1_hub.tracking.protocols import Detector, Tracker

__all__ = [
    "DetectionTracker",
    "Detector",
    "OnnxDetector",
    "PrecomputedTracks",
    "Tracker",
    "TransformersDetector",
    "load_tracker",
    "load_tracks",
    "save_official",
    "save_tracks",
    "tracks_to_dict",
]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def load_tracker(
    tracker: str | Path | Tracker = "auto",
    *,
    config: TrackingConfig,
    bundle: Path | None = None,
    device: str = "cpu",
    local_files_only: bool = False,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
) -> tuple[Tracker, str]:
    """Find the tracker that is meant.

    Args:
        tracker: `"auto"`: the bundle's own detector where `config.detector` names one, else the
            bundled COCO detector; `"coco"`; the path of a detector folder (`detector.onnx` with
            `detector.json`, or a transformers model), of a tracks file or of an official mask
            folder; a Hub id of a transformers detector; or a ready `Tracker`. A path that
            exists wins over a Hub id.
        config: detection rate, threshold, number of objects.
        bundle: folder of the loaded checkpoint, searched for the detector it names.
        device: torch device; ONNX detectors use CUDA where ONNX Runtime has it.
        local_files_only: never ask the Hub.
        token: for private or gated repositories.
        cache_dir: where downloads are kept.

    Returns:
        The tracker, and one sentence that says the choice.

    Raises:
        TrackerError: nothing of that name, or what is there cannot be used.
    """
    if not isinstance(tracker, str | Path):
        if not isinstance(tracker, Tracker):
            raise TrackerError(
                f"{type(tracker).__name__} is no tracker: it needs name, frames_wanted and track"
            )
        return tracker, f"Tracker: {tracker.name}, as given."
    asked = tracker
    if tracker == "auto":
        asked = "coco" if config.detector == "auto" else config.detector
        if bundle is not None and asked != "coco":
            if _inside(bundle, asked):
                asked = bundle / config.detector
            elif not _HUB_ID.fullmatch(asked):
                raise TrackerError(
                    f"Unknown tracker {asked!r} in the settings of {bundle}; allowed are 'auto', "
                    "'coco', a folder inside it, or a Hub id like 'owner/name'"
                )
    if asked == "coco":
        detector: Detector = OnnxDetector(COCO_FOLDER, device=device)
        chosen = DetectionTracker(detector, config, name="coco")
        return chosen, "Tracker: the bundled COCO detector (80 everyday classes)."
    path = Path(asked).expanduser()
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
        detector = TransformersDetector(
            asked if not is_model_folder else path,
            score_threshold=config.score_threshold,
            device=device,
            local_files_only=local_files_only,
            token=token,
            cache_dir=cache_dir,
        )
        named = DetectionTracker(detector, config, name=str(asked))
        return named, f"Tracker: the transformers detector {asked}."
    raise TrackerError(_not_found(str(asked), path, bundle))


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
        f"{path} {found}; allowed are 'auto', 'coco', such a path, or a Hub id like "
        "'owner/name'"
    )
