"""Crowds of small objects, seen by quarters of the frame."""

from collections.abc import Sequence

import numpy as np
import pytest

from stvg_r1_hub.hub import BUNDLED
from stvg_r1_hub.sprites.clips import SIDE, clip_scene, true_tracks
from stvg_r1_hub.sprites.render import render
from stvg_r1_hub.structures import Detections, Pixels
from stvg_r1_hub.tracking import OnnxDetector
from stvg_r1_hub.tracking.detectors import postprocess
from stvg_r1_hub.tracking.quarters import CROWD, in_quarters, is_small_crowd


def seen(*boxes: Sequence[float]) -> Detections:
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.ones(n, np.float32), np.zeros(n, np.int64)
    )


def bright(frames: Sequence[Pixels]) -> list[Detections]:
    """Bright squares that are at least a tenth of what is shown."""
    import cv2

    found = []
    for frame in frames:
        *_, stats, _ = cv2.connectedComponentsWithStats((frame[..., 0] > 128).astype(np.uint8))
        things = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist()]
        found.append(seen(*(t for t in things if t[2] - t[0] >= 0.1 * frame.shape[1])))
    return found


@pytest.mark.parametrize(
    ("n", "side", "is_crowd"),
    [(CROWD, 14, True), (CROWD - 1, 14, False), (CROWD, 16, False), (0, 0, False), (30, 5, True)],
)
def test_only_many_small_objects_are_a_small_crowd(n: int, side: int, is_crowd: bool) -> None:
    assert is_small_crowd(seen(*[(0, 0, side, side)] * n), 100, 100, 0.15) is is_crowd
    assert not is_small_crowd(seen(*[(0, 0, side, side)] * n), 100, 100, 0.0)


@pytest.mark.parametrize("height", [200, 120])
def test_every_object_is_seen_whole_and_once(height: int) -> None:
    frame = np.zeros((height, 200, 3), np.uint8)
    small = [
        (x, y, x + 14, y + 10) for x in (0, 73, 93, 113, 186) for y in (0, 45, 60, height - 10)
    ]
    large = (20, 14, 70, 40)
    for left, top, right, bottom in [*small, large]:
        frame[top:bottom, left:right] = 255
    (whole,) = bright([frame])
    assert len(whole) == 1, "as a whole the frame shows the large one alone"
    found = in_quarters(frame, whole, bright)
    once = postprocess(found.boxes, found.scores, found.class_ids, height, 200, 0.5)
    assert sorted(map(tuple, once.boxes.tolist())) == sorted([*small, large])


def test_the_bundled_detector_sees_a_crowd() -> None:
    scene = clip_scene("crowd", 3, 0)
    (frame,) = render(scene, SIDE, [0.0])
    (found,) = OnnxDetector(BUNDLED / "tiny" / "detector", threads=1).detect([frame])
    there = [t.boxes[0] for t in true_tracks(scene).tracks if t.frame_indices[0] == 0]
    middles = np.array([(box[:2] + box[2:]) / 2 for box in there])
    inside = (found.boxes[:, None, :2] < middles) & (middles < found.boxes[:, None, 2:])
    assert inside.all(axis=2).any(axis=0).mean() > 0.9
