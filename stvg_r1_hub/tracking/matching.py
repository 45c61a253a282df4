"""Which detections of a key frame are new objects: the official rules, on masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_SAME_IOU = 0.4
_CONTAINED = 0.6


def wanted_class(class_name: str, mode: str) -> bool:
    """Whether objects of a class are tracked; any other mode than two means non-person.

    Source: `should_process_class` of dettrack.py, XiaowZhang00/stvg-r1 @ 0bea9e5.
    """
    if mode == "all":
        return True
    return (class_name == "person") == (mode == "person")


def match_new_objects(
    existing: Mapping[int, NDArray[np.bool_]], detected: Sequence[NDArray[np.bool_]]
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
