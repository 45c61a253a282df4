"""Classes that a detector confuses, so that a flickering label does not break a track.

For COCO these are its own supercategories: a car may be called truck in one frame, but never
becomes a person. The classes of any other detector form a single group, and the majority of a
track's detections names it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_COCO_SUPERCATEGORIES = (
    "person",
    "bicycle,car,motorcycle,airplane,bus,train,truck,boat",
    "traffic light,fire hydrant,stop sign,parking meter,bench",
    "bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe",
    "backpack,umbrella,handbag,tie,suitcase",
    "frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,"
    "tennis racket",
    "bottle,wine glass,cup,fork,knife,spoon,bowl",
    "banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake",
    "chair,couch,potted plant,bed,dining table,toilet",
    "tv,laptop,mouse,remote,keyboard,cell phone",
    "microwave,oven,toaster,sink,refrigerator",
    "book,clock,vase,scissors,teddy bear,hair drier,toothbrush",
)
COCO_GROUPS: dict[str, int] = {
    name: group
    for group, names in enumerate(_COCO_SUPERCATEGORIES, start=1)
    for name in names.split(",")
}
"""Supercategory number of each COCO-80 class, from the annotations of COCO 2017."""


def class_groups(class_names: Sequence[str]) -> NDArray[np.int64]:
    """Group number of each class, `(C,)`: classes of different groups are never one object.

    A detector counts as a COCO one when it knows at least 50 of the 80 names.
    """
    groups = [COCO_GROUPS.get(name, 0) for name in class_names]
    if len(set(class_names) & set(COCO_GROUPS)) < 50:
        groups = [0] * len(class_names)
    return np.array(groups, dtype=np.int64)
