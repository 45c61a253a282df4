"""The paper's tracker: which objects, which masks, how many steps."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.geometry import decode_mask
from stvg_r1_hub.mask_session import Mask
from stvg_r1_hub.segmentation import TransformersSam2
from stvg_r1_hub.structures import Detections, Pixels, TimedFrame, Tracks
from stvg_r1_hub.tracking import PaperTracker, load_tracker, paper
from stvg_r1_hub.tracking.paper import match_new_objects
from tests.tiny_sam2 import build_model, build_processor
from tests.tracking.worlds import HEIGHT, WIDTH, World, info_of, moving, tracked

RED, BLUE, GREEN = (220, 30, 30), (30, 30, 220), (30, 220, 30)


class ColorSession:
    """Follows an object by its colour; what it does to each object is counted."""

    def __init__(self) -> None:
        self.frame_steps = 0
        self.colors: dict[int, NDArray[np.uint8]] = {}
        self.largest_number = 0

    def next_frame(self, pixels: Pixels) -> dict[int, Mask]:
        self.pixels = pixels
        self.frame_steps += len(self.colors)
        self.largest_number = max(self.largest_number, len(self.colors))
        return {i: (pixels == color).all(-1) for i, color in self.colors.items()}

    def masks_of_boxes(self, boxes: Sequence[NDArray[np.float32]]) -> list[Mask]:
        masks = []
        for left, top, right, bottom in np.asarray(boxes).round().astype(int):
            color = self.pixels[(top + bottom) // 2, (left + right) // 2]
            mask = np.zeros(self.pixels.shape[:2], bool)
            mask[top:bottom, left:right] = (self.pixels[top:bottom, left:right] == color).all(-1)
            masks.append(mask)
        return masks

    def add(self, object_id: int, *, mask: Mask) -> Mask:
        self.frame_steps += 1
        values = self.pixels[mask]
        self.colors[object_id] = values[len(values) // 2]
        return mask

    def drop(self, object_id: int) -> None:
        del self.colors[object_id]


class ColorSegmenter:
    name = "colors"

    def __init__(self) -> None:
        self.sessions: list[ColorSession] = []

    def open(self, height: int, width: int, n_frames: int) -> ColorSession:
        self.sessions.append(ColorSession())
        return self.sessions[-1]


def run(
    world: World, n_frames: int, *, mode: str = "all", backward: bool = False
) -> tuple[Tracks, list[ColorSession]]:
    segmenter = ColorSegmenter()
    config = TrackingConfig(class_mode=mode)
    tracker = PaperTracker(world, segmenter, config, backward=backward)
    info = info_of(n_frames)
    assert list(tracker.frames_wanted(info)) == list(range(n_frames))
    return tracked(tracker, world.stream(range(n_frames), info), info), segmenter.sessions


def test_objects_are_found_on_key_frames_and_followed_between() -> None:
    early, late = moving(range(50), (20, 20), (2, 0)), moving(range(18, 50), (200, 100), (-2, 0))
    tracks, (session,) = run(World({RED: early, BLUE: late}, classes={BLUE: 1}), 50)
    first, second = tracks.tracks
    assert (first.object_id, first.class_name, second.class_name) == (1, "person", "dog")
    assert first.frame_indices.tolist() == list(range(50))
    assert second.frame_indices.tolist() == list(range(30, 50)), "found at frame 30, not before"
    assert not first.interpolated.any() and first.score == 0.9
    for track, path in ((first, early), (second, late)):
        for frame in track.frame_indices.tolist():
            assert track.box_at(frame).tolist() == list(path[frame])  # type: ignore[union-attr]
    assert first.masks is not None and first.masks[0] is not None
    assert decode_mask(first.masks[0]).sum() == 30 * 60
    assert session.frame_steps == 50 + 20, "each object once in each of its frames"


def test_late_objects_cost_their_own_frames_alone() -> None:
    """Five objects appear at five key frames; a restart for each would step all again."""
    colors = [(250, 10 * i, 40) for i in range(1, 6)]
    paths = {
        color: moving(range(15 * i, 90), (10 + 60 * i, 40), (0, 0))
        for i, color in enumerate(colors)
    }
    tracks, (session,) = run(World(paths), 90)
    assert len(tracks) == 5
    ours = sum(90 - 15 * i for i in range(5))
    official = sum((i + 1) * (90 - 15 * i) for i in range(5))
    assert session.frame_steps == ours == 300 and official == 750


def test_backward_masks_reach_the_key_frame_before() -> None:
    late = moving(range(18, 50), (200, 100), (-2, 0))
    world = World({RED: moving(range(50), (20, 20), (2, 0)), BLUE: late})
    tracks, sessions = run(world, 50, backward=True)
    assert tracks.tracks[1].frame_indices.tolist() == list(range(18, 50))
    assert len(sessions) == 2 and sessions[1].frame_steps == 15, "14 frames back, one object"


@pytest.mark.parametrize(("mode", "names"), [("person", ["person"]), ("non-person", ["dog"])])
def test_class_modes(mode: str, names: list[str]) -> None:
    world = World(
        {RED: moving(range(20), (20, 20), (1, 0)), BLUE: moving(range(20), (200, 20), (1, 0))},
        classes={BLUE: 1},
    )
    assert [track.class_name for track in run(world, 20, mode=mode)[0].tracks] == names
    with pytest.raises(TrackerError, match="knows no class 'cats'"):
        run(world, 20, mode="cats")


def test_weak_detections_and_empty_videos() -> None:
    path = moving(range(20), (20, 20), (1, 0))
    tracks, (session,) = run(World({RED: path}, scores={RED: 0.2}), 20)
    assert len(tracks) == 0 and session.frame_steps == 0
    assert tracks.warnings == ("No object was found in 2 key frames.",)


def test_a_part_is_given_up_for_the_whole() -> None:
    """A small object at frame 0 turns out to belong to a larger one at frame 15."""

    class Growing(World):
        def _detect(self, frame: int) -> Detections:
            left, top, right, bottom = self.objects[RED][frame]
            small = [left, top, right, top + 20]
            box = small if frame == 0 else [left, top, right, bottom]
            return Detections(
                np.array([box], np.float32), np.array([0.9], np.float32), np.zeros(1, np.int64)
            )

    class PartSession(ColorSession):
        """An object stays as large as it was started."""

        def next_frame(self, pixels: Pixels) -> dict[int, Mask]:
            found = super().next_frame(pixels)
            for i, mask in found.items():
                rows = np.flatnonzero(mask.any(1))
                mask[rows[0] + self.heights[i] :] = False
            return found

        def add(self, object_id: int, *, mask: Mask) -> Mask:
            self.heights = {**getattr(self, "heights", {}), object_id: int(mask.any(1).sum())}
            return super().add(object_id, mask=mask)

    class PartSegmenter(ColorSegmenter):
        def open(self, height: int, width: int, n_frames: int) -> ColorSession:
            return PartSession()

    info = info_of(30)
    world = Growing({RED: moving(range(30), (20, 20), (2, 0))})
    tracker = PaperTracker(world, PartSegmenter(), TrackingConfig())
    part, whole = tracked(tracker, world.stream(range(30), info), info).tracks
    assert part.frame_indices.tolist() == list(range(15))
    assert whole.frame_indices.tolist() == list(range(15, 30)) and whole.object_id == 2


def test_masks_of_one_frame_are_disjoint_the_newest_on_top() -> None:
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[:3], b[2:] = True, True
    shown = paper._disjoint({1: a, 7: b})
    assert list(shown) == [1, 7]
    assert np.array_equal(shown[7], b) and np.array_equal(shown[1], a & ~b)


class Boxes:
    """Detections at fixed frames, whatever the picture shows."""

    class_names = ("thing",)

    def __init__(self, by_frame: dict[int, list[list[float]]]) -> None:
        self.by_frame = by_frame
        self.frame = -15

    def detect(self, frames: Sequence[Pixels]) -> list[Detections]:
        self.frame += 15
        boxes = np.array(self.by_frame.get(self.frame, []), np.float32).reshape(-1, 4)
        n = len(boxes)
        return [Detections(boxes, np.full(n, 0.9, np.float32), np.zeros(n, np.int64))]


def official_masks(
    model: Any, processor: Any, frames: list[Pixels], detected: dict[int, list[list[float]]]
) -> tuple[dict[int, dict[int, Mask]], int]:
    """The official way with SAM 2 on the whole clip: a restart at every key frame with news.

    Written masks stay, and only new objects are written.
    """
    height, width = frames[0].shape[:2]
    written: dict[int, dict[int, Mask]] = {}
    steps = next_id = 0
    for key, boxes in detected.items():
        one = TransformersSam2(model, processor).open(height, width, 1)
        one.next_frame(frames[key])
        masks = one.masks_of_boxes(np.array(boxes, np.float32))
        shown = {i: written[i][key] for i in written}
        kept, given_up = match_new_objects(shown, masks)
        prompts = {i: m for i, m in shown.items() if i not in given_up and m.any()}
        new = []
        for place in kept:
            next_id += 1
            new.append(next_id)
            prompts[next_id] = masks[place]
        session = processor.init_video_session(video=list(frames))
        ids = list(prompts)
        processor.add_inputs_to_inference_session(
            session, key, list(ids), input_masks=[prompts[i] for i in ids]
        )
        for i in new:
            written[i] = {}
        for out in model.propagate_in_video_iterator(session, start_frame_idx=key):
            steps += len(ids)
            full = processor.post_process_masks([out.pred_masks], [(height, width)])[0]
            for place, i in enumerate(ids):
                if i in new:
                    written[i][out.frame_idx] = full[place, 0].numpy()
    return written, steps


def test_one_pass_gives_the_masks_of_the_official_restarts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With real SAM 2 at tiny size: three objects, found at three key frames."""
    rng = np.random.default_rng(3)
    frames = [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(36)]
    detected = {0: [[2.0, 2, 30, 30]], 15: [[40.0, 10, 70, 50]], 30: [[10.0, 30, 40, 58]]}
    model, processor = build_model(), build_processor()
    info = info_of(36)
    info = type(info)("noise", 80, 60, info.frame_times, info.duration_seconds)

    opened = []

    class Watched(TransformersSam2):
        def open(self, height: int, width: int, n_frames: int) -> Any:
            opened.append(super().open(height, width, n_frames))
            return opened[-1]

    def stream() -> Iterator[TimedFrame]:
        for i, pixels in enumerate(frames):
            yield TimedFrame(i, i / 10, pixels)

    # Random weights give masks that swallow one another, which the matching would then end.
    def everything_is_new(existing: Any, masks: Any) -> tuple[list[int], list[int]]:
        return list(range(len(masks))), []

    monkeypatch.setattr(paper, "match_new_objects", everything_is_new)
    monkeypatch.setattr(sys.modules[__name__], "match_new_objects", everything_is_new)
    tracker = PaperTracker(Boxes(detected), Watched(model, processor), TrackingConfig())
    tracks = tracked(tracker, stream(), info)
    official, steps = official_masks(model, processor, frames, detected)
    assert opened[0].frame_steps == 36 + 21 + 6 < steps == 36 + 2 * 21 + 3 * 6
    painted = {
        f: paper._disjoint({i: m[f] for i, m in official.items() if f in m}) for f in range(36)
    }
    compared = 0
    for track in tracks.tracks:
        assert track.masks is not None
        for place, frame in enumerate(track.frame_indices.tolist()):
            rle = track.masks[place]
            assert rle is not None
            differs = (decode_mask(rle) != painted[frame][track.object_id]).mean()
            assert differs < 0.002, (track.object_id, frame)
            compared += 1
    assert compared > 40


def test_paper_by_name_needs_a_segmenter() -> None:
    with pytest.raises(TrackerError, match="needs a segmenter"):
        load_tracker("paper-coco", config=TrackingConfig())
    tracker, message = load_tracker(
        "paper-coco",
        config=TrackingConfig(),
        segmenter=ColorSegmenter,  # type: ignore[arg-type]
    )
    assert tracker.name == "paper-coco" and "bundled COCO detector on every 15th frame" in message
    assert (HEIGHT, WIDTH) == (240, 320)
