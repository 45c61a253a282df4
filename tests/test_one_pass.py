"""The one pass over a video: what the tracker is fed, and how far the decoder is ahead of it."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.reading import _AHEAD, track_video
from stvg_r1_hub.structures import Pixels, TimedFrame, Tracks, VideoInfo
from stvg_r1_hub.video.source import ArraySource

COUNT = 20


class Watched(ArraySource):
    """Counts the frames that were asked of it; may be broken from one on."""

    def __init__(self, broken_from: int = COUNT) -> None:
        shades = np.arange(COUNT, dtype=np.uint8)[:, None, None, None]
        super().__init__(np.broadcast_to(shades, (COUNT, 16, 16, 3)), 10.0)
        self.decoded = 0
        self._broken_from = broken_from

    def _frames(self, wanted: list[int]) -> Iterator[tuple[int, Pixels]]:
        for index, pixels in super()._frames(wanted):
            if index >= self._broken_from:
                raise VideoError("It is broken.")
            self.decoded += 1
            yield index, pixels


class EveryOther:
    """Looks at every other frame, and gives up at one of them."""

    name, class_names = "other", ("thing",)

    def __init__(self, source: Watched, fails_at: int = COUNT) -> None:
        self.seen: list[int] = []
        self.ahead: list[int] = []
        self._source, self._fails_at = source, fails_at

    def frames_wanted(self, info: VideoInfo) -> range:
        return range(0, info.n_frames, 2)

    def start(self, info: VideoInfo, query: object = None) -> "EveryOther":
        self._info = info
        return self

    def update(self, frame: TimedFrame) -> None:
        if frame.frame_index >= self._fails_at:
            raise ZeroDivisionError
        assert (frame.pixels == frame.frame_index).all()
        self.seen.append(frame.frame_index)
        self.ahead.append(self._source.decoded - len(self.seen))

    def finish(self) -> Tracks:
        return Tracks(self._info.width, self._info.height, self._info.frame_times, ())


def decoders() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("decode")]


def test_the_tracker_gets_its_frames_while_a_thread_is_a_few_ahead() -> None:
    source = Watched()
    tracker = EveryOther(source)
    track_video(source, tracker)
    assert tracker.seen == list(range(0, COUNT, 2))
    assert 0 <= min(tracker.ahead) and max(tracker.ahead) <= _AHEAD
    assert not decoders()


@pytest.mark.parametrize("broken_from", [0, 1, 9])
def test_what_breaks_in_decoding_reaches_the_caller(broken_from: int) -> None:
    source = Watched(broken_from)
    tracker = EveryOther(source)
    with pytest.raises(VideoError, match="It is broken"):
        track_video(source, tracker)
    assert tracker.seen == list(range(0, broken_from, 2)), "all that came before was looked at"
    assert not decoders()


def test_a_tracker_that_fails_ends_the_decoding() -> None:
    source = Watched()
    with pytest.raises(ZeroDivisionError):
        track_video(source, EveryOther(source, fails_at=4))
    assert not decoders() and source.decoded <= 3 + _AHEAD
