"""Where the time of one question goes: seconds of every stage for a 20 s clip of 1280x720.

    python benchmarks/bench_stages.py                                  # bundled model, CPU
    python benchmarks/bench_stages.py --tracker coco --segmenter random
    python benchmarks/bench_stages.py --model XiaowenZhang/stvg-r1-model-7b --device cuda

The clip is the bundled demo, enlarged and repeated to 20 s at 25 frames a second. Prints a Markdown
table, the median of some runs after one that warms up: on a CPU processor seconds of all threads,
so that a busy machine does not count, on a GPU seconds of the clock. "decode" is all of the video
that is read, "detect" the detector alone, "track" the rest of the tracker; "prefill" ends with the
first token.
`--segmenter random` takes SAM 2.1 tiny with random weights: its masks mean nothing, its time does.
The last line counts the steps of SAM 2 for objects that appear late, one pass against restarts.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench_model import bench_frame_steps

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.segmentation import TransformersSam2, masks_of_tube
from stvg_r1_hub.structures import Box, Pixels, Tracks, Tube
from stvg_r1_hub.tracking import DetectionTracker
from stvg_r1_hub.video import VideoSource, open_video, plan_for, write_video

SECONDS, FPS, WIDTH, HEIGHT = 20, 25, 1280, 720
MASKED_FRAMES = 10
CLOCK = time.process_time
"""On a CPU processor time, so that a busy machine does not count; `main` sets it for a GPU."""
DEMO = Path(__file__).parent.parent / "stvg_r1_hub" / "bundled" / "demo" / "clip.mp4"
STAGES = {
    "decode": "the frames that tracker and model want, from H.264 to RGB",
    "detect": "the detector alone",
    "track": "looks, association, stitching, smoothing",
    "mark": "numbers drawn on the sample",
    "vision": "resizing, patches, vision tower",
    "prefill": "prompt and video to the first token",
    "generate": "the other tokens",
    "parse, assemble": "text to boxes",
}


class TimedDetector:
    """A detector and the seconds that it took."""

    def __init__(self, detector: Any) -> None:
        self.class_names = getattr(detector, "class_names", ())
        self.seconds = 0.0
        self._detector = detector

    def detect(self, frames: Sequence[Pixels]) -> list[Any]:
        started = CLOCK()
        found: list[Any] = self._detector.detect(frames)
        self.seconds += CLOCK() - started
        return found


def make_clip(path: Path) -> None:
    """The demo clip, enlarged, forwards and backwards until it is long enough."""
    import cv2

    with open_video(DEMO) as source:
        shown = [
            cv2.resize(frame.pixels, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
            for frame in source.stream(range(source.info.n_frames))
        ]

    def frames() -> Iterator[Pixels]:
        there_and_back = [*shown, *shown[-2:0:-1]]
        for i in range(SECONDS * FPS):
            yield np.asarray(there_and_back[i % len(there_and_back)], dtype=np.uint8)

    times = [i / FPS for i in range(SECONDS * FPS)]
    write_video(path, frames(), times, duration_seconds=float(SECONDS))


def ask_once(
    pipeline: STVGPipeline, source: VideoSource, query: str
) -> tuple[dict[str, float], Tracks, str]:
    """Seconds of every stage for one question, the tracks, and one line about the sizes."""
    info, tracker = source.info, pipeline.tracker
    wanted = {*tracker.frames_wanted(info), *plan_for(info, pipeline.config.sampling).frame_indices}
    started = CLOCK()
    for _ in source.stream(sorted(wanted)):
        pass
    timings = {"decode": CLOCK() - started}
    own = tracker.detector if isinstance(tracker, DetectionTracker) else None
    detector = TimedDetector(own)
    if isinstance(tracker, DetectionTracker):
        tracker.detector = detector
    started = CLOCK()
    frames, tracks = pipeline.read(source, query=query)
    timings["track"] = CLOCK() - started - timings["decode"] - detector.seconds
    if isinstance(tracker, DetectionTracker) and own is not None:
        tracker.detector = own
        timings["detect"] = detector.seconds
    clock = CLOCK()

    def lap(stage: str) -> None:
        nonlocal clock
        synchronize()
        now = CLOCK()
        timings[stage] = now - clock
        clock = now

    marked = pipeline.mark(frames, tracks)
    lap("mark")
    encoded = pipeline.encode(marked)
    lap("vision")
    tokens = 0

    def count(stage: str, done: int, total: int | None) -> None:
        nonlocal tokens
        if tokens == 0:
            lap("prefill")
        tokens = done

    (text,) = pipeline.ask([query], encoded, progress=count)
    lap("generate")
    pipeline.assemble(pipeline.parse(text), tracks, offered_ids=marked.offered_ids)
    lap("parse, assemble")
    n_tracked = len(tracker.frames_wanted(info))
    sizes = (
        f"{n_tracked} frames for the tracker, {len(tracks)} objects; the model sees "
        f"{len(frames)} frames of {frames.model_width}x{frames.model_height} and writes "
        f"{tokens} tokens"
    )
    return timings, tracks, sizes


def synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def random_sam2(device: str) -> TransformersSam2:
    """The shape of facebook/sam2.1-hiera-tiny."""
    import torch
    from transformers import (
        Sam2ImageProcessor,
        Sam2VideoConfig,
        Sam2VideoModel,
        Sam2VideoProcessor,
        Sam2VideoVideoProcessor,
    )

    torch.manual_seed(0)
    model = Sam2VideoModel(Sam2VideoConfig()).to(device)
    processor = Sam2VideoProcessor(Sam2ImageProcessor(), Sam2VideoVideoProcessor())
    return TransformersSam2(model, processor, name="random SAM 2.1 tiny")


def segment_once(segmenter: Any, source: VideoSource, tracks: Tracks) -> tuple[float, int]:
    """Seconds and frames of the masks of one object in the first frames of its track."""
    track = max(tracks.tracks, key=lambda t: len(t.frame_indices))
    boxes = tuple(
        Box(int(frame), float(tracks.frame_times[frame]), tuple(box), False, track.object_id)
        for frame, box in zip(
            track.frame_indices[:MASKED_FRAMES], track.boxes[:MASKED_FRAMES].tolist(), strict=True
        )
    )
    tube = Tube((track.object_id,), boxes[0].time_seconds, boxes[-1].time_seconds, boxes)
    stream = source.stream([box.frame_index for box in boxes])
    started = CLOCK()
    masks_of_tube(tube, stream, segmenter, source.info.height, source.info.width)
    synchronize()
    return CLOCK() - started, len(boxes)


def show(timings: dict[str, float]) -> None:
    total = sum(timings.values())
    print("| stage | seconds | share | what |")
    print("|---|---|---|---|")
    for stage, what in STAGES.items():
        if stage in timings:
            seconds = timings[stage]
            print(f"| {stage} | {seconds:.2f} | {seconds / total:.0%} | {what} |")
    print(f"| total | {total:.2f} | 100% | one question, everything loaded |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tracker", default="auto")
    parser.add_argument("--segmenter", help="random, or as STVGPipeline takes it (default: none)")
    parser.add_argument("--query", default="the dog")
    parser.add_argument("--video", type=Path, help="another clip than the one made here")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.device != "cpu":
        global CLOCK
        CLOCK = time.perf_counter
    pipeline = STVGPipeline.from_pretrained(
        options.model,
        device=options.device,
        tracker=options.tracker,
        segmenter=options.segmenter if options.segmenter not in (None, "random") else "auto",
    )
    with tempfile.TemporaryDirectory() as folder:
        video = options.video
        if video is None:
            video = Path(folder) / "clip.mp4"
            make_clip(video)
        with open_video(video) as source:
            runs = [ask_once(pipeline, source, options.query) for _ in range(options.repeats + 1)]
            _, tracks, sizes = runs[-1]
            print(f"{source.info}; {options.model} on {options.device}, {machine()}")
            print(*pipeline.warnings, f"{sizes}.\n", sep="\n")
            timings = [run[0] for run in runs[1:] or runs]
            stages = [stage for stage in STAGES if stage in timings[0]]
            show({stage: statistics.median(t[stage] for t in timings) for stage in stages})
            if options.segmenter is not None and len(tracks):
                is_random = options.segmenter == "random"
                segmenter = random_sam2(options.device) if is_random else pipeline.segmenter()
                seconds, n = segment_once(segmenter, source, tracks)
                print(f"\nsegment ({segmenter.name}): {seconds / n:.2f} s a frame and object")
    print()
    bench_frame_steps()


def machine() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {torch.get_num_threads()} thread(s), processor seconds"


if __name__ == "__main__":
    main()
