"""Classes by name: which are wanted, which are the same, which a detector confuses.

A flickering label must not break a track. For COCO the classes that may be confused are its own
supercategories: a car may be called truck in one frame, but never becomes a person. The classes of
any other detector form a single group, and the majority of a track's detections names it.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import TrackerError

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

_OTHER_NAMES = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
"""Pascal VOC's names, which RT-DETR and others use for COCO's classes."""


class UnknownClassError(TrackerError):
    """A class is wanted that the detector does not know."""

    def __init__(self, class_name: str, known: Sequence[str]) -> None:
        """Say which, and what comes near it."""
        near = difflib.get_close_matches(class_name.lower(), known, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else "."
        super().__init__(
            f"The detector knows no class {class_name!r} among its {len(known)}{meant} The tracker "
            "'open' looks for anything that is named."
        )
        self.class_name = class_name


def usual_name(class_name: str) -> str:
    """COCO's own name of a class, however the detector writes it; other names as they are.

    >>> usual_name("pottedplant"), usual_name("Person"), usual_name("Ghost")
    ('potted plant', 'person', 'Ghost')
    """
    name = class_name.strip().lower()
    name = _OTHER_NAMES.get(name, name)
    return name if name in COCO_GROUPS else class_name


def named_classes(class_mode: str) -> list[str]:
    """The classes that a mode names; none for `"all"` and `"non-person"`.

    >>> named_classes("dog, potted plant"), named_classes("non-person")
    (['dog', 'potted plant'], [])
    """
    if class_mode in ("all", "non-person"):
        return []
    return [name.strip() for name in class_mode.split(",")]


def wanted_class(class_name: str, mode: str) -> bool:
    """Whether objects of a class are tracked; any other mode than two means non-person.

    Source: `should_process_class` of dettrack.py, XiaowZhang00/stvg-r1 @ 0bea9e5.
    """
    if mode == "all":
        return True
    return (class_name == "person") == (mode == "person")


def wanted_classes(class_mode: str, class_names: Sequence[str]) -> NDArray[np.bool_]:
    """Which of a detector's classes are tracked, `(C,)`.

    Args:
        class_mode: `"all"`, `"person"`, `"non-person"`, or names with commas.
        class_names: of the detector.

    Raises:
        UnknownClassError: a name that the detector does not know.
    """
    known = [usual_name(name).lower() for name in class_names]
    if class_mode in ("all", "non-person"):
        return np.array([wanted_class(name, class_mode) for name in known], dtype=bool)
    names = named_classes(class_mode)
    for name in names:
        if usual_name(name).lower() not in known:
            raise UnknownClassError(name, known)
    wanted = {usual_name(name).lower() for name in names}
    return np.array([name in wanted for name in known], dtype=bool)


def class_groups(class_names: Sequence[str]) -> NDArray[np.int64]:
    """Group number of each class, `(C,)`: classes of different groups are never one object.

    A detector counts as a COCO one when it knows at least 50 of the 80 names.
    """
    groups = [COCO_GROUPS.get(name, 0) for name in class_names]
    if len(set(class_names) & set(COCO_GROUPS)) < 50:
        groups = [0] * len(class_names)
    return np.array(groups, dtype=np.int64)
