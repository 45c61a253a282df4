"""Videos in and out: any source becomes a stream of timed frames, results become files.

Reading is one pass: `VideoSource.stream` yields the frames for the tracker and, among them, the
sample that the language model sees (`plan_for`); `SampleBuffer` puts that sample together.
"""

from stvg_r1_hub.video.opening import SampleBuffer, VideoInput, open_video, opened, read_frames
from stvg_r1_hub.video.part import PartSource
from stvg_r1_hub.video.sampling import part_of, plan_for, plan_sampling, thin_sample
from stvg_r1_hub.video.source import VideoSource
from stvg_r1_hub.video.writing import write_video

__all__ = [
    "PartSource",
    "SampleBuffer",
    "VideoInput",
    "VideoSource",
    "open_video",
    "opened",
    "part_of",
    "plan_for",
    "plan_sampling",
    "read_frames",
    "thin_sample",
    "write_video",
]
