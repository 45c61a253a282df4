"""Boxes -> masks: SAM 2.1 follows the objects that a tracker or an answer names.

Two backends with the same weights: transformers, and the `sam2` package (extra `[sam2]`).
`masks_of_tube` is for an answer: the boxes are known, the cost is that of the answered objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import ModelError
from stvg_r1_hub.geometry import box_iou, box_of_mask, encode_mask
from stvg_r1_hub.hub import HubAccess
from stvg_r1_hub.mask_session import Mask, MaskSession, Segmenter
from stvg_r1_hub.segmentation.package_sam2 import PackageSam2
from stvg_r1_hub.segmentation.transformers_sam2 import TransformersSam2
from stvg_r1_hub.structures import Box, TimedFrame, Tube

__all__ = [
    "SEGMENTERS",
    "Mask",
    "MaskSession",
    "PackageSam2",
    "Segmenter",
    "TransformersSam2",
    "check_name",
    "load_segmenter",
    "masks_of_tube",
]

SEGMENTERS = ("auto", "sam2", "sam2-package")
"""What `segmenter=` may name, besides a folder or a Hub id of a SAM 2 video model."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LOST_IOU = 0.3
"""A mask whose box overlaps the tracker's less than this has lost its object."""


def load_segmenter(
    segmenter: str | Path | Segmenter = "auto",
    *,
    device: str = "cpu",
    access: HubAccess = HubAccess(),
) -> Segmenter:
    """Find the segmenter that is meant.

    Args:
        segmenter: `"auto"` or `"sam2"`: SAM 2.1 through transformers, the large one on a CUDA
            device and the tiny one elsewhere; `"sam2-package"`: the same weights through the
            sam2 package; a folder or Hub id of a SAM 2 video model; or a ready `Segmenter`.
        device: a torch device.
        access: how the Hub is asked.

    Raises:
        ModelError: nothing of that name, or it cannot be loaded.
        MissingPackageError: the sam2 package is not installed.
    """
    if not isinstance(segmenter, str | Path):
        if not isinstance(segmenter, Segmenter):
            raise ModelError(f"{type(segmenter).__name__} is no segmenter: it needs name and open.")
        return segmenter
    check_name(segmenter)
    size = "large" if device.startswith("cuda") else "tiny"
    default = f"facebook/sam2.1-hiera-{size}"
    if segmenter == "sam2-package":
        return PackageSam2.from_pretrained(default, device=device, access=access)
    name = default if segmenter in ("auto", "sam2") else str(segmenter)
    return TransformersSam2.from_pretrained(name, device=device, access=access)


def check_name(segmenter: str | Path) -> None:
    """Whether there can be a segmenter of that name; nothing is loaded.

    Raises:
        ModelError: nothing of that name.
    """
    name = str(segmenter)
    if not (name in SEGMENTERS or (name and Path(name).is_dir()) or _HUB_ID.fullmatch(name)):
        raise ModelError(
            f"Unknown segmenter {name!r}; allowed are {', '.join(map(repr, SEGMENTERS))}, a folder "
            "or a Hub id like 'owner/name'."
        )


def masks_of_tube(
    tube: Tube, stream: Iterable[TimedFrame], segmenter: Segmenter, height: int, width: int
) -> Tube:
    """The tube with a mask for every box.

    The first box of an object starts its mask, which is then followed; it starts anew from the
    box where the object was hidden, or where the mask and the tracker no longer agree.

    Args:
        tube: an answer's boxes, by frame.
        stream: exactly the frames that have boxes, in order.
        segmenter: follows the objects.
        height: of the frames, in pixels.
        width: of the frames, in pixels.

    Returns:
        The same boxes, with run-length masks; None stands for an empty mask.
    """
    by_frame: dict[int, list[Box]] = {}
    for box in tube.boxes:
        by_frame.setdefault(box.frame_index, []).append(box)
    session = segmenter.open(height, width, len(by_frame))
    boxes: list[Box] = []
    last_seen: dict[int, int] = {}
    for timed in stream:
        wanted = by_frame[timed.frame_index]
        seen = {box.object_id for box in wanted}
        for object_id, frame in list(last_seen.items()):
            if frame != timed.frame_index - 1 or object_id not in seen:
                session.drop(object_id)
                del last_seen[object_id]
        found = session.next_frame(timed.pixels)
        last_seen.update(dict.fromkeys(seen, timed.frame_index))
        for box in wanted:
            corners = np.array(box.xyxy, dtype=np.float32)
            mask = found.get(box.object_id)
            if mask is None or _is_lost(mask, corners):
                mask = session.add(box.object_id, box=corners)
            boxes.append(replace(box, mask=encode_mask(mask) if mask.any() else None))
    return replace(tube, boxes=tuple(boxes), has_masks=True)


def _is_lost(mask: Mask, box: NDArray[np.float32]) -> bool:
    around = box_of_mask(mask)
    return around is None or float(box_iou([around], [box])[0, 0]) < _LOST_IOU
