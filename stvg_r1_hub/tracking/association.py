"""Detector + association: `DetectionTracker`, the tracker for any video.

Every frame is detected and looked at as it comes; then, with the whole clip known, boxes are linked
to short tracklets by ByteTrack (roboflow `trackers`), joined to objects (`stitching`) and finished
(`finishing`). All state belongs to the session, so nothing is shared between videos.
Objects are associated within a scene and within a group of classes that are easily confused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.geometry import box_area
from stvg_r1_hub.structures import Detections, TimedFrame, Tracks, VideoInfo
from stvg_r1_hub.tracking.appearance import appearance_of, cut_patches, find_cuts, thumbnail
from stvg_r1_hub.tracking.class_groups import class_groups, wanted_classes
from stvg_r1_hub.tracking.detectors import nms
from stvg_r1_hub.tracking.finishing import drop_false, finish, smooth
from stvg_r1_hub.tracking.interfaces import Detector
from stvg_r1_hub.tracking.score_scale import score_limits
from stvg_r1_hub.tracking.stitching import Tracklet, stitch

_BATCH = 8
"""Frames that are detected together, by all threads."""
_HAIR_SECONDS = 1e-6
_DOUBLE_IOU = 0.7
"""Two detections of confusable classes that overlap more are one object."""
_LINK_IOU = 0.5
_LINK_SECONDS = 0.2
_LINK_STEPS = 2.2
"""A tracklet ends after so much time, or so many steps, without a detection."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """The detections of one frame with what is needed to associate them; n of them."""

    frame: int
    time: float
    boxes: NDArray[np.float64]
    """`(n, 4)` xyxy."""
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    appearance: NDArray[np.float32]
    """`(n, L)`."""
    visible_fraction: NDArray[np.float64]
    """`(n,)` share of each box that no other covers."""
    thumbnail: NDArray[np.uint8]
    """The frame, as `find_cuts` compares it."""

    def part(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Sighting:
        """The chosen detections alone."""
        arrays = ("boxes", "scores", "class_ids", "appearance", "visible_fraction")
        return replace(self, **{name: getattr(self, name)[index] for name in arrays})


class DetectionTracker:
    """Tracks every object that a detector can see.

    Attributes:
        detector: gives boxes for frames.
        class_names: all that the detector knows, also what is not wanted.
        groups: `(C,)`, the group of each class; classes of two groups are never one object.
        sure_score: an object begins with a detection of at least this score.
    """

    def __init__(
        self, detector: Detector, config: TrackingConfig, *, name: str, remark: str = ""
    ) -> None:
        """Wrap a detector.

        Args:
            detector: gives boxes for frames.
            config: detection rate, threshold, classes.
            name: for messages, such as `"coco"`.
            remark: a sentence for the warnings of everything that is tracked.

        Raises:
            UnknownClassError: a class is wanted that the detector does not know.
        """
        self.name = name
        self.detector = detector
        self.class_names = detector.class_names
        self.remark = remark
        self._config = config
        self.groups = class_groups(detector.class_names)
        self._wanted = wanted_classes(config.class_mode, detector.class_names)
        self._weak, self.sure_score = score_limits(detector, config)

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """Native frames at the configured rate, see `frames_at`."""
        return frames_at(self._config.fps, info)

    def start(self, info: VideoInfo, query: str | Sequence[str] | None = None) -> DetectionSession:
        """Begin a video; the query is not used, every object is tracked."""
        return DetectionSession(self, info)

    def detect(
        self, frames: Sequence[TimedFrame], seen: Mapping[int, Detections]
    ) -> list[Detections]:
        """What is to be tracked in each frame: the wanted classes, each object once.

        Args:
            frames: of one video.
            seen: native frame to what the detector has given for it already.
        """
        new = [frame for frame in frames if frame.frame_index not in seen]
        raw = self.detector.detect([frame.pixels for frame in new]) if new else []
        known = {**seen, **{f.frame_index: found for f, found in zip(new, raw, strict=True)}}
        return [self._without_doubles(frame, known[frame.frame_index]) for frame in frames]

    def _without_doubles(self, timed: TimedFrame, found: Detections) -> Detections:
        """Detections of wanted classes above the threshold, each object once."""
        keep = np.flatnonzero((found.scores >= self._weak) & self._wanted[found.class_ids])
        # Groups far apart from one another: doubles are removed within a group only.
        apart = self.groups[found.class_ids[keep]] * (max(timed.pixels.shape) + 1)
        moved = found.boxes[keep] + apart[:, None].astype(np.float32)
        keep = keep[nms(moved, found.scores[keep], _DOUBLE_IOU)]
        return Detections(found.boxes[keep], found.scores[keep], found.class_ids[keep])


class DetectionSession:
    """One video of a `DetectionTracker`: frames are looked at as they come, linked at the end."""

    def __init__(
        self, tracker: DetectionTracker, info: VideoInfo, seen: Mapping[int, Detections] = {}
    ) -> None:
        """Use `DetectionTracker.start`; `seen` is as in `DetectionTracker.detect`."""
        self._tracker = tracker
        self._info = info
        self._seen = seen
        self._batch: list[TimedFrame] = []
        self._n_threads = getattr(tracker.detector, "n_threads", 1)
        self._threads = ThreadPoolExecutor(self._n_threads, thread_name_prefix="detect")
        self._looks: deque[Future[list[Sighting]]] = deque()
        self._sightings: list[Sighting] = []

    def __del__(self) -> None:
        # Where a video is given up, nobody waits for the looks that have not begun.
        self._threads.shutdown(wait=False, cancel_futures=True)

    def update(self, frame: TimedFrame) -> None:
        """See the next frame; detectors are asked about a few at a time, while others come."""
        self._batch.append(frame)
        if len(self._batch) == max(1, _BATCH // self._n_threads):
            self._begin_look()
            self._take_looks(self._n_threads)

    def finish(self) -> Tracks:
        """Tracks with IDs 1..N by first appearance; none when nothing was seen."""
        self._begin_look()
        self._take_looks(0)
        self._threads.shutdown()
        sightings, sure = self._sightings, self._tracker.sure_score
        shots = np.array([seen.thumbnail for seen in sightings])
        cuts = find_cuts(shots) if len(shots) > 1 else []
        objects: list[Tracklet] = []
        for first, stop in zip([0, *cuts], [*cuts, len(sightings)], strict=True):
            scene = sightings[first:stop]
            found = self._associate(scene)
            objects += drop_false(found, min_score=sure, n_detected_frames=len(scene))
        tracks = finish(
            [smooth(t) for t in objects], self._info, self._tracker.class_names, len(sightings)
        )
        remarks = (self._tracker.remark,) if self._tracker.remark else ()
        return replace(tracks, warnings=(*tracks.warnings, *remarks))

    def _begin_look(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        # What was seen is added to by others: the thread gets its own part of it.
        seen = {
            f.frame_index: self._seen[f.frame_index] for f in batch if f.frame_index in self._seen
        }
        self._looks.append(self._threads.submit(look_at, self._tracker, batch, seen))

    def _take_looks(self, unfinished: int) -> None:
        """Wait until no more than so many looks are under way."""
        while len(self._looks) > unfinished:
            self._sightings += self._looks.popleft().result()

    def _associate(self, scene: list[Sighting]) -> list[Tracklet]:
        times = np.array([s.time for s in scene])
        # The slower parts of a video with a variable frame rate set the patience.
        step = float(np.quantile(np.diff(times), 0.75)) if len(times) > 1 else 1.0
        seen = [self._tracker.groups[s.class_ids] for s in scene]
        objects: list[Tracklet] = []
        for group in np.unique(np.concatenate([*seen, np.zeros(0, np.int64)])).tolist():
            own = [s.part(g == group) for s, g in zip(scene, seen, strict=True)]
            objects += self._objects(own, step)
        return objects

    def _objects(self, own: list[Sighting], step: float) -> list[Tracklet]:
        """The objects of one scene and group of classes."""
        start, info = self._tracker.sure_score, self._info
        pieces = link(own, strict_linker(step, start), start)
        return stitch(pieces, width=info.width, height=info.height, step_seconds=step)


def look_at(
    tracker: DetectionTracker, batch: Sequence[TimedFrame], seen: Mapping[int, Detections]
) -> list[Sighting]:
    """Detect and describe some frames: the only step that touches pixels."""
    detected = tracker.detect(batch, seen)
    patches = [cut_patches(f.pixels, found.boxes) for f, found in zip(batch, detected, strict=True)]
    # One computation for all boxes of the batch: NumPy's cost is by the call.
    appearances = appearance_of(np.concatenate(patches))
    ends = np.cumsum([len(cut) for cut in patches])[:-1]
    sightings = []
    for frame, found, seen_as in zip(batch, detected, np.split(appearances, ends), strict=True):
        boxes = found.boxes.astype(np.float64)
        sightings.append(
            Sighting(
                frame=frame.frame_index,
                time=frame.time_seconds,
                boxes=boxes,
                scores=found.scores.astype(np.float64),
                class_ids=found.class_ids,
                appearance=seen_as,
                visible_fraction=visible_fraction(boxes),
                thumbnail=thumbnail(frame.pixels),
            )
        )
    return sightings


def frames_at(fps: float, info: VideoInfo) -> Sequence[int]:
    """The native frames nearest to so many even instants a second, each once, and the last.

    Every k-th frame would be 12.5 a second of a video of 25 where 10 are asked for.
    """
    times = info.frame_times
    instants = np.arange(0.0, times[-1], 1 / fps)
    between = (times[1:] + times[:-1]) / 2
    # Of two frames that are equally near the later one, whatever rounding does to their times.
    nearest = np.searchsorted(between, instants + _HAIR_SECONDS)
    return [int(i) for i in np.unique([*nearest, len(times) - 1])]


def visible_fraction(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of each box `(N, 4)` that its worst rival leaves free, `(N,)` in 0..1."""
    if len(boxes) < 2:
        return np.ones(len(boxes))
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    np.fill_diagonal(shared, 0)
    return np.asarray(1 - np.clip(shared.max(axis=1) / np.maximum(box_area(boxes), 1e-9), 0, 1))


def strict_linker(step_seconds: float, start_score: float) -> Any:
    """A new ByteTrack, strict enough to be pure: it gives up early, stitching repairs.

    Args:
        step_seconds: usual time between two detected frames.
        start_score: detections of at least this score begin tracklets; ByteTrack attaches
            weaker ones in its second round.
    """
    from trackers import ByteTrackTracker

    patience = max(_LINK_SECONDS, _LINK_STEPS * step_seconds)
    return ByteTrackTracker(
        lost_track_buffer=max(1, round(30 * patience)),
        frame_rate=1 / step_seconds,
        track_activation_threshold=start_score,
        high_conf_det_threshold=start_score,
        minimum_consecutive_frames=1,
        minimum_iou_threshold=_LINK_IOU,
    )


def link(sightings: Sequence[Sighting], linker: Any, start_score: float) -> list[Tracklet]:
    """Tracklets of what a new tracker of the package `trackers` holds to be one object.

    Args:
        sightings: one a detected frame, in time order.
        linker: such as a `strict_linker`.
        start_score: each detection of at least this score that stays alone is a tracklet of one.
    """
    import supervision

    linked: dict[int, list[tuple[int, int]]] = {}
    alone: list[list[tuple[int, int]]] = []
    for place, seen in enumerate(sightings):
        found = supervision.Detections(
            xyxy=seen.boxes,
            confidence=seen.scores,
            class_id=seen.class_ids,
            data={"index": np.arange(len(seen.boxes))},
        )
        result = linker.update(found, timestamp=seen.time)
        if len(result) == 0 or result.tracker_id is None:
            continue
        for track_id, index in zip(result.tracker_id, result.data["index"], strict=True):
            if track_id >= 0:
                linked.setdefault(int(track_id), []).append((place, int(index)))
            elif seen.scores[index] >= start_score:
                alone.append([(place, int(index))])
    return [_collect(sightings, places) for places in [*linked.values(), *alone]]


def _collect(sightings: Sequence[Sighting], places: Sequence[tuple[int, int]]) -> Tracklet:
    chosen = [(sightings[place], index) for place, index in places]
    return Tracklet(
        frames=np.array([s.frame for s, _ in chosen], dtype=np.int64),
        times=np.array([s.time for s, _ in chosen], dtype=np.float64),
        boxes=np.array([s.boxes[i] for s, i in chosen], dtype=np.float64),
        scores=np.array([s.scores[i] for s, i in chosen], dtype=np.float64),
        class_ids=np.array([s.class_ids[i] for s, i in chosen], dtype=np.int64),
        appearance=np.array([s.appearance[i] for s, i in chosen], dtype=np.float32),
        visible_fraction=np.array([s.visible_fraction[i] for s, i in chosen], dtype=np.float64),
    )
