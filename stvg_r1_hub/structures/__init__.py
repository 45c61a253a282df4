"""The records that travel between the stages, one per arrow of the flow.

All of them are frozen and check themselves. Axis letters used everywhere in this package:

* `F` native frames of the video, `T` frames in a sample or track, `N` objects,
* `H`, `W` height and width in pixels.

Frames are uint8 RGB, `(H, W, 3)` each. Boxes are float32 `xyxy` in pixels of the original
frame, right and bottom exclusive. Masks are COCO run-length dicts
`{"size": [H, W], "counts": str}`. Times are seconds since the first video frame; a time range
is half-open: a frame belongs to it when `start <= time < end`. `frame_index` always counts
native frames from 0; `sample_index` counts the frames of a sample.
"""

from stvg_r1_hub.structures.answers import (
    SAYS_NOTHING,
    Alternative,
    Answer,
    Generated,
    Look,
    MarkedFrames,
    Prompt,
    Range,
    Tube,
)
from stvg_r1_hub.structures.notes import Notes, ObjectNote, Segment
from stvg_r1_hub.structures.objects import RLE, Box, Detections, Track, Tracks
from stvg_r1_hub.structures.video import (
    ByValue,
    Frames,
    Pixels,
    Progress,
    SamplingPlan,
    TimedFrame,
    VideoInfo,
)

__all__ = [
    "RLE", "SAYS_NOTHING", "Alternative", "Answer", "Box", "ByValue", "Detections", "Frames",
    "Generated", "Look", "MarkedFrames", "Notes", "ObjectNote", "Pixels", "Progress", "Prompt",
    "Range", "SamplingPlan", "Segment", "TimedFrame", "Track", "Tracks", "Tube", "VideoInfo",
]  # fmt: skip
