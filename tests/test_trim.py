"""A part of a video is all that is decoded, and what is found keeps the times of the whole."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub import STVGConfig, STVGPipeline
from stvg_r1_hub.clip import OWN_CLOCK
from stvg_r1_hub.errors import OutputError, VideoError
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.structures import Alternative, Look, TimedFrame, Tracks, VideoInfo
from stvg_r1_hub.tracking import GivenTracks
from stvg_r1_hub.video import PartSource, open_video
from stvg_r1_hub.vlm.scripted import ScriptedVLM
from tests.builders import make_track
from tests.media import number_of, numbers, one_sentence, write_clip

WIDTH, HEIGHT, COUNT, FPS = 192, 128, 40, 10.0
GOOD = "<think>2 jumps</think><answer>Target ID: 2, Time range: 0.50 to 1.50</answer>"
BOX = (90, 40, 130, 90)


class SeeingTracker:
    """Two objects that are always there; remembers what it was shown."""

    name = "seeing"
    class_names = ()

    def __init__(self) -> None:
        self.seen: list[int] = []

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        return range(info.n_frames)

    def start(self, info: VideoInfo, query: object = None) -> "SeeingTracker":
        self.info = info
        return self

    def update(self, frame: TimedFrame) -> None:
        self.seen.append(number_of(frame.pixels))

    def finish(self) -> Tracks:
        return tracks_of(self.info)


def tracks_of(info: VideoInfo) -> Tracks:
    every = range(info.n_frames)
    both = make_track(1, every, (10, 40, 50, 90)), make_track(2, every, BOX)
    return Tracks(WIDTH, HEIGHT, info.frame_times, both)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "clip.mp4"
    return write_clip(path, COUNT, fps=FPS, size=(WIDTH, HEIGHT), audio="aac")


@pytest.fixture(scope="module")
def trimmed(clip: Path) -> GroundingResult:
    pipeline = STVGPipeline(STVGConfig(), SeeingTracker(), ScriptedVLM([GOOD]))
    return pipeline("the dog", clip, start=1.0, end=3.0)


def test_nothing_else_is_seen_and_times_are_those_of_the_whole(clip: Path) -> None:
    tracker = SeeingTracker()
    pipeline = STVGPipeline(STVGConfig(), tracker, ScriptedVLM([GOOD]))
    with pipeline.open(clip, start=1.0, end=3.0) as opened:
        result = opened.ground("the dog")
        assert {number_of(p) for p in opened.marked.frames.pixels} <= set(range(10, 30))
    assert tracker.seen == list(range(10, 30)) and tracker.info.frame_times[0] == 0
    assert (result.start_seconds, result.end_seconds) == (1.5, 2.5) == result.ranges[0]
    assert [box.frame_index for box in result.boxes] == list(range(15, 25))
    assert result.boxes[0].time_seconds == pytest.approx(1.5)
    assert result.answer is not None and result.answer.start_seconds == 1.5
    assert result.info is not None and result.info.n_frames == COUNT
    assert result.tracks is not None and len(result.tracks.frame_times) == COUNT
    assert result.tracks.tracks[0].frame_indices.tolist() == list(range(10, 30))
    assert all("seen 1.0-3.0 s" in line for line in result.notes) and len(result.notes) == 2
    assert result.to_dict()["part"] == {"start_seconds": 1.0, "end_seconds": 3.0}
    assert "0.50 to 1.50" in result.raw_text and OWN_CLOCK.format(start=1) in result.warnings


def test_given_tracks_are_those_of_the_whole_video(clip: Path) -> None:
    with open_video(clip) as source:
        given = GivenTracks(tracks_of(source.info))
    result = STVGPipeline(STVGConfig(), given, ScriptedVLM([GOOD]))("the dog", clip, start=2)
    assert [box.frame_index for box in result.boxes] == list(range(25, 35))
    assert result.part == (2.0, 4.0)


def test_a_part_from_the_start_has_the_clock_of_the_whole(clip: Path) -> None:
    result = STVGPipeline(STVGConfig(), SeeingTracker(), ScriptedVLM([GOOD]))(
        "the dog", clip, end=2
    )
    assert result.found and not any("own words" in warning for warning in result.warnings)


def test_warnings_tell_the_times_of_the_whole_too(clip: Path) -> None:
    late = ScriptedVLM(["<answer>Target ID: 2, Time range: 0.50 to 9.00</answer>"])
    result = STVGPipeline(STVGConfig(), SeeingTracker(), late)("the dog", clip, start=1, end=3)
    assert any(
        "1.50 to 10.00 s reaches beyond the video (1 to 3.00 s)" in w for w in result.warnings
    )


def test_without_bounds_the_whole_is_meant(clip: Path) -> None:
    result = STVGPipeline(STVGConfig(), SeeingTracker(), ScriptedVLM([GOOD]))("the dog", clip)
    assert result.part is None and result.to_dict()["part"] is None


@pytest.mark.parametrize(
    ("start", "end"),
    [
        *[(2, 1), (1, 1), (1, 1.05), (4, None), (9, 12), (None, 0)],
        *[(-1, 2), (float("nan"), None), (None, float("nan")), (None, -1)],
    ],
)
def test_a_part_without_frames_is_one_sentence(
    clip: Path, start: float | None, end: float | None
) -> None:
    tracker = SeeingTracker()
    pipeline = STVGPipeline(STVGConfig(), tracker, ScriptedVLM([GOOD]))
    with pytest.raises(VideoError, match=r"lasts 4\.00 s; its start must come before") as error:
        pipeline("the dog", clip, start=start, end=end)
    assert one_sentence(error) and not tracker.seen


@pytest.mark.parametrize(
    ("options", "frames"),
    [({}, range(10, 30)), ({"only_moment": True, "boxes": False}, range(15, 25))],
)
def test_what_is_written_is_the_part_or_the_moment(
    trimmed: GroundingResult, tmp_path: Path, options: dict[str, bool], frames: range
) -> None:
    trimmed.save_video(tmp_path / "a.mp4", **options)
    with open_video(tmp_path / "a.mp4") as written:
        assert numbers(written) == list(frames)
        assert written.info.duration_seconds == pytest.approx(len(frames) / FPS, abs=0.01)
        container = written.open_container()
        assert container is not None
        with container:
            sound = next(packet for packet in container.demux(audio=0) if packet.size)
        assert written.info.has_audio and float(sound.pts * sound.time_base) < 0.1
    assert trimmed.keyframes().shape[0] > 100


def test_no_moment_is_one_sentence(clip: Path, tmp_path: Path) -> None:
    pipeline = STVGPipeline(STVGConfig(), SeeingTracker(), ScriptedVLM(["nothing"]))
    with pytest.raises(OutputError, match="nothing was found") as error:
        pipeline("the dog", clip).save_video(tmp_path / "a.mp4", only_moment=True)
    assert one_sentence(error)


def test_other_records_are_moved_too(clip: Path) -> None:
    look = Look("window", 0.0, 1.0, 2.0, (1,), (), (0.25, 0.5), "", "nothing")
    with open_video(clip) as whole:
        part = PartSource(whole, 1.0, None)
        assert part.in_whole(look).range_seconds == (1.25, 1.5)
        assert part.in_whole(Alternative(1, 0.0, 1.0, 0.5)).end_seconds == 2.0
        assert [frame.frame_index for frame in part.stream([3])] == [3]
        assert numbers(part, [0, 3]) == [10, 13]
        assert part.info.n_frames == 30
        frame = next(part.stream([0]))
        assert frame.time_seconds == 0 and np.shape(frame.pixels) == (HEIGHT, WIDTH, 3)
