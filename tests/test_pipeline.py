"""The order of the stages, on real video files; the bundled model where it is installed."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stvg_r1_hub import STVGConfig, STVGPipeline
from stvg_r1_hub.config import GenerationSettings, SamplingConfig
from stvg_r1_hub.errors import (
    Cancelled,
    ConfigError,
    ModelError,
    OutOfMemoryError,
    OutputError,
    QueryError,
    VideoError,
)
from stvg_r1_hub.geometry import encode_mask, mask_area
from stvg_r1_hub.hub import BUNDLED
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.smaller_sample import halve_sample
from stvg_r1_hub.structures import (
    Frames,
    Generated,
    MarkedFrames,
    Pixels,
    TimedFrame,
    Track,
    Tracks,
    Tube,
    VideoInfo,
)
from stvg_r1_hub.track_selection import fit_to_sample, keep_most_visible
from stvg_r1_hub.video import VideoSource, open_video, plan_for, thin_sample
from stvg_r1_hub.vlm.scripted import ScriptedVLM
from tests import builders
from tests.media import number_of, write_clip

WIDTH, HEIGHT, COUNT, FPS = 192, 128, 40, 10.0
GOOD = "<think>2 jumps</think><answer>Target ID: 2, Time range: 0.50 to 1.50</answer>"
TINY = BUNDLED / "tiny" / "stvg_config.json"
DEMO = BUNDLED / "demo"
needs_tiny = pytest.mark.skipif(
    not (TINY.is_file() and (DEMO / "clip.mp4").is_file()),
    reason="the bundled model is not built yet",
)


def make_track(object_id: int, left: float, *, score: float = 0.9, masks: bool = False) -> Track:
    boxes = np.array([[left + i, 40, left + i + 40, 90] for i in range(COUNT)], np.float32)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[40:90, 40:80] = True
    return builders.make_track(
        object_id,
        range(COUNT),
        boxes,
        score=score,
        interpolated=range(1, COUNT, 2),
        masks=(encode_mask(mask),) * COUNT if masks else None,
    )


class FixedTracker:
    """Knows the tracks, watches some frames, and remembers what it saw."""

    name = "fixed"
    class_names = ()

    def __init__(self, *tracks: Track, wanted: Sequence[int] = ()) -> None:
        self.tracks = tracks
        self.wanted = wanted
        self.seen: list[TimedFrame] = []
        self.queries: list[str | list[str] | None] = []

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        return self.wanted

    def start(self, info: VideoInfo, query: str | list[str] | None = None) -> "FixedTracker":
        self.queries.append(query)
        self.info = info
        return self

    def update(self, frame: TimedFrame) -> None:
        self.seen.append(frame)

    def finish(self) -> Tracks:
        return Tracks(self.info.width, self.info.height, self.info.frame_times, self.tracks)


class WatchedVLM(ScriptedVLM):
    """Remembers what it was shown and asked."""

    def __init__(self, *answers: str) -> None:
        super().__init__(answers or [GOOD])
        self.shown: list[MarkedFrames] = []
        self.asked: list[list[str]] = []

    def encode(self, video: MarkedFrames) -> Any:
        self.shown.append(video)
        return super().encode(video)

    def generate(self, prompts: Sequence[str], video: Any, **options: Any) -> list[str]:
        self.asked.append(list(prompts))
        return super().generate(prompts, video, **options)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "clip.mp4"
    return write_clip(path, COUNT, fps=FPS, size=(WIDTH, HEIGHT), audio="aac")


def make_pipeline(
    *answers: str, tracker: FixedTracker | None = None, config: STVGConfig | None = None
) -> tuple[STVGPipeline, FixedTracker, WatchedVLM]:
    tracker = tracker or FixedTracker(make_track(1, 10), make_track(2, 90))
    vlm = WatchedVLM(*answers)
    return STVGPipeline(config or STVGConfig(), tracker, vlm), tracker, vlm


def red_pixels(pixels: Pixels) -> int:
    """Pure red ones; of whole frames without the red corner that the test video itself shows."""
    upper = pixels[..., : HEIGHT // 2, :, :].astype(int)
    return int(((upper[..., 0] > 200) & (upper[..., 1:].max(axis=-1) < 60)).sum())


def test_answer_becomes_boxes_of_every_native_frame(clip: Path) -> None:
    pipeline, tracker, _ = make_pipeline()
    result = pipeline("the dog jumping", clip)
    assert isinstance(result, GroundingResult)
    assert result.found and result.object_ids == (2,)
    assert (result.start_seconds, result.end_seconds) == (0.5, 1.5)
    assert [box.frame_index for box in result.boxes] == list(range(5, 15))
    assert result.boxes[0].xyxy == (95, 40, 135, 90)
    assert [box.interpolated for box in result.boxes[:2]] == [True, False]
    assert result.reasoning == "2 jumps" and result.raw_text == GOOD
    assert result.masks is None
    assert {"open", "decode", "track", "mark", "encode", "answer", "total"} <= set(result.timings)
    assert all(math.isfinite(s) and s >= 0 for s in result.timings.values())
    assert tracker.queries == ["the dog jumping"]


def test_a_pipeline_says_what_it_is() -> None:
    pipeline, _, _ = make_pipeline()
    assert repr(pipeline) == "STVGPipeline(model='WatchedVLM', tracker='fixed')"
    pipeline.device = "cpu"
    assert repr(pipeline).endswith("tracker='fixed', device='cpu')")


def test_a_clip_and_a_result_say_what_they_are(clip: Path) -> None:
    pipeline, _, _ = make_pipeline(GOOD, "nothing")
    with pipeline.open(clip) as opened:
        assert repr(opened) == "Clip('clip.mp4', 2 objects)"
        found, lost = opened.ground(["the dog jumping", "the cat"])
    assert repr(found).startswith("GroundingResult('the dog jumping', object 2, ")
    assert repr(lost).startswith("GroundingResult('the cat', not found: Nothing fits: ")


def test_model_sees_numbers_and_the_query(clip: Path) -> None:
    pipeline, _, vlm = make_pipeline()
    pipeline("the dog jumping", clip)
    (shown,) = vlm.shown
    assert shown.visible_ids == {1, 2}
    assert red_pixels(shown.frames.pixels) > 100
    assert '"the dog jumping"' in vlm.asked[0][0]


def test_pictures_of_objects_have_no_numbers(clip: Path) -> None:
    """Though these are drawn on the very frames that the pictures are cut from."""
    pipeline, _, _ = make_pipeline()
    with pipeline.open(clip) as opened:
        assert sorted(opened.pictures) == [1, 2]
        assert not any(map(red_pixels, opened.pictures.values()))


def test_without_markers_the_time_alone_is_asked(clip: Path, tmp_path: Path) -> None:
    """Time-R1's prompt, no tracking, no number, a time range without boxes."""
    pipeline, tracker, vlm = make_pipeline("<think>1.0 to 2.0</think><answer>0.5 to 9</answer>")
    result = pipeline("the dog", clip, markers=False)
    assert tracker.queries == [] and red_pixels(vlm.shown[0].frames.pixels) == 0
    assert "<timestep>" in vlm.asked[0][0] and "object ID" not in vlm.asked[0][0]
    assert result.found and result.object_ids == () and result.boxes == ()
    assert (result.start_seconds, result.end_seconds) == (0.5, 4.0)
    assert len(result.warnings) == 1 and "beyond the video" in result.warnings[0]
    assert result.to_dict()["found"] is True
    result.save_video(tmp_path / "a.mp4")
    result.keyframes(tmp_path / "b.png")
    result.plot(tmp_path / "c.png")


@pytest.mark.parametrize("text", ["", "nothing happens", "5 to 5", "<answer>60 to 70</answer>"])
def test_a_bad_time_is_not_found(text: str, clip: Path) -> None:
    pipeline, _, _ = make_pipeline(text)
    result = pipeline("the dog", clip, markers=False)
    assert not result.found and result.start_seconds is None and len(result.warnings) == 1


def test_time_alone_has_no_masks(clip: Path) -> None:
    pipeline, _, _ = make_pipeline()
    with pytest.raises(ConfigError, match="masks=True and markers=False"):
        pipeline("the dog", clip, markers=False, masks=True)


def test_several_objects_and_none(clip: Path) -> None:
    """The prompt variant says that several, or none, may match; it is chosen in the config."""
    config = STVGConfig(prompt_id="stvg-r1-multi")
    both = "<answer>Target ID: 1, 2, Time range: 0.50 to 1.00</answer>"
    tracker = FixedTracker(make_track(1, 10, masks=True), make_track(2, 90, masks=True))
    pipeline, _, vlm = make_pipeline(
        both, "<answer>Target ID: none</answer>", tracker=tracker, config=config
    )
    dogs, cats = pipeline(["the two dogs", "the cats"], clip, masks=True)
    assert '"Target ID: none"' in vlm.asked[0][0]
    assert dogs.object_ids == (1, 2) and len(dogs.boxes) == 10
    union = dogs.union_masks
    assert union is not None and list(union) == [5, 6, 7, 8, 9]
    assert not cats.found and cats.boxes == () and "none" in " ".join(cats.warnings)
    assert cats.union_masks is None


class Forgetful(WatchedVLM):
    """Runs out of memory until the sample is small enough."""

    def __init__(self, most_frames: int) -> None:
        super().__init__()
        self.most_frames = most_frames

    def generate(self, prompts: Sequence[str], video: Any, **options: Any) -> list[str]:
        if len(video.frames) > self.most_frames:
            raise OutOfMemoryError("no more")
        return super().generate(prompts, video, **options)


def test_out_of_memory_asks_once_more_with_a_smaller_sample(clip: Path) -> None:
    tracker = FixedTracker(make_track(1, 10), make_track(2, 90))
    vlm = Forgetful(most_frames=4)
    pipeline = STVGPipeline(STVGConfig(), tracker, vlm)
    with pipeline.open(clip) as opened:
        result = opened.ground("the dog")
        assert result.found and opened.ground("again").found
    large, small = (shown.frames for shown in vlm.shown)
    assert (len(large), large.sample_fps) == (8, 2.0)
    assert (len(small), small.sample_fps) == (4, 1.0)
    assert small.frame_indices.tolist() == large.frame_indices[::2].tolist()
    area = [f.model_height * f.model_width for f in (large, small)]
    assert area[1] <= area[0] / 2
    assert len(result.notes) == 2
    assert "4 frames" in result.warnings[-1] and "instead of 8" in result.warnings[-1]
    with pytest.raises(OutOfMemoryError):
        STVGPipeline(STVGConfig(), tracker, Forgetful(most_frames=2))("the dog", clip)


def test_more_objects_than_a_model_can_read_are_cut_and_it_is_said(clip: Path) -> None:
    tracker = FixedTracker(*(make_track(i, i % 90, score=i / 200) for i in range(1, 121)))
    pipeline, _, vlm = make_pipeline(tracker=tracker)
    result = pipeline("the dog", clip)
    assert "120 objects were tracked and the 99 most visible are kept" in result.warnings[0]
    assert vlm.shown[0].visible_ids == set(range(1, 100))
    assert result.tracks is not None and min(t.score for t in result.tracks.tracks) > 20 / 200


def test_one_pass_feeds_tracker_and_sample(clip: Path) -> None:
    wanted = [0, 3, 6, 9]
    tracker = FixedTracker(make_track(2, 90), wanted=wanted)
    pipeline, _, vlm = make_pipeline(tracker=tracker)
    passes = []
    with open_video(clip) as source:
        original = source.stream

        def counted(*args: Any, **kwargs: Any) -> Any:
            passes.append(args)
            return original(*args, **kwargs)

        source.stream = counted  # type: ignore[method-assign]
        pipeline("the dog", source)
    assert len(passes) == 1
    assert [frame.frame_index for frame in tracker.seen] == wanted
    assert [number_of(frame.pixels) for frame in tracker.seen] == wanted
    frames = vlm.shown[0].frames
    sample = frames.frame_indices.tolist()
    assert len(sample) == 8 and sample[-1] > wanted[-1], "2 frames a second of 4 seconds"
    assert [number_of(p) for p in frames.pixels] == sample
    assert frames.times_seconds.tolist() == pytest.approx([i / FPS for i in sample])


def test_several_queries_are_tracked_once_and_asked_in_one_batch(clip: Path) -> None:
    second = "<answer>Target ID: 1, Time range: 1.00 to 2.00</answer>"
    pipeline, tracker, vlm = make_pipeline(GOOD, second)
    results = pipeline(["the dog", "the cat"], clip)
    assert [r.object_ids for r in results] == [(2,), (1,)]
    assert [r.query for r in results] == ["the dog", "the cat"]
    assert tracker.queries == [["the dog", "the cat"]] and len(vlm.shown) == 1
    assert [len(prompts) for prompts in vlm.asked] == [2]


def test_open_clip_keeps_tracks_and_features(clip: Path) -> None:
    pipeline, tracker, vlm = make_pipeline()
    with pipeline.open(clip) as opened:
        one = opened.ground("the dog")
        two = opened.ground("the dog again")
        assert opened.tracks.object_ids == (1, 2)
    assert one.boxes == two.boxes
    assert len(tracker.queries) == 1 and len(vlm.shown) == 1 and len(vlm.asked) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "No usable answer"),
        ("I cannot see it.", "Nothing fits: the model says"),
        ("<answer>Target ID: none</answer>", "Nothing fits: the model says"),
        ("<answer>Target ID: 7, Time range: 0.50 to 1.50</answer>", "not in the video"),
        ("<answer>Target ID: 2, Time range: 1.50 to 0.50</answer>", "reversed"),
        ("<answer>Target ID: 2, Time range: 60.00 to 70.00</answer>", "beyond the video"),
    ],
)
def test_a_bad_answer_is_not_found_with_the_reason(text: str, reason: str, clip: Path) -> None:
    pipeline, _, _ = make_pipeline(text)
    result = pipeline("the dog", clip)
    assert not result.found
    assert result.object_ids == () and result.boxes == () and result.tube is None
    assert result.start_seconds is None and result.end_seconds is None
    assert result.raw_text == text
    assert any(reason in warning for warning in result.warnings), result.warnings


def test_a_result_says_how_sure_the_model_was_and_what_else_it_might_mean(clip: Path) -> None:
    pipeline, _, _ = make_pipeline(Generated(GOOD, {1: 0.4, 2: 0.6}))
    result = pipeline("the dog", clip)
    assert result.confidence == 0.6
    values = result.to_dict()
    assert values["confidence"] == 0.6
    assert values["alternatives"] == [
        {"object_id": 1, "start_seconds": 0.5, "end_seconds": 1.5, "confidence": 0.4}
    ]
    assert result.at_least(0.6) is result
    unsure = result.at_least(0.7)
    assert not unsure.found and (unsure.confidence, unsure.alternatives) == (
        result.confidence,
        result.alternatives,
    )
    assert "confidence is 0.60, and at least 0.7 was asked for" in unsure.warnings[-1]
    with pytest.raises(ConfigError, match=r"0\.\.1"):
        result.at_least(70)


def test_a_model_that_cannot_say_how_sure_it_was(clip: Path) -> None:
    result = make_pipeline()[0]("the dog", clip)
    assert result.confidence is None and result.alternatives == ()
    assert result.at_least(1.0) is result
    assert result.to_dict()["confidence"] is None


def test_without_objects_the_model_is_not_asked(clip: Path) -> None:
    pipeline, _, vlm = make_pipeline(tracker=FixedTracker())
    result = pipeline("the dog", clip)
    assert not result.found and "No object was found" in " ".join(result.warnings)
    assert vlm.asked == [] and vlm.shown == []


def test_objects_outside_the_sample_are_not_asked_about(clip: Path) -> None:
    track = make_track(2, 90)
    brief = builders.make_track(2, [2], track.boxes[2])
    pipeline, _, vlm = make_pipeline(tracker=FixedTracker(brief))
    result = pipeline("the dog", clip)
    assert not result.found and "No object is visible" in " ".join(result.warnings)
    assert vlm.asked == []


def test_masks_come_from_the_tracks_or_are_refused(clip: Path) -> None:
    with_masks = FixedTracker(make_track(2, 40, masks=True))
    pipeline, _, _ = make_pipeline(tracker=with_masks)
    result = pipeline("the dog", clip, masks=True)
    assert result.masks is not None and len(result.masks) == len(result.boxes)
    assert "segment" not in result.timings
    unasked = pipeline("the dog", clip)
    assert unasked.masks is None and not any(box.mask for box in unasked.boxes)
    pipeline, _, vlm = make_pipeline()
    with pytest.raises(ModelError, match="no segmenter"):
        pipeline("the dog", clip, masks=True)
    assert vlm.asked == []


class BoxSegmenter:
    """Fills the box it is given, which then stays where it is; counts what it did."""

    name = "boxes"

    def __init__(self) -> None:
        self.steps = self.starts = 0

    def open(self, height: int, width: int, n_frames: int) -> Any:
        self.size = (height, width)
        self.found: dict[int, Any] = {}
        return self

    def next_frame(self, pixels: Any) -> dict[int, Any]:
        assert pixels.shape[:2] == self.size
        self.steps += len(self.found)
        return dict(self.found)

    def add(self, object_id: int, *, box: Any) -> Any:
        left, top, right, bottom = (round(float(v)) for v in box)
        mask = np.zeros(self.size, bool)
        mask[top:bottom, left:right] = True
        self.found[object_id] = mask
        self.starts += 1
        return mask

    def drop(self, object_id: int) -> None:
        del self.found[object_id]


def test_the_segmenter_is_given_the_answered_boxes_alone(clip: Path) -> None:
    segmenter = BoxSegmenter()
    pipeline, _, _ = make_pipeline()
    pipeline = STVGPipeline(pipeline.config, pipeline.tracker, pipeline.vlm, segmenter=segmenter)
    result = pipeline("the dog", clip, masks=True)
    assert result.masks is not None and len(result.masks) == len(result.boxes) == 10
    assert (segmenter.starts, segmenter.steps) == (1, 9), "one object, each frame once"
    assert "segment" in result.timings
    left, top, right, bottom = (int(v) for v in result.boxes[0].xyxy)
    first = result.masks[0]
    assert first is not None and mask_area(first) == (right - left) * (bottom - top)
    assert pipeline("the dog", clip).masks is None and segmenter.starts == 1


def test_another_pipeline_shares_what_is_loaded(clip: Path) -> None:
    made = []

    def segmenter() -> BoxSegmenter:
        made.append(BoxSegmenter())
        return made[-1]

    def no_masks(tube: Tube, source: VideoSource) -> Tube:
        return replace(tube, has_masks=True)

    before, tracker, vlm = make_pipeline()
    one = STVGPipeline(before.config, tracker, vlm, segmenter=segmenter)
    other = FixedTracker(make_track(2, 20))
    two = one.replace(tracker=other, config=STVGConfig(sampling=SamplingConfig(fps=5.0)))
    three = two.replace(mask_maker=no_masks)
    assert [p("the dog", clip, masks=True).masks is None for p in (one, two)] == [False, False]
    assert three("the dog", clip, masks=True).masks == (None,) * 10
    assert len(made) == 1 and two.segmenter() is one.segmenter()
    assert [len(shown.frames) for shown in vlm.shown] == [8, 20, 20]
    assert (one.config, one.tracker) == (STVGConfig(), tracker) and two.vlm is vlm
    by_hand = before.replace(mask_maker=no_masks)  # Needs no segmenter.
    assert by_hand("the dog", clip, masks=True).found


def test_another_look_sees_other_frames_of_the_same_clip(clip: Path) -> None:
    pipeline, tracker, vlm = make_pipeline()
    with pipeline.open(clip) as opened:
        first = opened.ground("the dog")
        closer = halve_sample(opened.marked, 28)
        assert closer is not None
        look = replace(opened, marked=closer)
        assert look.ground("the dog").boxes == first.boxes
        assert opened.ground("the dog").boxes == first.boxes
    assert [len(shown.frames) for shown in vlm.shown] == [8, 4] and len(tracker.queries) == 1


def test_a_lost_or_hidden_object_starts_anew_from_its_box(clip: Path) -> None:
    track = make_track(2, 10)
    jumps = track.boxes.copy()
    jumps[10:] += 60
    seen = np.array([i for i in range(COUNT) if i not in (7, 8)])
    jumpy = Track(2, "dog", 0.9, seen, jumps[seen], track.interpolated[seen])
    segmenter = BoxSegmenter()
    pipeline = STVGPipeline(
        STVGConfig(), FixedTracker(jumpy), WatchedVLM(GOOD), segmenter=lambda: segmenter
    )
    result = pipeline("the dog", clip, masks=True)
    assert len(result.boxes) == 8 and segmenter.starts == 3


def test_max_objects_keeps_the_most_visible(clip: Path) -> None:
    tracker = FixedTracker(make_track(1, 10, score=0.3), make_track(2, 90, score=0.9))
    pipeline, _, vlm = make_pipeline(GOOD.replace("ID: 2", "ID: 1"), tracker=tracker)
    result = pipeline("the dog", clip, max_objects=1)
    assert result.found and result.boxes[0].xyxy[0] > 90
    assert pipeline.track(clip).object_ids == (1, 2)
    assert vlm.shown[0].visible_ids == {1}
    with pytest.raises(ConfigError, match="max_objects"):
        pipeline("the dog", clip, max_objects=0)


def test_queries_are_checked_before_the_video(tmp_path: Path) -> None:
    pipeline, _, _ = make_pipeline()
    for bad in ("", "  \n", [], None, 5):
        with pytest.raises(QueryError):
            pipeline(bad, tmp_path / "missing.mp4")
    with pytest.raises(VideoError):
        pipeline("the dog", tmp_path / "missing.mp4")


def test_progress_is_told_and_can_cancel(clip: Path) -> None:
    tracker = FixedTracker(make_track(2, 90), wanted=range(COUNT))
    pipeline, _, vlm = make_pipeline(tracker=tracker)
    told: list[tuple[str, int, int | None]] = []
    pipeline("the dog", clip, progress=lambda *call: told.append(call))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages[:2] == ["decode/track", "encode"]
    assert ("decode/track", COUNT, COUNT) in told

    def stop(stage: str, done: int, total: int | None) -> None:
        if done == 3:
            raise Cancelled("stopped")

    asked = len(vlm.asked)
    with open_video(clip) as source:
        with pytest.raises(Cancelled):
            pipeline("the dog", source, progress=stop)
        assert pipeline("the dog", source).found, "the source can be used again"
    assert len(vlm.asked) == asked + 1


def test_json_has_exactly_the_promised_keys(clip: Path, tmp_path: Path) -> None:
    pipeline, _, _ = make_pipeline()
    result = pipeline("the dog", clip)
    path = tmp_path / "result.json"
    text = result.to_json(path)
    values = json.loads(path.read_text(encoding="utf-8"))
    assert json.loads(text) == values == result.to_dict()
    assert list(values) == [
        "query",
        "video",
        "part",
        "model",
        "server_input",
        "tracker",
        "found",
        "object_ids",
        "objects",
        "start_seconds",
        "end_seconds",
        "ranges",
        "confidence",
        "alternatives",
        "boxes",
        "reasoning",
        "raw_text",
        "notes",
        "looks",
        "timings",
        "warnings",
    ]
    box = values["boxes"][0]
    assert list(box) == ["frame_index", "time_seconds", "object_id", "xyxy", "interpolated"]
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    with pytest.raises(OutputError):
        result.to_json(tmp_path / "result.json" / "result.json")


def test_the_json_says_by_itself_what_was_found_in_what(clip: Path) -> None:
    both = "<answer>Target ID: 1, 2, Time range: 0.50 to 1.00</answer>"
    nothing = "<answer>Target ID: none</answer>"
    pipeline, _, _ = make_pipeline(GOOD, both, nothing)
    pipeline.vlm.model = "served/model"  # type: ignore[attr-defined]  # as of a server
    one, two, none = (r.to_dict() for r in pipeline(["the dog", "the dogs", "the cat"], clip))
    with open_video(clip) as source:
        info = source.info
    for values in (one, two, none):
        assert values["video"] == {
            "name": clip.name, "width": info.width, "height": info.height, "fps": info.fps,
            "duration_seconds": info.duration_seconds,
        }  # fmt: skip
        assert (values["model"], values["tracker"]) == ("served/model", "fixed")
        assert [note[0] for note in values["notes"]] == ["1", "2"]
    assert [thing["id"] for thing in two["objects"]] == two["object_ids"] == [1, 2]
    assert one["objects"] == [{"id": 2, "class": "dog", "score": 0.9}] and none["objects"] == []
    assert {box["object_id"] for box in one["boxes"]} == {2}
    assert {box["object_id"] for box in two["boxes"]} == {1, 2}


def test_a_sample_thinner_than_a_frame_a_second_is_said_first(tmp_path: Path) -> None:
    sampling = replace(STVGConfig().sampling, max_frames=4)
    pipeline, _, _ = make_pipeline(config=replace(STVGConfig(), sampling=sampling))
    long = write_clip(tmp_path / "long.mp4", 60, fps=10)
    first = pipeline("the dog", long).warnings[0]
    assert "one frame every 1.5 s" in first and "cut out the part" in first
    short = write_clip(tmp_path / "short.mp4", 40, fps=10)
    assert not any("long" in warning for warning in pipeline("the dog", short).warnings)
    slow = open_video([np.full((48, 64, 3), 9 * i, np.uint8) for i in range(4)], fps=0.5).info
    assert thin_sample(plan_for(slow, sampling), slow) == ()  # it has no other frames


def test_overlay_has_the_timing_and_sound_of_the_video(clip: Path, tmp_path: Path) -> None:
    pipeline, _, _ = make_pipeline()
    result = pipeline("the dog", clip)
    out = tmp_path / "overlay.mp4"
    result.save_video(out)
    with open_video(out) as drawn, open_video(clip) as source:
        assert drawn.info.n_frames == source.info.n_frames
        assert drawn.info.frame_times == pytest.approx(source.info.frame_times, abs=0.002)
        assert drawn.info.has_audio
        inside, outside = drawn.stream([10]), drawn.stream([30])
        edge = (slice(60, 70), slice(99, 102))
        before = next(source.stream([10])).pixels[edge].astype(int)
        changed = np.abs(next(inside).pixels[edge].astype(int) - before).mean()
        same = np.abs(next(outside).pixels[edge].astype(int) - before).mean()
    assert changed > 30 > 15 > same
    assert [p.name for p in tmp_path.iterdir()] == ["overlay.mp4"]


@pytest.mark.parametrize("found", [True, False])
def test_pictures_are_written_whether_found_or_not(found: bool, clip: Path, tmp_path: Path) -> None:
    pipeline, _, _ = make_pipeline(GOOD if found else "nothing")
    result = pipeline("the dog", clip)
    result.save_video(tmp_path / "a.gif")
    result.keyframes(tmp_path / "b.png")
    result.plot(tmp_path / "c.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gif", "b.png", "c.png"]
    for bad in ("a.avi", "a", "b.png/a.mp4"):
        with pytest.raises(OutputError):
            result.save_video(tmp_path / bad)


@pytest.mark.parametrize("kind", ["bytes", "file", "source"])
def test_other_kinds_of_video(kind: str, clip: Path, tmp_path: Path) -> None:
    pipeline, _, _ = make_pipeline()
    if kind == "bytes":
        result = pipeline("the dog", clip.read_bytes())
        result.keyframes()
    elif kind == "file":
        with clip.open("rb") as file:
            result = pipeline("the dog", file)
            result.keyframes()
        with pytest.raises(VideoError, match="closed"):
            result.keyframes()
    else:
        frames = np.zeros((COUNT, HEIGHT, WIDTH, 3), np.uint8)
        with open_video(frames, fps=FPS) as source:
            result = pipeline("the dog", source)
            result.save_video(tmp_path / "out.mp4")
    assert result.found and len(result.boxes) == 10


@pytest.mark.parametrize("kind", ["array", "tensor", "tensor, channels first", "list"])
def test_frames_with_a_rate(kind: str) -> None:
    import torch

    pipeline, _, _ = make_pipeline()
    frames: Any = np.random.default_rng(0).integers(0, 255, (COUNT, HEIGHT, WIDTH, 3), np.uint8)
    given = {
        "array": frames,
        "tensor": torch.from_numpy(frames),
        "tensor, channels first": torch.from_numpy(frames).permute(0, 3, 1, 2),
        "list": list(frames),
    }[kind]
    result = pipeline("the dog", given, fps=FPS)
    assert result.found and len(result.boxes) == 10
    with open_video(given, fps=FPS) as source:
        assert np.array_equal(next(source.stream([7])).pixels, frames[7])
    assert result.keyframes().shape[2] == 3, "the frames are kept with their rate"


def test_a_batch_of_videos_is_not_one_video() -> None:
    import torch

    batch = torch.zeros((1, COUNT, 3, HEIGHT, WIDTH), dtype=torch.uint8)
    with pytest.raises(VideoError, match=r"a batch of videos, of shape \(1, 40, 3, .*batch\[0\]"):
        make_pipeline()[0]("the dog", batch, fps=FPS)


def test_a_rate_is_for_frames_alone(clip: Path) -> None:
    pipeline, _, _ = make_pipeline()
    with pytest.raises(VideoError, match="has its own times"):
        pipeline("the dog", clip, fps=30)
    with open_video(clip) as source, pytest.raises(VideoError, match="has its own times"):
        pipeline("the dog", source, fps=30)


def test_tracks_alone(clip: Path) -> None:
    tracker = FixedTracker(make_track(1, 10), wanted=[0, 5])
    pipeline, _, vlm = make_pipeline(tracker=tracker)
    assert pipeline.track(clip).object_ids == (1,)
    assert [frame.frame_index for frame in tracker.seen] == [0, 5]
    assert vlm.shown == []


def test_selection_numbers_anew_and_scales_to_a_smaller_sample() -> None:
    tracks = Tracks(
        WIDTH,
        HEIGHT,
        np.arange(COUNT) / FPS,
        (make_track(3, 10, score=0.2), make_track(7, 40, masks=True)),
    )
    assert keep_most_visible(tracks, 2) is tracks
    fewer = keep_most_visible(tracks, 1)
    assert fewer.object_ids == (1,)
    assert np.array_equal(fewer.tracks[0].boxes, tracks.tracks[1].boxes)
    assert fewer.warnings == (
        "2 objects were tracked and the 1 most visible are kept, by size, score and time.",
    )
    assert keep_most_visible(tracks, 1, renumber=False).object_ids == (7,)
    indices = np.array([0, 10])
    half = np.zeros((2, HEIGHT // 2, WIDTH // 2, 3), np.uint8)
    fitted = fit_to_sample(tracks, Frames(half, indices, indices / FPS, 1.0, 56, 84))
    assert (fitted.width, fitted.height) == (WIDTH // 2, HEIGHT // 2)
    track = fitted.tracks[1]
    assert track.object_id == 7 and track.frame_indices.tolist() == [0, 10]
    assert track.boxes[0].tolist() == [20, 20, 40, 45]
    assert track.masks is not None and track.masks[0] is not None
    assert track.masks[0]["size"] == [HEIGHT // 2, WIDTH // 2]


def test_hand_made_pipeline_cannot_be_saved(tmp_path: Path) -> None:
    pipeline, _, _ = make_pipeline()
    with pytest.raises(ModelError, match="given by hand"):
        pipeline.save_pretrained(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_settings_that_are_not_there_are_refused() -> None:
    with pytest.raises(ModelError, match="no bundled model"):
        STVGPipeline.from_pretrained("tinyy")


@needs_tiny
def test_unknown_devices_are_refused() -> None:
    with pytest.raises(ConfigError, match="toaster"):
        STVGPipeline.from_pretrained("tiny", device="toaster")


def test_sampling_comes_from_the_config(clip: Path) -> None:
    config = STVGConfig(sampling=SamplingConfig(fps=5.0))
    pipeline, _, vlm = make_pipeline(config=config)
    pipeline("the dog", clip)
    assert len(vlm.shown[0].frames) == 20


@pytest.mark.slow
def test_saved_random_model_gives_the_same_text(clip: Path, tmp_path: Path) -> None:
    import torch

    from train.bundled.tiny_model import build_model, build_processor, save_bundle

    torch.manual_seed(0)
    processor = build_processor()
    save_bundle(build_model(processor.tokenizer), processor, tmp_path / "one")
    config = replace(STVGConfig.load(tmp_path / "one"), generation=GenerationSettings(12))
    config.save(tmp_path / "one")

    def load(name: str) -> STVGPipeline:
        tracker = FixedTracker(make_track(2, 90))
        return STVGPipeline.from_pretrained(tmp_path / name, device="cpu", tracker=tracker)

    first = load("one")
    first.save_pretrained(tmp_path / "two")
    assert "\n# two\n" in (tmp_path / "two/README.md").read_text(), "not the folder it came from"
    second = load("two")
    assert second.config == first.config == config
    texts = [pipeline("the dog", clip).raw_text for pipeline in (first, second)]
    assert texts[0] == texts[1] != ""


@needs_tiny
@pytest.mark.slow
def test_the_bundled_model_answers_alike_together_alone_and_saved(tmp_path: Path) -> None:
    query = json.loads((DEMO / "demo.json").read_text(encoding="utf-8"))["query"]
    pipeline = STVGPipeline.from_pretrained("tiny", device="cpu")
    before = pipeline(query, DEMO / "clip.mp4")
    assert before.found, before.warnings
    # Many questions about one video are answered as each alone, in one call or one by one.
    queries = [query, "the pig walking to the left", "the penguin that is shaking"]
    with pipeline.open(DEMO / "clip.mp4", query=queries) as opened:
        together = opened.ground(queries)
        singly = [opened.ground(text) for text in queries]
    alone = [before, *(pipeline(text, DEMO / "clip.mp4") for text in queries[1:])]
    for several in (together, singly):
        assert [(r.raw_text, r.boxes) for r in several] == [(r.raw_text, r.boxes) for r in alone]
    pipeline.save_pretrained(tmp_path / "copy")
    loaded = STVGPipeline.from_pretrained(tmp_path / "copy", device="cpu")
    assert loaded.config == pipeline.config
    after = loaded(query, DEMO / "clip.mp4")
    assert after.raw_text == before.raw_text
    assert after.boxes == before.boxes
