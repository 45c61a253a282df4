"""The paper's tracker: detect on every 15th frame, let SAM 2 follow every object's mask.

The official code (dettrack.py) restarts a propagation of all objects through the rest of the
video at every key frame that finds a new one, and writes the masks of the new ones alone. Here
one pass over the frames adds objects as they appear: the same masks, since objects do not
influence one another, at one step an object and frame. An object that a larger one replaces ends
there; in the official code its masks may come back later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.geometry import encode_labels
from stvg_r1_hub.mask_session import Mask, MaskSession, Segmenter
from stvg_r1_hub.structures import RLE, Detections, Pixels, TimedFrame, Track, Tracks, VideoInfo
from stvg_r1_hub.tracking.class_groups import wanted_classes
from stvg_r1_hub.tracking.interfaces import Detector

KEY_FRAME_STEP = 15
"""Native frames from one detection to the next."""
SCORE_THRESHOLD = 0.25
_SAME_IOU = 0.4
_CONTAINED = 0.6


@dataclass
class _Seen:
    """One object while it is followed."""

    class_name: str
    score: float
    masks: dict[int, RLE] = field(default_factory=dict)
    """Native frame -> mask, where it is visible."""
    boxes: dict[int, NDArray[np.float32]] = field(default_factory=dict)


class PaperTracker:
    """Detector and segmenter, put together as the paper does it."""

    def __init__(
        self,
        detector: Detector,
        segmenter: Segmenter,
        config: TrackingConfig,
        *,
        name: str = "paper",
        backward: bool = False,
    ) -> None:
        """Wrap a detector and a segmenter.

        Args:
            detector: finds objects on key frames.
            segmenter: follows them.
            config: `class_mode` says which classes are tracked.
            name: for messages.
            backward: also follow objects that are found late back to the key frame before; the
                official code does not.

        Raises:
            UnknownClassError: a class is wanted that the detector does not know.
        """
        self.name = name
        self.class_names = detector.class_names
        self.segmenter = segmenter
        self.backward = backward
        self._detector = detector
        self._wanted = wanted_classes(config.class_mode, detector.class_names)

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """Every native frame."""
        return range(info.n_frames)

    def start(self, info: VideoInfo, query: str | Sequence[str] | None = None) -> PaperSession:
        """Begin a video; the query is not used, every object of the wanted classes is tracked."""
        return PaperSession(self, info)

    def find(self, pixels: Pixels) -> Detections:
        """What is to be tracked in a key frame, in the detector's order."""
        (found,) = self._detector.detect([pixels])
        keep = (found.scores >= SCORE_THRESHOLD) & self._wanted[found.class_ids]
        return Detections(found.boxes[keep], found.scores[keep], found.class_ids[keep])


class PaperSession:
    """One video of a `PaperTracker`; no frame is kept longer than to the next key frame."""

    def __init__(self, tracker: PaperTracker, info: VideoInfo) -> None:
        """Use `PaperTracker.start`."""
        self._tracker = tracker
        self._info = info
        self._masks = self._open()
        self._objects: dict[int, _Seen] = {}
        self._recent: deque[Pixels] = deque(maxlen=KEY_FRAME_STEP - 1)

    def _open(self) -> MaskSession:
        return self._tracker.segmenter.open(
            self._info.height, self._info.width, self._info.n_frames
        )

    def update(self, frame: TimedFrame) -> None:
        """Follow every object into the next frame; on a key frame also look for new ones."""
        number, pixels = frame.frame_index, frame.pixels
        shown = self._masks.next_frame(pixels)
        if number % KEY_FRAME_STEP == 0:
            shown = _disjoint(shown)
            new = self._find_new(pixels, shown)
            shown = {**shown, **new}
            if self._tracker.backward and self._recent:
                self._follow_back(number, pixels, new)
        self._show(number, shown)
        if self._tracker.backward:
            self._recent.append(pixels)

    def finish(self) -> Tracks:
        """Tracks with masks, disjoint in every frame; IDs as found, by detector order."""
        tracks = []
        for object_id, seen in self._objects.items():
            frames = sorted(seen.masks)
            if frames:
                tracks.append(
                    Track(
                        object_id=object_id,
                        class_name=seen.class_name,
                        score=round(seen.score, 4),
                        frame_indices=np.array(frames, dtype=np.int64),
                        boxes=np.array([seen.boxes[f] for f in frames], dtype=np.float32),
                        interpolated=np.zeros(len(frames), dtype=bool),
                        masks=tuple(seen.masks[f] for f in frames),
                    )
                )
        info = self._info
        n_keys = len(range(0, info.n_frames, KEY_FRAME_STEP))
        warnings = () if tracks else (f"No object was found in {n_keys} key frames.",)
        return Tracks(info.width, info.height, info.frame_times, tuple(tracks), warnings)

    def _find_new(self, pixels: Pixels, shown: dict[int, Mask]) -> dict[int, Mask]:
        """Start what is new on a key frame, and end what it replaces; `shown` is updated."""
        found = self._tracker.find(pixels)
        masks = self._masks.masks_of_boxes(found.boxes)
        kept, given_up = match_new_objects(shown, masks)
        for object_id in given_up:
            self._masks.drop(object_id)
            del shown[object_id]
        new = {}
        for i in kept:
            object_id = len(self._objects) + 1
            new[object_id] = self._masks.add(object_id, mask=masks[i])
            name = self._tracker.class_names[int(found.class_ids[i])]
            self._objects[object_id] = _Seen(name, float(found.scores[i]))
        return new

    def _follow_back(self, frame: int, pixels: Pixels, new: dict[int, Mask]) -> None:
        """Masks of new objects in the frames since the key frame before, latest frame first."""
        if not new:
            return
        session = self._open()
        session.next_frame(pixels)
        for object_id, mask in new.items():
            session.add(object_id, mask=mask)
        for back, earlier in enumerate(reversed(self._recent), start=1):
            self._show(frame - back, session.next_frame(earlier))

    def _show(self, frame: int, masks: dict[int, Mask]) -> None:
        """Keep what is seen of every object; where they overlap, the newest one."""
        ids = sorted(masks)
        labels = np.zeros((self._info.height, self._info.width), np.uint16)
        for number, object_id in enumerate(ids, start=1):
            np.copyto(labels, number, where=masks[object_id])
        for object_id, seen in zip(ids, encode_labels(labels, len(ids)), strict=True):
            if seen is not None:
                kept = self._objects[object_id]
                kept.masks[frame], kept.boxes[frame] = seen


def _disjoint(masks: dict[int, Mask]) -> dict[int, Mask]:
    """Where objects overlap the newest one shows, as in the official label maps."""
    taken: Mask | None = None
    shown = {}
    for object_id in sorted(masks, reverse=True):
        mask = masks[object_id]
        shown[object_id] = mask if taken is None else mask & ~taken
        taken = mask if taken is None else taken | mask
    return {object_id: shown[object_id] for object_id in sorted(shown)}


def match_new_objects(
    existing: Mapping[int, Mask], detected: Sequence[Mask]
) -> tuple[list[int], list[int]]:
    """Compare every detection with every existing object, in order.

    A mask IoU of at least 0.4 means the same object, and the detection is dropped. Otherwise,
    when one of the two holds at least 0.6 of the other, the larger one stays: a smaller existing
    object is given up, a detection that is not larger is dropped. What was given up stays given
    up even when the detection is then dropped for another object. Detections are not compared
    with one another. Source: `filter_masks_by_containment` of dettrack.py,
    XiaowZhang00/stvg-r1 @ 0bea9e5, described anew.

    Args:
        existing: ID to `(H, W)` bool mask, disjoint, oldest first; empty ones are passed over.
        detected: `(H, W)` bool masks.

    Returns:
        Indices of the detections that are new objects, and the IDs that are given up.
    """
    areas = {i: int(mask.sum()) for i, mask in existing.items()}
    alive = [i for i in existing if areas[i]]
    kept = []
    for place, mask in enumerate(detected):
        area = int(mask.sum())
        given_up: set[int] = set()
        is_new = True
        for i in alive:
            shared = int(np.logical_and(existing[i], mask).sum())
            if shared / (areas[i] + area - shared) >= _SAME_IOU:
                is_new = False
                break
            if area and max(shared / areas[i], shared / area) >= _CONTAINED:
                if area <= areas[i]:
                    is_new = False
                    break
                given_up.add(i)
        alive = [i for i in alive if i not in given_up]
        if is_new:
            kept.append(place)
    return kept, [i for i in existing if areas[i] and i not in alive]
