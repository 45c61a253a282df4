"""What evaluate.py of the official STVG-R1 repository computes, quirks included.

Source: XiaowZhang00/stvg-r1 @ 0bea9e5, described anew; exact agreement is tested. Its quirks, all
kept here and none in our own protocol:

* frame = int(seconds * fps), ranges with both ends included, the union counts one frame more;
* a common range of a single frame, or none, scores 0;
* where the answered object has no box, another object's box is taken (see `_Fallback`), so a wrong
  or unknown ID can still earn vIoU, also with objects that were never drawn for the model;
* boxes of masks end at the last pixel while true boxes end one after it;
* tIoU divides by the hull; an answer and a truth of no length raise, and the sample is dropped;
* recall counts values equal to the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stvg_r1_hub.geometry import box_area, box_iou

PixelBox = tuple[float, float, float, float]
"""xyxy of a mask's first and last pixels."""
FrameObjects = Mapping[int, PixelBox | None]
"""Object ID to its box in one frame, in file order; None for an empty mask."""


def hull_tiou(predicted: tuple[float, float], truth: tuple[float, float]) -> float:
    """Overlap in seconds divided by the hull.

    Raises:
        ZeroDivisionError: both ranges are the same instant.
    """
    overlap = max(0.0, min(predicted[1], truth[1]) - max(predicted[0], truth[0]))
    return overlap / (max(predicted[1], truth[1]) - min(predicted[0], truth[0]))


def spatial_iou(
    predicted: tuple[float, float],
    truth: tuple[float, float],
    object_id: int,
    *,
    fps: float,
    first_frame: int,
    true_boxes: Sequence[PixelBox | None],
    objects: Mapping[int, FrameObjects],
) -> float:
    """The official vIoU of one answered sample.

    Args:
        predicted: answered seconds.
        truth: true seconds.
        object_id: answered ID.
        fps: frames per second of the video.
        first_frame: `st_frame` of the annotation, used as counted from 0.
        true_boxes: xyxy from `st_frame` on; None where the file has no box.
        objects: frame to its objects, for frames that have a mask file.
    """
    ours = int(predicted[0] * fps), int(predicted[1] * fps)
    true = int(truth[0] * fps), int(truth[1] * fps)
    start, end = max(ours[0], true[0]), min(ours[1], true[1])
    if start >= end:
        return 0.0
    union = max(ours[1], true[1]) - min(ours[0], true[0]) + 1
    overlap = [frame for frame in range(start, end + 1) if frame in objects]
    fallback = _Fallback(object_id, {frame: objects[frame] for frame in overlap})
    total = 0.0
    for frame in overlap:
        box = fallback.box(frame)
        index = frame - first_frame
        true_box = true_boxes[index] if 0 <= index < len(true_boxes) else None
        if box is not None and true_box is not None:
            total += _iou(box, true_box)
    return total / union


class _Fallback:
    """The box scored in each frame, asked in ascending order.

    With the ID present, its own box. Else, after such a frame, the object that overlaps the last
    box most, else the largest one, else that last box again. Before the ID was ever seen, the
    object that overlaps its box in the nearest frame most, else that box; it is the last box from
    then on. An ID that never occurs: the largest object.
    """

    def __init__(self, object_id: int, frames: Mapping[int, FrameObjects]) -> None:
        self._id = object_id
        self._frames = frames
        self._present = [frame for frame, objects in frames.items() if object_id in objects]
        self._last: PixelBox | None = None

    def box(self, frame: int) -> PixelBox | None:
        objects = self._frames[frame]
        if self._id in objects:
            self._last = objects[self._id]
            return self._last
        boxes = [box for box in objects.values() if box is not None]
        if self._last is not None:
            return _nearest(boxes, self._last) or _largest(boxes) or self._last
        if not self._present:
            return _largest(boxes)
        closest = min(self._present, key=lambda other: abs(other - frame))
        reference = self._frames[closest][self._id]
        if reference is None:
            return _largest(boxes)
        self._last = _nearest(boxes, reference) or reference
        return self._last


def _iou(a: PixelBox, b: PixelBox) -> float:
    return float(box_iou(a, b)[0, 0])


def _nearest(boxes: Sequence[PixelBox], reference: PixelBox) -> PixelBox | None:
    """The first box of the highest IoU above 0."""
    best, found = 0.0, None
    for box in boxes:
        iou = _iou(box, reference)
        if iou > best:
            best, found = iou, box
    return found


def _largest(boxes: Sequence[PixelBox]) -> PixelBox | None:
    return max(boxes, key=lambda box: float(box_area(box)), default=None)
