"""The tracker that fits the footage: on sprites the model's own, on photographs COCO's."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stvg_r1_hub.config import STVGConfig, TrackingConfig
from stvg_r1_hub.errors import Cancelled
from stvg_r1_hub.hub import BUNDLED, load_bundle
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.reading import track_video
from stvg_r1_hub.sprites.clips import clip_scene, frame_times
from stvg_r1_hub.sprites.render import render
from stvg_r1_hub.structures import Pixels
from stvg_r1_hub.tracking import (
    FRAMES_TO_CHOOSE_BY,
    ChoosingTracker,
    DetectionTracker,
    Tracker,
    load_tracker,
)
from stvg_r1_hub.tracking.onnx_detector import COCO_FOLDER
from stvg_r1_hub.video import open_video
from stvg_r1_hub.vlm.scripted import ScriptedVLM
from tests.media import write_clip
from tests.tracking.test_detectors import write_detector

BUNDLE = load_bundle("tiny", weights=False)
PICTURES = BUNDLED / "backgrounds"


@pytest.fixture(scope="module")
def tracker() -> ChoosingTracker:
    found, message = load_tracker(config=BUNDLE.config.tracking, bundle=BUNDLE.detector_home)
    assert isinstance(found, ChoosingTracker) and isinstance(found, Tracker)
    assert message == ""  # The footage decides, and its tracks say how.
    return found


def sprites(level: str, number: int) -> list[Pixels]:
    scene = clip_scene(level, 811, number)
    return list(render(scene, 336, frame_times(scene)[:: len(frame_times(scene)) // 20].tolist()))


def picture(name: str) -> Pixels:
    return np.asarray(Image.open(PICTURES / f"{name}.webp").convert("RGB"))


def with_emoji(pixels: Pixels, *kinds: str, side: int = 80) -> Pixels:
    """A picture with emoji along its upper edge."""
    canvas = Image.fromarray(pixels)
    for number, kind in enumerate(kinds):
        emoji = Image.open(BUNDLED / "emoji" / f"{kind}.webp").convert("RGBA")
        canvas.paste(emoji := emoji.resize((side, side)), (10 + number * (side + 20), 8), emoji)
    return np.asarray(canvas)


def choice(tracker: ChoosingTracker, frames: Sequence[Pixels]) -> tuple[str, str]:
    with open_video(list(frames), fps=10) as source:
        session = tracker.start(source.info)
        for frame in source.stream(tracker.frames_wanted(source.info)):
            session.update(frame)
    tracks = session.finish()
    return ("own" if session.chosen is tracker.own else "coco"), tracks.warnings[0]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("level", ["easy", "medium", "hard"])
def test_sprites_are_for_the_models_own(tracker: ChoosingTracker, level: str, number: int) -> None:
    chosen, message = choice(tracker, sprites(level, number))
    assert chosen == "own" and message.startswith("Tracker: the model's own detector, because")
    assert " of 12 frames of this video." in message


@pytest.mark.parametrize(
    "shown",
    [
        *(picture(name) for name in ("astronaut", "china", "coffee", "flower", "brick", "grass")),
        np.repeat(picture("astronaut").mean(-1, keepdims=True), 3, -1).astype(np.uint8) // 3,
        np.full((64, 96, 3), 128, np.uint8),
        np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8),
    ],
)
def test_photographs_and_nothing_are_for_coco(tracker: ChoosingTracker, shown: Pixels) -> None:
    chosen, message = choice(tracker, [shown] * 2)
    assert chosen == "coco" and "recognises its world in none of 2 frames of" in message


def test_a_clip_with_both_says_so(tracker: ChoosingTracker) -> None:
    alone = picture("astronaut")
    few = with_emoji(alone, "frog", "octopus")
    chosen, message = choice(tracker, [few] * FRAMES_TO_CHOOSE_BY)
    assert chosen == "own" and "frog" in message and "octopus" in message
    assert message.endswith("also sees person, which only tracker 'coco' follows.")
    chosen, message = choice(tracker, [*[with_emoji(alone, "frog")] * 3, *[alone] * 9])
    assert chosen == "coco"
    assert "more in this video (person) than" in message and message.endswith("which sees frog.")


@pytest.mark.slow
def test_what_comes_late_or_is_seen_for_a_moment(tracker: ChoosingTracker) -> None:
    grey = [np.full((336, 336, 3), 128, np.uint8)] * 30
    shown = sprites("easy", 1)[::2]
    assert choice(tracker, [*grey, *shown])[0] == "own"
    assert choice(tracker, [*grey, shown[0]])[0] == "coco"


@pytest.mark.slow
def test_the_tracks_say_who_found_them_and_why(tracker: ChoosingTracker, tmp_path: Path) -> None:
    for frames, name in ((sprites("easy", 1), "detector"), ([picture("astronaut")] * 12, "coco")):
        with open_video(frames, fps=10) as source:
            tracks = track_video(source, tracker)
        assert tracks.tracker == name and len(tracks)
        assert [s.startswith("Tracker: ") for s in tracks.warnings] == [True]
        path = write_clip(tmp_path / f"{name}.mp4", frames)
        config = STVGConfig(tracking=BUNDLE.config.tracking)
        results = STVGPipeline(config, tracker, ScriptedVLM(["?"]))(["the frog", "a man"], path)
        for result in results:
            assert result.tracks is not None and result.tracks.tracker == name
            assert [s for s in result.warnings if s.startswith("Tracker: ")] == [tracks.warnings[0]]


@pytest.mark.parametrize("kind", ["path", "bytes", "file object", "frames", "folder"])
def test_every_kind_of_video_is_looked_at(
    tracker: ChoosingTracker, kind: str, tmp_path: Path
) -> None:
    frames = sprites("medium", 2)[:8]
    path = write_clip(tmp_path / "clip.mp4", frames)
    video: Any = path
    if kind == "bytes":
        video = path.read_bytes()
    elif kind == "file object":
        video = io.BytesIO(path.read_bytes())
    elif kind == "frames":
        video = frames
    elif kind == "folder":
        video = tmp_path / "pictures"
        video.mkdir()
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(video / f"{number}.png")
    with open_video(video, fps=None if kind in ("path", "bytes", "file object") else 10) as source:
        tracks = track_video(source, tracker)
    assert tracks.tracker == "detector" and "7 of 7 frames" in tracks.warnings[0]


@pytest.mark.parametrize("n_grey", [0, 30])
def test_a_video_is_decoded_once_unless_it_belies_its_beginning(
    tracker: ChoosingTracker, n_grey: int
) -> None:
    grey = [np.full((336, 336, 3), 128, np.uint8)] * n_grey
    frames = [*grey, *sprites("easy", 1)]
    steps: list[int] = []
    with open_video(frames, fps=8) as source:
        tracks = track_video(
            source, tracker, progress=lambda stage, done, total: steps.append(done)
        )
    once = list(range(1, len(frames) + 1))
    assert steps == once * (2 if n_grey else 1)
    assert tracks.tracker == "detector" and "own detector, because" in tracks.warnings[0]
    assert [s.startswith("Tracker: ") for s in tracks.warnings] == [True]
    # The frames by which was chosen are not lost.
    assert max(len(t.frame_indices) for t in tracks.tracks) > FRAMES_TO_CHOOSE_BY


def test_looking_can_be_cancelled(tracker: ChoosingTracker) -> None:
    steps = []

    def progress(stage: str, done: int, total: int | None) -> None:
        steps.append((stage, done, total))
        if len(steps) == 3:
            raise Cancelled("enough")

    with open_video(sprites("easy", 1), fps=8) as source, pytest.raises(Cancelled):
        track_video(source, tracker, progress=progress)
    assert steps == [("decode/track", done, len(sprites("easy", 1))) for done in (1, 2, 3)]


def test_visitors_at_once_get_what_each_alone_gets(tracker: ChoosingTracker) -> None:
    clips = [
        sprites("easy", 1),
        [picture("astronaut")] * 4,
        sprites("hard", 0),
        [picture("china")] * 4,
    ]
    alone = [choice(tracker, clip) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda clip: choice(tracker, clip), clips)) == alone


def test_a_detector_that_knows_all_of_coco_is_run_as_it_is(tmp_path: Path) -> None:
    for name in ("detector.onnx", "detector.json"):
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / "all" / name).symlink_to(COCO_FOLDER / name)
    found, message = load_tracker(config=TrackingConfig(detector="all"), bundle=tmp_path)
    assert isinstance(found, DetectionTracker) and message
    write_detector(tmp_path / "own")
    config = TrackingConfig(detector="own")
    assert isinstance(load_tracker(config=config, bundle=tmp_path)[0], ChoosingTracker)
