"""What a user names -> a `Tracker`."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import ModelError, TrackerError
from stvg_r1_hub.hub.card import card_data
from stvg_r1_hub.hub.files import HubAccess, model_folder
from stvg_r1_hub.mask_session import Segmenter
from stvg_r1_hub.tracking.association import DetectionTracker
from stvg_r1_hub.tracking.choosing import ChoosingTracker
from stvg_r1_hub.tracking.class_groups import UnknownClassError
from stvg_r1_hub.tracking.detectors import TransformersDetector
from stvg_r1_hub.tracking.interfaces import Detector, Tracker, check_tracker
from stvg_r1_hub.tracking.official_masks import is_official_folder
from stvg_r1_hub.tracking.onnx_detector import COCO_FOLDER, OnnxDetector
from stvg_r1_hub.tracking.open_vocabulary import OpenVocabularyTracker
from stvg_r1_hub.tracking.paper import PaperTracker
from stvg_r1_hub.tracking.precomputed import PrecomputedTracks
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
    "yolo": f"YOLO ({PAPER_WEIGHTS}, AGPL-3.0)",
    "open": f"{OPEN_MODEL}, which looks for what the query names",
    "yolo-world": f"YOLO-World ({YOLO_WORLD_WEIGHTS}, AGPL-3.0), which looks for what the "
    "query names",
    "yoloe": f"YOLOE ({YOLOE_WEIGHTS}, AGPL-3.0), which looks for what the query names",
}
USE_COCO = "take the tracker 'coco', which is bundled"
"""What remains where a detector cannot be fetched."""
_FREE = frozenset("apache-2.0 mit bsd-2-clause bsd-3-clause isc unlicense cc0-1.0".split())
"""Licences that ask for no more than a notice."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_ALLOWED = f"{', '.join(map(repr, TRACKERS))}, the path of one, or a Hub id like 'owner/name'."


def load_tracker(
    tracker: str | Path | Tracker = "auto",
    *,
    config: TrackingConfig,
    bundle: Path | None = None,
    device: str = "cpu",
    access: HubAccess = HubAccess(),
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
        access: how the Hub is asked.
        segmenter: gives what follows masks, for the paper's tracker.

    Returns:
        The tracker, and one sentence that says the choice; empty where the footage will decide,
        which the warnings of its tracks then say.

    Raises:
        TrackerError: nothing of that name, or what is there cannot be used, or it does not know a
            class that is wanted.
        MissingPackageError: ultralytics is needed and not installed.
    """
    if isinstance(tracker, str | Path):
        return _Choice(config, bundle, device, access, segmenter).of(tracker)
    return check_tracker(tracker), f"Tracker: {tracker.name}, as given."


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


@dataclass(frozen=True)
class _Choice:
    """What every tracker is loaded with; the methods return one and a sentence about it."""

    config: TrackingConfig
    bundle: Path | None
    device: str
    access: HubAccess
    segmenter: Callable[[], Segmenter] | None

    def of(self, tracker: str | Path) -> tuple[Tracker, str]:
        """What a user names."""
        if tracker == "auto" and self.config.detector == "auto":
            return self._automatic()
        asked = self._of_bundle() if tracker == "auto" else tracker
        if asked in TRACKERS:
            return self._named(str(asked))
        if tracker != "auto":
            return self._found(asked)
        try:
            found, message = self._found(asked)
        except UnknownClassError as error:
            return self._automatic(f"the model's own detector knows no class {error.class_name!r}")
        return self._or_coco(found, message)

    def _automatic(self, because: str = "") -> tuple[Tracker, str]:
        """The first of `automatic_choices` that can be had, and why it is that one."""
        installed = {"ultralytics"} if importlib.util.find_spec("ultralytics") else set()
        on_gpu = self.device.startswith("cuda")
        because = because or ("a GPU is used" if on_gpu else "no GPU is used")
        *wishes, last = automatic_choices("auto", self.device, installed)
        for name in wishes:
            try:
                chosen, _ = self._named(name)
            except TrackerError:
                because = f"{_DESCRIBED[name]} is out of reach"
            else:
                return chosen, f"Tracker: {_DESCRIBED[name]}, chosen because {because}."
        chosen, _ = self._named(last)
        return chosen, f"Tracker: {_DESCRIBED[last]}, chosen because {because}."

    def _or_coco(self, own: Tracker, message: str) -> tuple[Tracker, str]:
        """A bundle's own ONNX detector beside COCO's, unless one knows all that both would."""
        if not (isinstance(own, DetectionTracker) and isinstance(own.detector, OnnxDetector)):
            return own, message
        detector = OnnxDetector(COCO_FOLDER, device=self.device)
        try:
            coco = DetectionTracker(detector, self.config, name="coco")
        except UnknownClassError:
            return own, message
        if set(coco.class_names) <= set(own.class_names):
            return own, message
        return ChoosingTracker(own, coco), ""

    def _of_bundle(self) -> str | Path:
        """Where the detector that a model's settings name is to be found."""
        detector, bundle = self.config.detector, self.bundle
        if bundle is None or detector in TRACKERS:
            return detector
        folder = (bundle / detector).resolve()
        if folder.is_dir() and bundle.resolve() in folder.parents:  # Not somewhere above it.
            return bundle / detector
        if not _HUB_ID.fullmatch(detector):
            raise TrackerError(
                f"Unknown tracker {detector!r} in the settings of {bundle}; allowed are {_ALLOWED}"
            )
        return detector

    def _named(self, name: str) -> tuple[Tracker, str]:
        """One of `TRACKERS`, `"auto"` apart."""
        if name in ("paper", "paper-coco"):
            return self._as_in_the_paper(name)
        threshold, device = self.config.score_threshold, self.device
        message = f"Tracker: {_DESCRIBED[name]}."
        detector: Detector
        if name in ("yolo-world", "yoloe"):
            weights = YOLO_WORLD_WEIGHTS if name == "yolo-world" else YOLOE_WEIGHTS
            words = UltralyticsOpenDetector(
                weights, score_threshold=threshold, device=device, access=self.access
            )
            return OpenVocabularyTracker(words, self.config, name=name), message
        if name in ("open", "rtdetr"):
            hub_id = OPEN_MODEL if name == "open" else STRONG_DETECTOR
            return self._transformers(hub_id, name)[0], message
        if name == "yolo":
            detector = UltralyticsDetector(score_threshold=threshold, device=device)
        else:
            detector = OnnxDetector(COCO_FOLDER, device=device)
        return DetectionTracker(detector, self.config, name=name), message

    def _as_in_the_paper(self, name: str) -> tuple[Tracker, str]:
        if self.segmenter is None:
            raise TrackerError(f"The tracker {name!r} needs a segmenter; give load_tracker one")
        detector: Detector
        if name == "paper":
            detector, of = UltralyticsDetector(device=self.device), _DESCRIBED["yolo"]
        else:
            detector = OnnxDetector(COCO_FOLDER, device=self.device)
            of = "the bundled COCO detector"
        masks = self.segmenter()
        message = f"Tracker: as in the paper, {of} on every 15th frame and {masks.name} between."
        return PaperTracker(detector, masks, self.config, name=name), message

    def _found(self, asked: str | Path) -> tuple[Tracker, str]:
        """What lies at a path, or under a Hub id."""
        path = Path(asked).expanduser()
        if path.suffix == ".pt" and path.is_file():
            return self._yolo(path)
        if path.is_file() or is_official_folder(path):
            all_used = self.config.class_mode != "all"
            every = "; all of them are used, whatever their class" if all_used else ""
            return PrecomputedTracks(path), f"Tracker: precomputed tracks from {path}{every}."
        if (path / "detector.json").is_file() or (path / "detector.onnx").is_file():
            detector = OnnxDetector(path, device=self.device)
            own = self.bundle is not None and path == self.bundle / self.config.detector
            what = "the model's own detector" if own else f"the detector in {path}"
            message = f"Tracker: {what} ({len(detector.class_names)} classes)."
            return DetectionTracker(detector, self.config, name=path.name), message
        is_model_folder = (path / "config.json").is_file()
        if is_model_folder or (not path.exists() and _HUB_ID.fullmatch(str(asked))):
            model = str(path) if is_model_folder else str(asked)
            return self._transformers(model, name=model)
        raise TrackerError(_not_found(str(asked), path, self.bundle))

    def _yolo(self, path: Path) -> tuple[Tracker, str]:
        """YOLO weights, with fixed classes or with an open vocabulary."""
        model, threshold = load_yolo(path), self.config.score_threshold
        message = f"Tracker: the YOLO model {path}"
        if is_open_vocabulary(model):
            words = UltralyticsOpenDetector(
                path, score_threshold=threshold, device=self.device, model=model, access=self.access
            )
            tracker = OpenVocabularyTracker(words, self.config, name=path.stem)
            return tracker, f"{message}, which looks for what the query names."
        yolo = UltralyticsDetector(path, score_threshold=threshold, device=self.device, model=model)
        return DetectionTracker(yolo, self.config, name=path.stem), f"{message}."

    def _transformers(self, folder_or_id: str, name: str) -> tuple[Tracker, str]:
        """A detector of transformers, with fixed classes or with an open vocabulary."""
        from transformers import AutoConfig

        try:
            folder = model_folder(folder_or_id, self.access, instead=USE_COCO)
        except ModelError as error:
            raise TrackerError(str(error)) from error
        try:
            model_type = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
        except (OSError, ValueError, KeyError):
            model_type = ""  # The detector's own loader says what is wrong.
        threshold, device = self.config.score_threshold, self.device
        if model_type in OPEN_MODEL_TYPES:
            words = TransformersOpenDetector(folder, score_threshold=threshold, device=device)
            message = f"Tracker: {name}, which looks for what the query names."
            return OpenVocabularyTracker(words, self.config, name=name), message + _terms(folder)
        detector = TransformersDetector(folder, score_threshold=threshold, device=device)
        tracker = DetectionTracker(detector, self.config, name=name)
        return tracker, f"Tracker: the transformers detector {name}." + _terms(folder)


def _terms(folder: str) -> str:
    """A sentence about a detector's licence where it asks for more than a notice."""
    data = card_data(folder)
    licence = getattr(data, "license", None) or ()
    names = {licence} if isinstance(licence, str) else set(map(str, licence))
    if names <= _FREE:
        return ""
    if "other" in names:
        names = {str(getattr(data, "license_name", None) or "one of its own")}
    named = ", ".join(sorted(names - _FREE))
    return f" Its licence, {named}, asks for more than Apache-2.0: read it before you use it."


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
