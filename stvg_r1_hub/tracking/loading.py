"""What a user names -> a `Tracker`."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import ModelError, TrackerError
from stvg_r1_hub.hub.files import model_folder
from stvg_r1_hub.mask_session import Segmenter
from stvg_r1_hub.tracking.association import DetectionTracker
from stvg_r1_hub.tracking.choosing import ChoosingTracker
from stvg_r1_hub.tracking.class_groups import UnknownClassError
from stvg_r1_hub.tracking.detectors import (
    COCO_FOLDER,
    USE_COCO,
    OnnxDetector,
    TransformersDetector,
)
from stvg_r1_hub.tracking.official_masks import is_official_folder
from stvg_r1_hub.tracking.open_vocabulary import OpenVocabularyTracker
from stvg_r1_hub.tracking.paper import PaperTracker
from stvg_r1_hub.tracking.precomputed import PrecomputedTracks
from stvg_r1_hub.tracking.protocols import Detector, Tracker, check_tracker
from stvg_r1_hub.tracking.transformers_open import (
    OPEN_MODEL,
    OPEN_MODEL_TYPES,
    TransformersOpenDetector,
)
from stvg_r1_hub.tracking.ultralytics_detector import (
    PAPER_WEIGHTS,
    UltralyticsDetector,
    load_yolo,
)
from stvg_r1_hub.tracking.ultralytics_open import (
    YOLO_WORLD_WEIGHTS,
    YOLOE_WEIGHTS,
    UltralyticsOpenDetector,
    is_open_vocabulary,
)

TRACKERS = tuple("auto coco rtdetr open yolo yolo-world yoloe paper paper-coco".split())
"""What `tracker=` may name, besides detectors' folders and Hub ids, `.pt` files and tracks."""
STRONG_DETECTOR = "PekingU/rtdetr_v2_r50vd"
"""RT-DETRv2, Apache-2.0: what `"auto"` takes on a GPU."""
_DESCRIBED = {
    "coco": "the bundled COCO detector (80 everyday classes)",
    "rtdetr": f"RT-DETRv2 ({STRONG_DETECTOR})",
    "yolo": f"YOLO ({PAPER_WEIGHTS})",
    "open": f"{OPEN_MODEL}, which looks for what the query names",
    "yolo-world": f"YOLO-World ({YOLO_WORLD_WEIGHTS}), which looks for what the query names",
    "yoloe": f"YOLOE ({YOLOE_WEIGHTS}), which looks for what the query names",
}
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
        tracker: one of `TRACKERS`. `"auto"`: see `automatic_choices`, and where the model's own
            ONNX detector is taken, `ChoosingTracker` asks the footage; `"coco"`: the bundled COCO
            detector; `"rtdetr"`: RT-DETRv2; `"open"`: Grounding DINO, looks for what the query
            names; `"yolo"`, `"yolo-world"`, `"yoloe"`: YOLOv12-x and the two that look for what
            the query names, through ultralytics; `"paper"`: YOLOv12-x and SAM 2 as in the paper,
            `"paper-coco"`: the same with the bundled COCO detector. Or the path of a detector
            folder (`detector.onnx` with `detector.json`, or a transformers model), of YOLO
            weights (`.pt`), of a tracks file or of an official mask folder; a Hub id of a
            transformers detector, with fixed classes or open vocabulary; or a ready `Tracker`.
            A path that exists wins over a Hub id.
        config: detection rate, threshold, classes.
        bundle: folder of the loaded checkpoint, searched for the detector it names.
        device: torch device; ONNX detectors use CUDA where ONNX Runtime has it.
        local_files_only: never ask the Hub.
        token: for private or gated repositories.
        cache_dir: where downloads are kept.
        segmenter: gives what follows masks, for the paper's tracker.

    Returns:
        The tracker, and one sentence that says the choice.

    Raises:
        TrackerError: nothing of that name, or what is there cannot be used, or it does not know a
            class that is wanted.
        MissingPackageError: ultralytics is needed and not installed.
    """
    if not isinstance(tracker, str | Path):
        return check_tracker(tracker), f"Tracker: {tracker.name}, as given."
    hub: dict[str, Any] = {
        "device": device,
        "local_files_only": local_files_only,
        "token": token,
        "cache_dir": cache_dir,
    }
    if tracker == "auto" and config.detector == "auto":
        return _automatic(config, device, hub)
    asked = _of_bundle(config.detector, bundle) if tracker == "auto" else tracker
    if asked in TRACKERS:
        return _named(str(asked), config, device, hub, segmenter)
    if tracker != "auto":
        return _found(asked, config, bundle, device, hub)
    try:
        found, said = _found(asked, config, bundle, device, hub)
    except UnknownClassError as error:
        because = f"the model's own detector knows no class {error.class_name!r}"
        return _automatic(config, device, hub, because)
    return _or_coco(found, said, config, device)


def automatic_choices(detector: str, device: str, installed: Collection[str]) -> tuple[str, ...]:
    """What `tracker="auto"` tries, in this order.

    The model's own detector where its settings name one. Else, with CUDA, RT-DETRv2 and, where
    somebody installed ultralytics, YOLOv12-x; these need a download, so the bundled COCO detector,
    which is quick on a CPU, is what remains.

    >>> automatic_choices("auto", "cpu", {"ultralytics"})
    ('coco',)
    >>> automatic_choices("auto", "cuda:0", {"ultralytics"})
    ('rtdetr', 'yolo', 'coco')

    Args:
        detector: `TrackingConfig.detector` of the model, `"auto"` where it names none.
        device: a torch device.
        installed: optional packages that are there.
    """
    if detector != "auto":
        return (detector,)
    strong = ("rtdetr", "yolo") if "ultralytics" in installed else ("rtdetr",)
    return (*(strong if device.startswith("cuda") else ()), "coco")


def _automatic(
    config: TrackingConfig, device: str, hub: dict[str, Any], because: str = ""
) -> tuple[Tracker, str]:
    """The first of `automatic_choices` that can be had, and why it is that one."""
    installed = {"ultralytics"} if importlib.util.find_spec("ultralytics") else set()
    because = because or ("a GPU is used" if device.startswith("cuda") else "no GPU is used")
    *wishes, last = automatic_choices("auto", device, installed)
    for name in wishes:
        try:
            chosen, _ = _named(name, config, device, hub, None)
        except TrackerError:
            because = f"{_DESCRIBED[name]} is out of reach"
        else:
            return chosen, f"Tracker: {_DESCRIBED[name]}, chosen because {because}."
    chosen, _ = _named(last, config, device, hub, None)
    return chosen, f"Tracker: {_DESCRIBED[last]}, chosen because {because}."


def _or_coco(own: Tracker, said: str, config: TrackingConfig, device: str) -> tuple[Tracker, str]:
    """A bundle's own ONNX detector beside COCO's, unless one knows all that is wanted of both."""
    if not (isinstance(own, DetectionTracker) and isinstance(own.detector, OnnxDetector)):
        return own, said
    try:
        coco = DetectionTracker(OnnxDetector(COCO_FOLDER, device=device), config, name="coco")
    except UnknownClassError:
        return own, said
    if set(coco.class_names) <= set(own.class_names):
        return own, said
    said = f"{said.removesuffix('.')} or {_DESCRIBED['coco']}, whichever fits the footage."
    return ChoosingTracker(own, coco), said


def _of_bundle(detector: str, bundle: Path | None) -> str | Path:
    """Where the detector that a model's settings name is to be found."""
    if bundle is not None and detector not in TRACKERS:
        if _inside(bundle, detector):
            return bundle / detector
        if not _HUB_ID.fullmatch(detector):
            raise TrackerError(
                f"Unknown tracker {detector!r} in the settings of {bundle}; allowed are {_ALLOWED}"
            )
    return detector


def _named(
    name: str,
    config: TrackingConfig,
    device: str,
    hub: dict[str, Any],
    segmenter: Callable[[], Segmenter] | None,
) -> tuple[Tracker, str]:
    """One of `TRACKERS`, `"auto"` apart."""
    if name in ("paper", "paper-coco"):
        return _as_in_the_paper(name, config, device, segmenter)
    threshold = config.score_threshold
    said = f"Tracker: {_DESCRIBED[name]}."
    if name in ("yolo-world", "yoloe"):
        weights = YOLO_WORLD_WEIGHTS if name == "yolo-world" else YOLOE_WEIGHTS
        words = UltralyticsOpenDetector(weights, score_threshold=threshold, **hub)
        return OpenVocabularyTracker(words, config, name=name), said
    if name == "open":
        dino = TransformersOpenDetector(OPEN_MODEL, score_threshold=threshold, **hub)
        return OpenVocabularyTracker(dino, config, name=name), said
    detector: Detector
    if name == "rtdetr":
        detector = TransformersDetector(STRONG_DETECTOR, score_threshold=threshold, **hub)
    elif name == "yolo":
        detector = UltralyticsDetector(score_threshold=threshold, device=device)
    else:
        detector = OnnxDetector(COCO_FOLDER, device=device)
    return DetectionTracker(detector, config, name=name), said


def _as_in_the_paper(
    name: str, config: TrackingConfig, device: str, segmenter: Callable[[], Segmenter] | None
) -> tuple[Tracker, str]:
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


def _found(
    asked: str | Path,
    config: TrackingConfig,
    bundle: Path | None,
    device: str,
    hub: dict[str, Any],
) -> tuple[Tracker, str]:
    """What lies at a path, or under a Hub id."""
    path = Path(asked).expanduser()
    if path.suffix == ".pt" and path.is_file():
        return _yolo(path, config, device, hub)
    if path.is_file() or is_official_folder(path):
        every = "" if config.class_mode == "all" else "; all of them are used, whatever their class"
        return PrecomputedTracks(path), f"Tracker: precomputed tracks from {path}{every}."
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


def _yolo(
    path: Path, config: TrackingConfig, device: str, hub: dict[str, Any]
) -> tuple[Tracker, str]:
    """YOLO weights, with fixed classes or with an open vocabulary."""
    model, threshold = load_yolo(path), config.score_threshold
    said = f"Tracker: the YOLO model {path}"
    if is_open_vocabulary(model):
        words = UltralyticsOpenDetector(path, score_threshold=threshold, model=model, **hub)
        tracker = OpenVocabularyTracker(words, config, name=path.stem)
        return tracker, f"{said}, which looks for what the query names."
    yolo = UltralyticsDetector(path, score_threshold=threshold, device=device, model=model)
    return DetectionTracker(yolo, config, name=path.stem), f"{said}."


def _transformers(name: str, config: TrackingConfig, hub: dict[str, Any]) -> tuple[Tracker, str]:
    """A detector of transformers, with fixed classes or with an open vocabulary."""
    from transformers import AutoConfig

    where = {key: value for key, value in hub.items() if key != "device"}
    try:
        folder = model_folder(name, **where, instead=USE_COCO)
    except ModelError as error:
        raise TrackerError(str(error)) from error
    try:
        found = AutoConfig.from_pretrained(folder, trust_remote_code=False, **where)
        model_type = found.model_type
    except (OSError, ValueError, KeyError):
        model_type = ""  # The detector's own loader says what is wrong.
    threshold = config.score_threshold
    if model_type in OPEN_MODEL_TYPES:
        words = TransformersOpenDetector(folder, score_threshold=threshold, **hub)
        said = f"Tracker: {name}, which looks for what the query names."
        return OpenVocabularyTracker(words, config, name=name), said
    detector = TransformersDetector(folder, score_threshold=threshold, **hub)
    named = DetectionTracker(detector, config, name=name)
    return named, f"Tracker: the transformers detector {name}."


def _inside(bundle: Path, name: str) -> bool:
    """Whether a bundle has a folder of this name, and not somewhere above itself."""
    folder = (bundle / name).resolve()
    return folder.is_dir() and bundle.resolve() in folder.parents


def _not_found(asked: str, path: Path, bundle: Path | None) -> str:
    near = difflib.get_close_matches(asked.lower(), TRACKERS, n=1)
    if near:
        return f"Unknown tracker {asked!r}; did you mean {near[0]!r}? Allowed are {_ALLOWED}"
    places = f"a folder inside {bundle}, " if bundle is not None else ""
    found = "exists but holds none of them" if path.exists() else "does not exist"
    return (
        f"Unknown tracker {asked!r}: looked for {places}a detector folder (detector.json, or "
        f"config.json of a transformers model), a tracks file and a folder of mask_<i>.json, and "
        f"{path} {found}; allowed are {_ALLOWED}"
    )
