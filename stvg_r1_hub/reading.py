"""One decoding pass over a video: the tracker gets its frames, the sample is kept on the way.

A thread decodes the next frames while the tracker looks at the last ones. Where the whole footage
asks for another tracker than its beginning did, there is a second pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

from stvg_r1_hub.config import SamplingConfig
from stvg_r1_hub.structures import Frames, Progress, TimedFrame, Tracks
from stvg_r1_hub.timings import timed
from stvg_r1_hub.tracking import (
    ChoosingSession,
    GivenTracks,
    Tracker,
    check_tracker,
)
from stvg_r1_hub.video import SampleBuffer, VideoInput, VideoSource, opened, plan_for

_AHEAD = 4
"""Frames that wait for the tracker, at most; one of 2160p takes 25 MB."""


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
        timings: gets the seconds of `"track"` added, and of `"decode"` those waited for frames.

    Returns:
        The sample for the language model, and all objects.

    Raises:
        TrackerError: the tracker lacks what a tracker needs, or cannot do its work.
    """
    info = source.info
    if tracker is None:
        tracker = GivenTracks(Tracks(info.width, info.height, info.frame_times, ()), name="")
    sample = SampleBuffer(plan_for(info, sampling), info)
    tracks = _one_pass(source, tracker, query, progress, timings, sample)
    return sample.frames(), tracks


def track_video(
    video: VideoInput,
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
        TrackerError: the tracker lacks what a tracker needs, or cannot do its work.
    """
    with opened(video) as source:
        return _one_pass(source, tracker, query, progress)


def _one_pass(
    source: VideoSource,
    tracker: Tracker,
    query: str | Sequence[str] | None,
    progress: Progress | None,
    timings: dict[str, float] | None = None,
    sample: SampleBuffer | None = None,
) -> Tracks:
    """Feed the tracker, and the sample where there is one."""
    timings = {} if timings is None else timings
    with timed(timings, "track"):
        session = check_tracker(tracker).start(source.info, query)
        tracked = {int(i) for i in tracker.frames_wanted(source.info)}
    sampled = set(sample.plan.frame_indices) if sample else set()
    wanted = sorted(sampled | tracked)
    with closing(_decoded_ahead(source.stream(wanted))) as frames:
        for done in range(1, len(wanted) + 1):
            with timed(timings, "decode"):
                frame = next(frames, None)
                if frame is None:
                    break
                if sample is not None and frame.frame_index in sampled:
                    sample.add(frame.frame_index, source.sample_pixels(frame, sample.plan))
            if progress is not None:
                progress("decode/track", done, len(wanted))
            if frame.frame_index in tracked:
                with timed(timings, "track"):
                    session.update(frame)
    with timed(timings, "track"):
        tracks = session.finish()
    if isinstance(session, ChoosingSession) and session.chosen is not session.begun_with:
        why = tracks.warnings[0]
        tracks = _one_pass(source, session.chosen, query, progress, timings)
        return replace(tracks, warnings=(why, *tracks.warnings))
    return replace(
        tracks,
        tracker=tracks.tracker or tracker.name,
        class_names=tracks.class_names or tuple(tracker.class_names),
    )


def _decoded_ahead(frames: Iterator[TimedFrame]) -> Generator[TimedFrame, None, None]:
    """The same frames and errors; a thread of its own is a few frames further on."""
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as decoder:
        try:
            waiting = deque(decoder.submit(next, frames, None) for _ in range(_AHEAD))
            while (frame := waiting.popleft().result()) is not None:
                waiting.append(decoder.submit(next, frames, None))
                yield frame
        finally:
            decoder.shutdown(cancel_futures=True)
