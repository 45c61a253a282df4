"""Where the time of one question goes: seconds of every stage for a 20 s clip of 1280x720.

    python -m benchmarks.bench_stages                                  # bundled model, CPU
    python -m benchmarks.bench_stages --segmenter random               # and masks of the answer
    python -m benchmarks.bench_stages --tracker paper-coco --segmenter random --seconds 1 \\
        --video /usr/share/doc/opencv-doc/examples/data/vtest.avi --repeats 0
    python -m benchmarks.bench_stages --model XiaowenZhang/stvg-r1-model-7b --device cuda

The clip is the bundled demo, enlarged and repeated to 20 s at 25 frames a second. Prints a Markdown
table, the median of some runs after one that warms up: on a CPU processor seconds of all threads,
so that a busy machine does not count (the frames are decoded in the same thread there, or decoding
would count as what runs beside it), on a GPU seconds of the clock. "wall" is the clock's time of
one call of the pipeline, which decodes ahead. "decode" is all of the video
that is read, "detect" the detector alone, "follow" SAM 2 within the paper's tracker, "track" the
rest of the tracker; "prefill" ends with the first token, and "segment" is what `masks=True` adds.
`--segmenter random` takes SAM 2.1 tiny with random weights: its masks mean nothing, its time does.
The last line counts the steps of SAM 2 for objects that appear late, one pass against restarts.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_model import bench_frame_steps
from stvg_r1_hub import STVGPipeline, reading
from stvg_r1_hub.clip import Clip
from stvg_r1_hub.evaluation.window import WindowSource
from stvg_r1_hub.marking import mark_frames
from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.reading import read_once
from stvg_r1_hub.segmentation import Segmenter, TransformersSam2, masks_of_tube
from stvg_r1_hub.structures import Answer, Pixels, Tracks, Tube, VideoInfo
from stvg_r1_hub.track_selection import fit_to_sample
from stvg_r1_hub.tracking import ChoosingTracker, GivenTracks, Tracker
from stvg_r1_hub.tracking.paper import PaperTracker
from stvg_r1_hub.tube import build_tube
from stvg_r1_hub.video import VideoSource, open_video, write_video
from stvg_r1_hub.vlm.reader import NotesReader

SECONDS, FPS, WIDTH, HEIGHT = 20, 25, 1280, 720
CLOCK = time.process_time
"""On a CPU processor time, so that a busy machine does not count; `main` sets it for a GPU."""
DEMO = Path(__file__).parent.parent / "stvg_r1_hub" / "bundled" / "demo" / "clip.mp4"
STAGES = {
    "decode": "the frames that tracker and model want, from H.264 to RGB, the sample kept",
    "detect": "the detector alone",
    "follow": "SAM 2, every object through every frame",
    "track": "looks, association, stitching, smoothing",
    "mark": "numbers drawn on the sample",
    "vision": "resizing, patches, vision tower",
    "prefill": "prompt and video to the first token",
    "generate": "the other tokens",
    "parse, tube": "text to boxes",
}


class TimedDetector:
    """A detector and the seconds that it took, of the threads that call it where they count."""

    def __init__(self, detector: Any) -> None:
        self.class_names = getattr(detector, "class_names", ())
        self.n_threads = getattr(detector, "n_threads", 1)
        self.calls: list[float] = []
        self._detector = detector
        self._clock = time.thread_time if CLOCK is time.process_time else CLOCK

    def detect(self, frames: Sequence[Pixels]) -> list[Any]:
        started = self._clock()
        found: list[Any] = self._detector.detect(frames)
        self.calls.append(self._clock() - started)
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


class FramesOnly:
    """A tracker that takes the frames of another and tracks nothing: what is left is decoding."""

    name = "frames only"
    class_names = ()

    def __init__(self, tracker: Tracker) -> None:
        self.frames_wanted = tracker.frames_wanted

    def start(self, info: VideoInfo, query: object = None) -> GivenTracks:
        return GivenTracks(Tracks(info.width, info.height, info.frame_times, ()))


class TimedSegmenter:
    """A segmenter, the seconds that it took, and the frames and objects that it saw."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.name = segmenter.name
        self.seconds, self.frames = 0.0, 0
        self._segmenter = segmenter
        self._session: Any = None

    def open(self, height: int, width: int, n_frames: int) -> TimedSegmenter:
        self._session = self._segmenter.open(height, width, n_frames)
        return self

    @property
    def frame_steps(self) -> int:
        return int(self._session.frame_steps)

    def next_frame(self, pixels: Pixels) -> Any:
        self.frames += 1
        return self._timed(self._session.next_frame, pixels)

    def masks_of_boxes(self, boxes: Any) -> Any:
        return self._timed(self._session.masks_of_boxes, boxes)

    def add(self, object_id: int, **given: Any) -> Any:
        return self._timed(self._session.add, object_id, **given)

    def drop(self, object_id: int) -> None:
        self._session.drop(object_id)

    def _timed(self, do: Callable[..., Any], *given: Any, **named: Any) -> Any:
        started = CLOCK()
        done = do(*given, **named)
        synchronize()
        self.seconds += CLOCK() - started
        return done


def ask_once(
    pipeline: STVGPipeline, source: VideoSource, query: str
) -> tuple[dict[str, float], Tracks, Tube, str]:
    """Seconds of every stage for one question, the tracks, the tube, and a line about sizes."""
    info, tracker = source.info, pipeline.tracker
    started = CLOCK()
    read_once(source, pipeline.config.sampling, FramesOnly(tracker))
    timings = {"decode": CLOCK() - started}
    owners = [tracker.own, tracker.coco] if isinstance(tracker, ChoosingTracker) else [tracker]
    found = [(o, n) for o in owners for n in ("detector", "_detector") if hasattr(o, n)]
    detectors = [TimedDetector(getattr(owner, name)) for owner, name in found]
    follower = TimedSegmenter(tracker.segmenter) if isinstance(tracker, PaperTracker) else None
    with ExitStack() as stack:
        for (owner, name), detector in zip(found, detectors, strict=True):
            stack.enter_context(replaced(owner, {name: detector}))
        stack.enter_context(replaced(tracker, {"segmenter": follower} if follower else {}))
        if CLOCK is time.process_time:
            stack.enter_context(replaced(reading, {"_decoded_ahead": lambda frames: frames}))
        started = CLOCK()
        frames, tracks = pipeline.read(source, query=query)
        whole = CLOCK() - started
    detecting = sum(sum(detector.calls) for detector in detectors)
    timings["track"] = whole - timings["decode"] - detecting
    if detectors:
        timings["detect"] = detecting
    if follower is not None:
        timings["track"] -= follower.seconds
        timings["follow"] = follower.seconds
    clock = CLOCK()

    def lap(stage: str) -> None:
        nonlocal clock
        synchronize()
        now = CLOCK()
        timings[stage] = now - clock
        clock = now

    fitted = fit_to_sample(tracks, frames)
    marked = mark_frames(frames, fitted, pipeline.config.marker, in_place=True)
    lap("mark")
    # A reader of notes would look only when it is asked, and there are no notes here.
    vlm = pipeline.vlm.sight if isinstance(pipeline.vlm, NotesReader) else pipeline.vlm
    config = pipeline.config
    clip = Clip(source, tracks, marked, config, vlm, lambda tube, _: tube, config.prompt_id)
    clip.encode()
    lap("vision")
    tokens = 0

    def count(stage: str, done: int, total: int | None) -> None:
        nonlocal tokens
        if tokens == 0:
            lap("prefill")
        tokens = done

    prompt = build_prompt(query, config.prompt_id)
    (text,) = clip.ask([prompt], progress=count)
    lap("generate")
    tube = clip.build_tube(prompt.parse(text))
    lap("parse, tube")
    n_tracked = len(tracker.frames_wanted(info))
    sizes = (
        f"{n_tracked} frames for the tracker, {len(tracks)} objects; the model sees "
        f"{len(frames)} frames of {frames.model_width}x{frames.model_height} and writes "
        f"{tokens} tokens"
    )
    if follower is not None:
        sizes += f"; SAM 2 made {follower.frame_steps} steps in {follower.frames} frames"
    return timings, tracks, tube, sizes


@contextmanager
def replaced(thing: Any, others: Mapping[str, Any]) -> Iterator[None]:
    """Attributes of a thing, replaced for a while."""
    kept = {name: getattr(thing, name) for name in others}
    try:
        for name, other in others.items():
            setattr(thing, name, other)
        yield
    finally:
        for name, own in kept.items():
            setattr(thing, name, own)


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


def segment_once(
    segmenter: Segmenter, source: VideoSource, tube: Tube, n_frames: int
) -> tuple[float, int]:
    """Seconds for the masks of the answered tube in its first frames, and how many these are."""
    frames = tube.frame_indices[:n_frames]
    boxes = tuple(box for box in tube.boxes if box.frame_index <= frames[-1])
    part = dataclasses.replace(tube, boxes=boxes)
    started = CLOCK()
    masks_of_tube(part, source.stream(frames), segmenter, source.info.height, source.info.width)
    synchronize()
    return CLOCK() - started, len(frames)


def show(timings: dict[str, float], wall: float, masks: tuple[float, str] | None) -> None:
    total = sum(timings.values())
    print("| stage | seconds | share | what |")
    print("|---|---|---|---|")
    for stage, what in STAGES.items():
        if stage in timings:
            seconds = timings[stage]
            print(f"| {stage} | {seconds:.2f} | {seconds / total:.0%} | {what} |")
    print(f"| total | {total:.2f} | 100% | one question, everything loaded |")
    print(f"| wall | {wall:.2f} | | the same by the clock, and notes |")
    if masks is not None:
        print(f"| segment | {masks[0]:.2f} | on top | {masks[1]} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tracker", default="auto")
    parser.add_argument("--segmenter", help="random, or as STVGPipeline takes it (default: none)")
    parser.add_argument("--masked-frames", type=int, default=10, help="of the answer, at most")
    parser.add_argument("--query", default="the dog jumping")
    parser.add_argument("--video", type=Path, help="another clip than the one made here")
    parser.add_argument("--seconds", type=float, help="only the beginning of the clip")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.device != "cpu":
        global CLOCK
        CLOCK = time.perf_counter
    segmenter = options.segmenter or "auto"
    pipeline = STVGPipeline.from_pretrained(
        options.model,
        device=options.device,
        tracker=options.tracker,
        segmenter=random_sam2(options.device) if segmenter == "random" else segmenter,
    )
    with tempfile.TemporaryDirectory() as folder:
        video = options.video
        if video is None:
            video = Path(folder) / "clip.mp4"
            make_clip(video)
        with open_video(video) as source:
            clip = WindowSource(source, 0.0, options.seconds) if options.seconds else source
            measure(pipeline, clip, options)
    print()
    bench_frame_steps()


def measure(pipeline: STVGPipeline, source: VideoSource, options: argparse.Namespace) -> None:
    """Ask some times and print the table; masks of the answer where a segmenter was named."""
    runs = [ask_once(pipeline, source, options.query) for _ in range(options.repeats + 1)]
    _, tracks, tube, sizes = runs[-1]
    print(f"{source.info}; {options.model} on {options.device}, {machine()}")
    print(*pipeline.warnings, f"{sizes}.\n", sep="\n")
    walls = []
    for _ in range(options.repeats):
        started = time.perf_counter()
        pipeline(options.query, source, progress=False)
        walls.append(time.perf_counter() - started)
    timings = [run[0] for run in runs[1:] or runs]
    stages = [stage for stage in STAGES if stage in timings[0]]
    masks = None
    if options.segmenter is not None and any(track.masks is None for track in tracks.tracks):
        whose = "the answer's"
        if not tube.boxes:
            tube, whose = stand_in(tracks), "a stand-in answer's (the model named none)"
        segmenter = pipeline.segmenter()
        seconds, n = segment_once(segmenter, source, tube, options.masked_frames)
        of = len(tube.frame_indices)
        masks = seconds, f"masks=True, {segmenter.name}: {n} of {whose} {of} frames"
    median = {stage: statistics.median(t[stage] for t in timings) for stage in stages}
    show(median, statistics.median(walls) if walls else float("nan"), masks)


def stand_in(tracks: Tracks) -> Tube:
    """The longest track for 1.5 s, which is how long the demo's true answer lasts."""
    track = max(tracks.tracks, key=lambda t: len(t.frame_indices))
    start = float(tracks.frame_times[track.frame_indices[0]])
    return build_tube(Answer((track.object_id,), start, start + 1.5), tracks)


def machine() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {torch.get_num_threads()} thread(s), processor seconds"


if __name__ == "__main__":
    main()
