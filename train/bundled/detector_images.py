"""Frames of sprite world with their true boxes, as the detector sees them."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from stvg_r1_hub.sprites.levels import sample_scene
from stvg_r1_hub.sprites.render import render, true_boxes
from stvg_r1_hub.sprites.scene import KINDS
from stvg_r1_hub.structures import Pixels
from train.bundled.sprite_samples import compressed

INPUT_SIDE = 192
"""Pixels of the detector's square input."""
LEVEL_SHARES = {"easy": 0.25, "medium": 0.45, "hard": 0.3}
"""Share of training images of each level."""
MOMENTS = 4
"""Training images drawn from one scene; painting its backdrop costs most."""


class Images(IterableDataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """Endless batches: images, boxes, classes, and the image each box belongs to."""

    def __init__(self, seed: int, batch_size: int, first: int = 0) -> None:
        self.seed, self.batch_size, self.first = seed, batch_size, first

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        if torch.utils.data.get_worker_info() is not None:
            torch.set_num_threads(1)
            cv2.setNumThreads(1)
        number = self.first
        while True:
            images, boxes, classes, owners = [], [], [], []
            for i in range(self.batch_size):
                scene, moment = divmod(number, MOMENTS)
                image, image_boxes, image_classes = draw_image((self.seed, scene), moment)
                images.append(image)
                boxes.append(image_boxes)
                classes += image_classes
                owners += [i] * len(image_classes)
                number += 1
            yield (
                torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
                torch.from_numpy(np.concatenate(boxes)),
                torch.tensor(classes),
                torch.tensor(owners),
            )


def draw_image(
    seed: tuple[int, ...], moment: int = 0, level: str = ""
) -> tuple[Pixels, NDArray[np.float32], list[int]]:
    """One frame at the detector's size, its `(N, 4)` true boxes and class numbers.

    Args:
        seed: of the scene, any non-negative integers.
        moment: which of its frames; another one is drawn at another time.
        level: of sprite world; empty draws one by `LEVEL_SHARES`.
    """
    rng = np.random.default_rng([*seed, 4])
    drawn = str(rng.choice(list(LEVEL_SHARES), p=list(LEVEL_SHARES.values())))
    scene = sample_scene(level or drawn, seed)
    side = int(rng.integers(160, 400))
    rng = np.random.default_rng([*seed, 4, moment])
    seconds = np.array([rng.uniform(0, scene.duration_seconds)])
    frame = next(render(scene, side, seconds.tolist()))
    if rng.random() < 0.5:
        frame = compressed(frame, int(rng.integers(30, 90)))
    frame = np.asarray(cv2.resize(frame, (INPUT_SIDE, INPUT_SIDE)), np.uint8)
    boxes, kinds = [], []
    for thing in scene.objects:
        box, in_view = true_boxes(thing, scene.poses(thing, seconds), INPUT_SIDE)
        if in_view[0]:
            boxes.append(box[0])
            kinds.append(KINDS.index(thing.kind))
    return frame, np.array(boxes, dtype=np.float32).reshape(-1, 4), kinds
