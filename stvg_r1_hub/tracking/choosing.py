"""Two trackers, of which the footage decides: a model's own, of a special world, and COCO's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import box_iou
from stvg_r1_hub.structures import Detections, Pixels, TimedFrame, Tracks, VideoInfo
from stvg_r1_hub.tracking.association import DetectionSession, DetectionTracker

FRAMES_TO_CHOOSE_BY = 12
"""Frames of a video that decide, spread over it."""
_FRAMES_TO_BEGIN_BY = 4
"""Where the own detector is sure of something in half of so many, the first, it begins."""
_COCO_EVERY = 4
"""COCO's detector takes several times as long, and looks at every so-manieth of them."""
_SURE_OWN, _SURE_COCO = 0.65, 0.7
"""From such a score on the two detectors are sure of a thing."""
_SURE_SHARE = 1 / 6
"""Share of the frames in which the own detector must be sure of something."""
_SAME_IOU = 0.3
"""What COCO's detector sees here is the thing that the own detector sees, by another name."""


class ChoosingTracker:
    """A model's own tracker on footage of its world, COCO's on any other.

    The own tracker is taken where its detector is sure of something in a sixth of the frames, and
    of no fewer things a frame than COCO's detector is sure of beside them. In any other case
    COCO's is taken, also where neither sees a thing.

    A session begins with the one that the first frames ask for, so that a video is decoded once;
    where the others decide against it, `ChoosingSession.chosen` is to be shown the video anew.

    Nothing of one video stays for the next: one of these serves many videos at once.
    """

    def __init__(self, own: DetectionTracker, coco: DetectionTracker) -> None:
        """Hold both; they must be set to the same detection rate.

        Args:
            own: of the model.
            coco: of the bundled COCO detector.
        """
        self.name = f"{own.name} or {coco.name}"
        self.class_names = (*own.class_names, *coco.class_names)
        self.own = own
        self.coco = coco

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """As both trackers want them."""
        return self.coco.frames_wanted(info)

    def start(self, info: VideoInfo, query: str | Sequence[str] | None = None) -> ChoosingSession:
        """Begin a video; the query is not used."""
        return ChoosingSession(self, info)


class Evidence:
    """What both detectors see in some frames, and whose the video therefore is."""

    def __init__(self, tracker: ChoosingTracker) -> None:
        """Begin with no frame."""
        self.own, self.coco = tracker.own, tracker.coco
        self.seen: dict[int, Detections] = {}
        """Native frame to what the own detector gave for it."""
        self._found: list[Detections] = []
        self._shown: list[tuple[Pixels, Detections]] = []

    def look(self, frame: TimedFrame) -> None:
        """Take one more frame; a quarter of them is kept in memory."""
        self._found.append(self.own_things(frame))
        if len(self._found) % _COCO_EVERY == 2:
            self._shown.append((frame.pixels, self._found[-1]))

    def own_things(self, frame: TimedFrame) -> Detections:
        """What the own detector is sure of in a frame."""
        if frame.frame_index not in self.seen:
            (self.seen[frame.frame_index],) = self.own.detector.detect([frame.pixels])
        return _sure(self.seen[frame.frame_index], _SURE_OWN)

    def verdict(self) -> tuple[DetectionTracker, str]:
        """The tracker for these frames, and one sentence that says which it is and why."""
        own, shown = self._found, self._shown
        n_sure = sum(len(found) > 0 for found in own)
        if n_sure == 0 or n_sure < _SURE_SHARE * len(own):
            return self.coco, (
                "Tracker: the bundled COCO detector, because the model's own detector recognises "
                f"its world in {n_sure or 'none'} of {len(own)} frames of this video."
            )
        of_coco = self.coco.detector.detect([pixels for pixels, _ in shown])
        beside = [
            _beside(_sure(found, _SURE_COCO), own_found)
            for found, (_, own_found) in zip(of_coco, shown, strict=True)
        ]
        own_things, coco_things = _names(self.own, own), _names(self.coco, beside)
        if sum(map(len, own)) * len(beside) < sum(map(len, beside)) * len(own):
            return self.coco, (
                f"Tracker: the bundled COCO detector, because it sees more in this video "
                f"({coco_things}) than the model's own detector, which sees {own_things}."
            )
        why = (
            f"Tracker: the model's own detector, because it recognises its world ({own_things}) in "
            f"{n_sure} of {len(own)} frames of this video."
        )
        if coco_things:
            why += f" COCO's detector also sees {coco_things}, which only tracker 'coco' follows."
        return self.own, why


class ChoosingSession:
    """One video of a `ChoosingTracker`.

    Attributes:
        chosen: once it is finished, the tracker that the video asks for.
        begun_with: the one that tracked it.
    """

    chosen: DetectionTracker
    begun_with: DetectionTracker | None = None

    def __init__(self, tracker: ChoosingTracker, info: VideoInfo) -> None:
        """Use `ChoosingTracker.start`."""
        self._tracker, self._info = tracker, info
        self._first: list[TimedFrame] = []
        self._session: DetectionSession
        self._evidence = Evidence(tracker)
        self._deciding = deciding_frames(tracker.frames_wanted(info))

    def update(self, frame: TimedFrame) -> None:
        """See the next frame."""
        if frame.frame_index in self._deciding:
            self._evidence.look(frame)
        if self.begun_with is not None:
            self._session.update(frame)
            return
        self._first.append(frame)
        if len(self._first) == _FRAMES_TO_BEGIN_BY:
            self._begin()

    def _begin(self) -> None:
        n_sure = sum(len(self._evidence.own_things(frame)) > 0 for frame in self._first)
        is_own = 2 * n_sure >= len(self._first) > 0
        self.begun_with = self._tracker.own if is_own else self._tracker.coco
        seen = self._evidence.seen if is_own else {}
        self._session = DetectionSession(self.begun_with, self._info, seen)
        for frame in self._first:
            self._session.update(frame)
        self._first.clear()

    def finish(self) -> Tracks:
        """The tracks of `begun_with`, and why the video is `chosen`'s."""
        if self.begun_with is None:
            self._begin()
        assert self.begun_with is not None
        # COCO's detector looks while the tracks are linked, which takes one core.
        with ThreadPoolExecutor(1) as beside:
            verdict = beside.submit(self._evidence.verdict)
            tracks = self._session.finish()
            self.chosen, why = verdict.result()
        return replace(
            tracks,
            warnings=(why, *tracks.warnings),
            tracker=self.begun_with.name,
            class_names=self.begun_with.class_names,
        )


def deciding_frames(wanted: Sequence[int]) -> list[int]:
    """Of these ascending frames the `FRAMES_TO_CHOOSE_BY` that decide, or all where fewer."""
    parts = 2 * FRAMES_TO_CHOOSE_BY
    return sorted({wanted[part * len(wanted) // parts] for part in range(1, parts, 2)})


def _sure(found: Detections, sure: float) -> Detections:
    """The detections of at least this score."""
    return _part(found, found.scores >= sure)


def _beside(found: Detections, others: Detections) -> Detections:
    """The detections that are at another place than all others."""
    overlap = box_iou(found.boxes, others.boxes).max(axis=1, initial=0.0)
    return _part(found, overlap < _SAME_IOU)


def _part(found: Detections, index: NDArray[np.bool_]) -> Detections:
    return Detections(found.boxes[index], found.scores[index], found.class_ids[index])


def _names(tracker: DetectionTracker, found: Sequence[Detections]) -> str:
    """The classes of these detections, the three most frequent."""
    ids = Counter(int(i) for frame in found for i in frame.class_ids)
    return ", ".join(tracker.class_names[i] for i, _ in ids.most_common(3))
