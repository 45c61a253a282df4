"""The models and trackers that a page offers: each loaded once, shared by all visitors."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.device import pick_device
from stvg_r1_hub.errors import ModelError, STVGError, TrackerError
from stvg_r1_hub.hub import load_bundle
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.segmentation import load_segmenter
from stvg_r1_hub.tracking import TRACKERS, Tracker, load_tracker
from stvg_r1_hub.web.reach import PUBLISHED

BUNDLED = "tiny"
TRACKER_LABELS = {
    "auto": "what fits the video and this machine",
    "coco": "bundled COCO detector, fast on a CPU",
    "rtdetr": "RT-DETRv2, fast on a GPU",
    "open": "Grounding DINO, looks for what you describe",
    "yolo": "YOLOv12-x",
    "yolo-world": "YOLO-World, looks for what you describe",
    "yoloe": "YOLOE, looks for what you describe",
    "paper": "YOLOv12-x and SAM 2 as in the paper, slow",
    "paper-coco": "bundled COCO detector and SAM 2, slow",
}
MODEL_LABELS = {
    PUBLISHED: "the paper's model (STVG-R1, 7B)",
    BUNDLED: "small built-in model, quick on any machine",
}
MAX_TRACKERS = 4
"""Trackers with other settings than a model's own that are kept loaded."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What a visitor may choose; None leaves it as the model was trained."""

    model: str
    tracker: str = "auto"
    masks: bool = False
    max_objects: int | None = None
    sample_fps: float | None = None
    """Frames a second that the language model sees."""
    total_pixels: int | None = None
    """Pixels that all of these frames share."""
    detect_fps: float | None = None
    passes: int | str = 1
    """How often the video is looked at, one of `looking.PASSES`."""
    score_threshold: float | None = None
    start_seconds: float | None = None
    """From here on the video is looked at; None is its start."""
    end_seconds: float | None = None
    """Up to here; None is its end."""

    def within(self, duration_seconds: float) -> Settings:
        """The same, and bounds that leave nothing of a video out are none."""
        start, end = self.start_seconds or None, self.end_seconds
        if end is not None and end >= duration_seconds:
            end = None
        return replace(self, start_seconds=start, end_seconds=end)


def default_models() -> tuple[str, ...]:
    """With a GPU the published checkpoint and the bundled one, else the bundled one alone."""
    return (BUNDLED,) if pick_device("auto") == "cpu" else (PUBLISHED, BUNDLED)


def tracker_of(model: str, tracker: str, config: TrackingConfig, device: str) -> Tracker:
    """Load a tracker by name; `"auto"` may be the model's own."""
    loaded, _ = load_tracker(
        tracker,
        config=config,
        bundle=load_bundle(model).detector_home,
        device=device,
        segmenter=partial(load_segmenter, device=device),
    )
    return loaded


class ModelRegistry:
    """Models by name, with the trackers that visitors asked for."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        device: str = "auto",
        adapt: Callable[[str, STVGPipeline], STVGPipeline] | None = None,
        adapt_tracker: Callable[[Tracker, Settings, TrackingConfig], Tracker] | None = None,
    ) -> None:
        """Offer models; nothing is loaded yet.

        Args:
            names: as `STVGPipeline.from_pretrained` takes them; the first is the default.
            device: where they run.
            adapt: changes a model once it is loaded, given its name.
            adapt_tracker: changes a tracker that was chosen.
        """
        self.names = tuple(dict.fromkeys(names))
        self.trackers = TRACKERS
        self.device = device
        self._adapt = adapt
        self._adapt_tracker = adapt_tracker
        self._loaded: dict[str, STVGPipeline] = {}
        self._problems: dict[str, STVGError] = {}
        self._trackers: OrderedDict[Settings, Tracker] = OrderedDict()
        self._locks = {name: threading.Lock() for name in self.names}
        self._trackers_lock = threading.Lock()
        # One each, so that whoever waits for a download holds up nobody who wants another one.
        self._tracker_locks = {name: threading.Lock() for name in TRACKERS}

    def load(self, name: str) -> STVGPipeline:
        """A model, loaded when it is not yet; whoever comes meanwhile waits for it.

        Raises:
            ModelError: not on this page, or it cannot be loaded.
            TrackerError: its tracker cannot.
        """
        if name not in self.names:
            raise ModelError(
                f"The model {name!r} is not offered here; there is {', '.join(self.names)}."
            )
        with self._locks[name]:
            if name in self._loaded:
                return self._loaded[name]
            if name in self._problems:
                raise self._problems[name]
            try:
                pipeline = STVGPipeline.from_pretrained(name, device=self.device)
            except STVGError as error:
                self._problems[name] = error
                raise
            if self._adapt is not None:
                pipeline = self._adapt(name, pipeline)
            self._loaded[name] = pipeline
            return pipeline

    def load_in_background(self) -> threading.Thread:
        """Start to load all models, the default first, while the page is already there."""

        def run() -> None:
            for name in self.names:
                try:
                    self.load(name)
                except STVGError as error:
                    _LOG.warning("%s", error)

        thread = threading.Thread(target=run, name="load-models", daemon=True)
        thread.start()
        return thread

    def pipeline(self, settings: Settings) -> tuple[STVGPipeline, list[str]]:
        """The model with a visitor's settings, and what should be said about them.

        Raises:
            ConfigError: a setting that is not allowed.
            ModelError: the model is not here or cannot be loaded.
            TrackerError: the tracker cannot.
        """
        base = self.load(settings.model)
        if settings.masks:
            base.segmenter()  # Loaded, or missing, before anybody waits in line.
        sampling, detection = base.config.sampling, base.config.tracking
        notes = []
        if settings.sample_fps not in (None, sampling.fps):
            notes.append(
                f"The model sees {settings.sample_fps:g} frames a second; it was trained with "
                f"{sampling.fps:g}."
            )
            sampling = replace(sampling, fps=settings.sample_fps)
        if settings.total_pixels not in (None, sampling.total_pixels):
            notes.append(
                f"The frames share {settings.total_pixels / 1e6:.2g} million pixels; the model was "
                f"trained with {sampling.total_pixels / 1e6:.2g} million."
            )
            sampling = replace(sampling, total_pixels=settings.total_pixels)
        detection = replace(
            detection,
            fps=detection.fps if settings.detect_fps is None else settings.detect_fps,
            score_threshold=(
                detection.score_threshold
                if settings.score_threshold is None
                else settings.score_threshold
            ),
        )
        config = replace(base.config, sampling=sampling, tracking=detection)
        if settings.tracker not in self.trackers:
            # Never a path or an address: what a stranger names is not looked for.
            raise TrackerError(
                f"The tracker {settings.tracker!r} is not offered here; there is "
                f"{', '.join(self.trackers)}."
            )
        tracker = None
        if settings.tracker != "auto" or detection != base.config.tracking:
            tracker = self._tracker(detection, settings)
        return base.replace(config=config, tracker=tracker), notes

    def _tracker(self, config: TrackingConfig, settings: Settings) -> Tracker:
        """The tracker of these settings, kept for the next visitor who wants the same."""
        key = Settings(
            settings.model,
            settings.tracker,
            detect_fps=settings.detect_fps,
            score_threshold=settings.score_threshold,
        )
        with self._tracker_locks[settings.tracker]:
            tracker = self._trackers.get(key)
            if tracker is None:
                device = pick_device(self.device)
                tracker = tracker_of(settings.model, settings.tracker, config, device)
                if self._adapt_tracker is not None:
                    tracker = self._adapt_tracker(tracker, settings, config)
            with self._trackers_lock:
                self._trackers[key] = tracker
                self._trackers.move_to_end(key)
                while len(self._trackers) > MAX_TRACKERS:
                    self._trackers.popitem(last=False)
            return tracker
