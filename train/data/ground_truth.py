"""Annotated boxes and tracks in, the number of the annotated object out.

Two votes: the official one, which a checkpoint trained on official data has seen, and the mean
IoU over the annotated tube with a minimum, which also refuses objects that no track follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from stvg_r1_hub.geometry import box_area, box_iou, mask_area
from stvg_r1_hub.marking import kept_by_size, size_kind
from stvg_r1_hub.structures import Tracks

BoxesByFrame = Mapping[int, Mapping[int, ArrayLike]]
"""Native frame to object ID to its `(4,)` xyxy box, right and bottom exclusive, in file order."""


def boxes_by_frame(
    tracks: Tracks, *, min_area_ratio: float = 0.0
) -> dict[int, dict[int, ArrayLike]]:
    """The boxes of the tracks, frame by frame.

    Args:
        tracks: the objects.
        min_area_ratio: leave out, in each frame, objects smaller than this share of the largest
            of their kind: they get no number there (`marking.kept_by_size`).
    """
    frames: dict[int, dict[int, ArrayLike]] = {}
    areas: dict[int, dict[int, float]] = {}
    kinds: dict[int, dict[int, str]] = {}
    for track in tracks.tracks:
        for i, frame in enumerate(track.frame_indices.tolist()):
            mask = track.masks[i] if track.masks is not None else None
            frames.setdefault(frame, {})[track.object_id] = track.boxes[i]
            area = mask_area(mask) if mask is not None else float(box_area(track.boxes[i]))
            areas.setdefault(frame, {})[track.object_id] = area
            kinds.setdefault(frame, {})[track.object_id] = size_kind(track, i)
    for frame, boxes in frames.items():
        kept = kept_by_size(areas[frame], min_area_ratio, kinds[frame])
        frames[frame] = {object_id: boxes[object_id] for object_id in kept}
    return frames


def frame_winners(
    boxes_xywh: Sequence[Sequence[float]], frames: Sequence[int], objects: BoxesByFrame
) -> list[int | None]:
    """The official choice in each annotated frame: highest IoU above 0, the first one of equals.

    The official IoU counts the annotated box as one pixel wider and higher than it is: x + w is
    taken as its last column, and both boxes as inclusive (`compute_best_marker_id` of
    trainjson.py, XiaowZhang00/stvg-r1 @ 0bea9e5).

    Args:
        boxes_xywh: annotated boxes, left, top, width, height in pixels.
        frames: the native frame of each box.
        objects: the tracked objects.
    """
    winners = []
    for frame, (x, y, w, h) in zip(frames, boxes_xywh, strict=True):
        candidates = objects.get(frame, {})
        best_id, best = None, 0.0
        for object_id, box in candidates.items():
            overlap = float(box_iou(np.reshape(box, (1, 4)), [[x, y, x + w + 1, y + h + 1]])[0, 0])
            if overlap > best:
                best_id, best = object_id, overlap
        winners.append(best_id)
    return winners


def official_object_id(
    boxes_xywh: Sequence[Sequence[float]], frames: Sequence[int], objects: BoxesByFrame
) -> int | None:
    """The ID that wins most annotated frames, the earliest one of equals; None without any."""
    seen = [i for i in frame_winners(boxes_xywh, frames, objects) if i is not None]
    return Counter(seen).most_common(1)[0][0] if seen else None
