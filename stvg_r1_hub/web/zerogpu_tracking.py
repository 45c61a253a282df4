"""Tracking and masks on ZeroGPU: frames go in, tracks or masks come out.

Only trackers that need a GPU cross; one that runs on the CPU anyway stays outside. The GPU process
may be older than a visitor's choice, so it loads what it does not have yet.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.geometry import decode_mask, encode_mask
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.segmentation import masks_of_tube
from stvg_r1_hub.structures import (
    RLE,
    Progress,
    TimedFrame,
    Track,
    Tracks,
    Tube,
    VideoInfo,
)
from stvg_r1_hub.tracking import (
    ChoosingTracker,
    DetectionTracker,
    OnnxDetector,
    PrecomputedTracks,
    Tracker,
)
from stvg_r1_hub.video import VideoSource
from stvg_r1_hub.video.source import resize
from stvg_r1_hub.web.models import Settings, tracker_of
from stvg_r1_hub.web.zerogpu import (
    ZeroGPUVLM,
    collect,
    on_gpu,
    pipeline_of,
    register,
    run,
    to_ask_for,
)

MAX_SIDE = 1280
"""Frames cross to the GPU process no larger than this; detectors work on 640 pixels or so."""
MAX_BYTES = 3 * 1024**3
SECONDS_PER_FRAME = {"paper": 0.35, "paper-coco": 0.35}
SECONDS_PER_DETECTED_FRAME = 0.06
SECONDS_PER_MASKED_FRAME = 0.15
"""Guesses, not measured: a GPU of this kind was not at hand."""


@dataclass(frozen=True)
class TrackerKey:
    """What a tracker is loaded from."""

    model: str
    tracker: str
    config: TrackingConfig


_TRACKERS: dict[TrackerKey, Tracker] = {}


def runs_on_cpu(tracker: Tracker) -> bool:
    """Whether nothing would be gained by a GPU: ONNX detectors and tracks that are given."""
    if isinstance(tracker, DetectionTracker):
        return isinstance(tracker.detector, OnnxDetector)
    return isinstance(tracker, ChoosingTracker | PrecomputedTracks)


def _tracker(key: TrackerKey) -> Tracker:
    if key not in _TRACKERS:
        _TRACKERS[key] = tracker_of(key.model, key.tracker, key.config, "cuda")
    return _TRACKERS[key]


def _tracking_seconds(
    key: TrackerKey,
    frames: Sequence[TimedFrame],
    info: VideoInfo,
    query: str | Sequence[str] | None,
) -> int:
    each = SECONDS_PER_FRAME.get(key.tracker, SECONDS_PER_DETECTED_FRAME)
    return to_ask_for(each * len(frames))


@on_gpu(_tracking_seconds)
def _track_on_gpu(
    key: TrackerKey,
    frames: Sequence[TimedFrame],
    info: VideoInfo,
    query: str | Sequence[str] | None,
) -> Generator[Any, None, None]:
    def work(progress: Progress, give: object) -> Tracks:
        session = _tracker(key).start(info, query)
        for done, frame in enumerate(frames, start=1):
            progress("decode/track", done, len(frames))
            session.update(frame)
        return session.finish()

    yield from collect(work)


class ZeroGPUTracker:
    """A tracker whose every video is one call on ZeroGPU."""

    def __init__(self, tracker: Tracker, key: TrackerKey) -> None:
        """Use a tracker that the GPU process can load by its key."""
        self.name, self.class_names = tracker.name, tracker.class_names
        self._tracker = tracker
        self._key = key
        _TRACKERS.setdefault(key, tracker)

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """As the tracker itself wants them."""
        return self._tracker.frames_wanted(info)

    def start(self, info: VideoInfo, query: str | Sequence[str] | None = None) -> ZeroGPUSession:
        """Begin a video."""
        return ZeroGPUSession(self._key, info, query)


class ZeroGPUSession:
    """Frames that wait for their one call."""

    def __init__(self, key: TrackerKey, info: VideoInfo, query: str | Sequence[str] | None) -> None:
        """Use `ZeroGPUTracker.start`."""
        scale = min(1.0, MAX_SIDE / max(info.width, info.height))
        width, height = max(1, round(info.width * scale)), max(1, round(info.height * scale))
        self._key, self._info, self._query = key, info, query
        self._small = replace(info, width=width, height=height)
        self._frames: list[TimedFrame] = []

    def update(self, frame: TimedFrame) -> None:
        """Keep the frame, no larger than it may cross.

        Raises:
            TrackerError: more frames than can cross.
        """
        self._frames.append(_fitted(frame, self._small.width, self._small.height))
        _check_bytes(self._frames)

    def finish(self) -> Tracks:
        """Track the frames on the GPU, and bring the tracks to full size.

        Raises:
            ModelError: no GPU can be had, said in one sentence.
        """
        call = _track_on_gpu(self._key, self._frames, self._small, self._query)
        tracks: Tracks = run(call, None)
        return tracks if self._small.width == self._info.width else _full_size(tracks, self._info)


def _fitted(frame: TimedFrame, width: int, height: int) -> TimedFrame:
    if frame.pixels.shape[:2] == (height, width):
        return frame
    return replace(frame, pixels=resize(frame.pixels, height, width))


def _check_bytes(frames: Sequence[TimedFrame]) -> None:
    if frames and len(frames) * frames[-1].pixels.nbytes > MAX_BYTES:
        raise TrackerError(
            "The video is too long for this choice here: use a shorter one, or the 'coco' "
            "tracker and no masks."
        )


def _gathered(stream: Iterable[TimedFrame]) -> list[TimedFrame]:
    frames: list[TimedFrame] = []
    for frame in stream:
        frames.append(frame)
        _check_bytes(frames)
    return frames


def _full_size(tracks: Tracks, info: VideoInfo) -> Tracks:
    by = np.array([info.width / tracks.width, info.height / tracks.height] * 2, np.float32)

    def grown(track: Track) -> Track:
        masks = None
        if track.masks is not None:
            masks = tuple(_grown_mask(mask, info) for mask in track.masks)
        return replace(track, boxes=track.boxes * by, masks=masks)

    return replace(
        tracks, width=info.width, height=info.height, tracks=tuple(map(grown, tracks.tracks))
    )


def _grown_mask(mask: RLE | None, info: VideoInfo) -> RLE | None:
    import cv2

    if mask is None:
        return None
    size = (info.width, info.height)
    pixels = cv2.resize(decode_mask(mask).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return encode_mask(np.asarray(pixels, dtype=bool))


def _masking_seconds(
    name: str, tube: Tube, frames: Sequence[TimedFrame], height: int, width: int
) -> int:
    return to_ask_for(SECONDS_PER_MASKED_FRAME * len(frames))


@on_gpu(_masking_seconds)
def _segment_on_gpu(
    name: str, tube: Tube, frames: Sequence[TimedFrame], height: int, width: int
) -> Generator[Any, None, None]:
    def work(progress: Progress, give: object) -> Tube:
        def stream() -> Iterable[TimedFrame]:
            for done, frame in enumerate(frames, start=1):
                progress("segment", done, len(frames))
                yield frame

        return masks_of_tube(tube, stream(), pipeline_of(name).segmenter(), height, width)

    yield from collect(work)


class ZeroGPUMasks:
    """All masks of a tube as one call on ZeroGPU."""

    def __init__(self, name: str) -> None:
        """Use the segmenter of a registered model."""
        self.name = name

    def __call__(self, tube: Tube, source: VideoSource) -> Tube:
        """The tube with a mask for every box; only its own frames are decoded and cross."""
        info = source.info
        frames = _gathered(source.stream(tube.frame_indices))
        call = _segment_on_gpu(self.name, tube, frames, info.height, info.width)
        masked: Tube = run(call, None)
        return masked


def on_zerogpu(tracker: Tracker, key: TrackerKey) -> Tracker:
    """The tracker on ZeroGPU, or as it is when it needs no GPU."""
    return tracker if runs_on_cpu(tracker) else ZeroGPUTracker(tracker, key)


def adapt_tracker(tracker: Tracker, settings: Settings, config: TrackingConfig) -> Tracker:
    """A chosen tracker, for `models.ModelRegistry`."""
    return on_zerogpu(tracker, TrackerKey(settings.model, settings.tracker, config))


def adapt(name: str, pipeline: STVGPipeline) -> STVGPipeline:
    """The same pipeline with all that needs a GPU on ZeroGPU."""
    register(name, pipeline)
    return pipeline.replace(
        tracker=on_zerogpu(pipeline.tracker, TrackerKey(name, "auto", pipeline.config.tracking)),
        vlm=None if pipeline.config.reads_notes else ZeroGPUVLM(name),  # Reading needs no GPU.
        mask_maker=ZeroGPUMasks(name),
    )
