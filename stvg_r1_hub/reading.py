"""One decoding pass over a video: the tracker gets its frames, the sample is kept on the way.

Before it, a tracker that depends on the footage is shown a dozen frames.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from stvg_r1_hub.config import SamplingConfig
from stvg_r1_hub.structures import Frames, Progress, TimedFrame, Tracks
from stvg_r1_hub.timings import timed
from stvg_r1_hub.tracking import LOOKS, ChoosingTracker, Tracker
from stvg_r1_hub.video import SampleBuffer, VideoSource, open_video, plan_for


def read_once(
    source: VideoSource,
    sampling: SamplingConfig,
    tracker: Tracker | None,
    *,
    query: str | Sequence[str] | None = None,
    progress: Progress | None = None,
    timings: dict[str, float] | None = None,
) -> tuple[Frames, Tracks]:
    """Decode the video once, for the tracker and for the language model.

    Args:
        source: an open video.
        sampling: which frames the language model sees, and how large.
        tracker: finds the objects; None tracks nothing.
        query: a hint for trackers that look for what is asked.
        progress: called with the stage `"decode/track"`.
        timings: gets the seconds of `"decode"` and `"track"` added.

    Returns:
        The sample for the language model, and all objects.
    """
    timings = {} if timings is None else timings
    info = source.info
    plan = plan_for(info, sampling)
    sampled = set(plan.frame_indices)
    started = time.perf_counter()
    chosen, said = _chosen(tracker, source, progress) if tracker else (None, ())
    tracked = {int(i) for i in chosen.frames_wanted(info)} if chosen else set()
    sample = SampleBuffer(plan, info)

    def decoded() -> Iterator[TimedFrame]:
        wanted = sorted(sampled | tracked)
        frames = source.stream(wanted)
        for done in range(1, len(wanted) + 1):
            with timed(timings, "decode"):
                frame = next(frames, None)
            if frame is None:
                return
            if progress is not None:
                progress("decode/track", done, len(wanted))
            if frame.frame_index in sampled:
                with timed(timings, "decode"):
                    sample.add(frame.frame_index, source.sample_pixels(frame, plan))
            if frame.frame_index in tracked:
                yield frame

    stream = decoded()
    if chosen is not None:
        tracks = _credited(chosen.track(stream, info, query=query), chosen, said)
    else:
        tracks = Tracks(info.width, info.height, info.frame_times, ())
    for _ in stream:
        pass  # The sample may reach further than what the tracker wanted.
    timings["track"] = time.perf_counter() - started - timings.get("decode", 0.0)
    return sample.frames(), tracks


def track_video(
    video: Any,
    tracker: Tracker,
    *,
    query: str | Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Tracks:
    """Find all objects of a video with a tracker alone.

    Args:
        video: as in `STVGPipeline.__call__`.
        tracker: such as the first value of `tracking.load_tracker`.
        query: a hint for trackers that look for what is asked.
        progress: called with the stage `"decode/track"`.

    Raises:
        VideoError: the video cannot be used.
    """
    source = video if isinstance(video, VideoSource) else open_video(video)
    try:
        chosen, said = _chosen(tracker, source, progress)
        wanted = [int(i) for i in chosen.frames_wanted(source.info)]
        stream = _reported(source.stream(wanted), len(wanted), progress) if wanted else iter(())
        return _credited(chosen.track(stream, source.info, query=query), chosen, said)
    finally:
        if source is not video:
            source.close()


def _chosen(
    tracker: Tracker, source: VideoSource, progress: Progress | None
) -> tuple[Tracker, tuple[str, ...]]:
    """The tracker for this footage, and what is to be said about it."""
    if not isinstance(tracker, ChoosingTracker):
        return tracker, ()
    total = len(tracker.frames_wanted(source.info))

    def looked_at() -> Iterator[TimedFrame]:
        for frame in source.stream(source.spread(LOOKS)):
            if progress is not None:
                progress("decode/track", 0, total)
            yield frame

    chosen, said = tracker.choose(looked_at())
    return chosen, (said,)


def _credited(tracks: Tracks, tracker: Tracker, said: tuple[str, ...]) -> Tracks:
    """The tracks with the name of what found them, and what it can tell apart."""
    classes = tuple(getattr(tracker, "class_names", ()))
    warnings = (*said, *tracks.warnings)
    return replace(tracks, tracker=tracker.name, class_names=classes, warnings=warnings)


def _reported(
    frames: Iterable[TimedFrame], total: int, progress: Progress | None
) -> Iterator[TimedFrame]:
    for done, frame in enumerate(frames, start=1):
        if progress is not None:
            progress("decode/track", done, total)
        yield frame
