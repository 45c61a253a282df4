"""A detector of your own: `python examples/own_detector.py`.

A detector is any object with `class_names` and `detect(frames)`. The one below knows the empty
street and takes what stands out from it for a person; linking, numbering and answering are the
package's. Who stands still becomes background, so the answer begins later than with the bundled
detector.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from stvg_r1_hub import STVGPipeline, example_video
from stvg_r1_hub.config import SamplingConfig, TrackingConfig
from stvg_r1_hub.structures import Detections
from stvg_r1_hub.tracking import DetectionTracker
from stvg_r1_hub.video import read_frames


class Movers:
    """Finds upright things that differ from the background of a camera at rest."""

    class_names = ("person",)

    def __init__(self, background: np.ndarray) -> None:
        """Keep the background, `(H, W, 3)` RGB."""
        self._background = background.astype(np.float32)

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        """Boxes of each `(H, W, 3)` uint8 RGB frame, in its pixels."""
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: np.ndarray) -> Detections:
        differs = (np.abs(frame - self._background).max(axis=2) > 28).astype(np.uint8)
        differs = cv2.morphologyEx(differs, cv2.MORPH_OPEN, np.ones((3, 3)))
        differs = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((15, 5)))
        _, _, blobs, _ = cv2.connectedComponentsWithStats(differs)
        left, top, width, height, area = blobs[1:].T  # the first one is the background
        person = (height > 40) & (height > 1.2 * width) & (area > 400)
        boxes = np.stack([left, top, left + width, top + height], axis=1)[person]
        return Detections(
            boxes=boxes.astype(np.float32),
            scores=np.full(len(boxes), 0.9, np.float32),
            class_ids=np.zeros(len(boxes), np.int64),
        )


def main() -> None:
    street = example_video("street")
    empty = np.median(read_frames(street, SamplingConfig()).pixels, axis=0)
    tracker = DetectionTracker(Movers(empty), TrackingConfig(), name="movers")
    pipeline = STVGPipeline.from_pretrained("tiny", tracker=tracker)
    result = pipeline("the person walking to the left", street)
    print(f"{len(result.tracks.tracks)} objects, found by {result.tracks.tracker!r}")
    print(result)


if __name__ == "__main__":
    main()
