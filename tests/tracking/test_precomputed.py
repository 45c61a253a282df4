"""Tracks from files: round trips of both forms, and records that contradict their video."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.geometry import decode_mask, encode_mask
from stvg_r1_hub.structures import Tracks, VideoInfo
from stvg_r1_hub.tracking import (
    PrecomputedTracks,
    Tracker,
    load_tracks,
    save_tracks,
)
from tests.builders import make_track
from tests.tracking.worlds import save_official

INFO = VideoInfo("v", 40, 30, np.arange(6) / 5, 1.2)


def mask(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    full = np.zeros((30, 40), dtype=bool)
    full[top:bottom, left:right] = True
    return full


def example(masks: bool = True) -> Tracks:
    boxes = np.array([[3, 4, 10, 12], [5, 4, 12, 12]], np.float32)
    rle = tuple(encode_mask(mask(*(int(v) for v in box))) for box in boxes)
    first = make_track(2, [1, 4], boxes, score=0.75, interpolated=[4], masks=rle if masks else None)
    second = make_track(7, [0], [20, 0, 40, 30], name="cat", score=0.5)
    return Tracks(40, 30, INFO.frame_times, (first, second), class_names=("cat", "dog", "cow"))


def assert_same(a: Tracks, b: Tracks) -> None:
    assert (a.width, a.height, a.object_ids) == (b.width, b.height, b.object_ids)
    assert np.allclose(a.frame_times, b.frame_times)
    for x, y in zip(a.tracks, b.tracks, strict=True):
        assert (x.class_name, x.score, x.masks) == (y.class_name, y.score, y.masks)
        assert x.frame_indices.tolist() == y.frame_indices.tolist()
        assert np.array_equal(x.boxes, y.boxes)
        assert x.interpolated.tolist() == y.interpolated.tolist()


@pytest.mark.parametrize("masks", [True, False])
def test_compact_file_round_trip(tmp_path: Path, masks: bool) -> None:
    path = tmp_path / "tracks.json"
    save_tracks(example(masks), path)
    assert load_tracks(path).class_names == example().class_names
    assert_same(load_tracks(path), example(masks))
    tracker = PrecomputedTracks(path)
    assert isinstance(tracker, Tracker)
    assert list(tracker.frames_wanted(INFO)) == []
    assert_same(tracker.start(INFO).finish(), example(masks))


def test_the_minimal_compact_form_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "tracks.json"
    record = {"id": 1, "class": "dog", "score": 0.5, "frames": [2], "boxes": [[1, 2, 3, 4]]}
    path.write_text(json.dumps({"fps": 5, "width": 40, "height": 30, "tracks": [record]}))
    tracks = load_tracks(path)
    assert tracks.frame_times.tolist() == pytest.approx([0, 0.2, 0.4])
    assert tracks.tracks[0].interpolated.tolist() == [False]
    assert len(PrecomputedTracks(path).start(INFO).finish().frame_times) == 6


def test_official_folder_round_trip(tmp_path: Path) -> None:
    save_official(example(), tmp_path / "mask_data")
    assert sorted(p.name for p in (tmp_path / "mask_data").iterdir()) == [
        f"mask_{i}.json" for i in range(6)
    ]
    values = json.loads((tmp_path / "mask_data" / "mask_1.json").read_text())
    assert (values["height"], values["width"]) == (30, 40)
    assert set(values["objects"]) == {"2"}
    assert set(values["objects"]["2"]) == {"rle", "class_name", "box"}
    for folder in (tmp_path, tmp_path / "mask_data"):
        tracks = PrecomputedTracks(folder).start(INFO).finish()
        assert tracks.object_ids == (2, 7)
        dog, cat = tracks.tracks
        assert dog.class_name == "dog" and dog.frame_indices.tolist() == [1, 4]
        assert dog.boxes.tolist() == example().tracks[0].boxes.tolist()
        assert dog.masks == example().tracks[0].masks
        # The cat had no mask: its box was written as a filled rectangle.
        assert cat.masks is not None and cat.masks[0] is not None
        assert np.array_equal(decode_mask(cat.masks[0]), mask(20, 0, 40, 30))


def write_official(folder: Path, frame: int, objects: Any) -> None:
    values = {"height": 30, "width": 40, "objects": objects}
    (folder / f"mask_{frame}.json").write_text(json.dumps(values))


def test_official_folders_as_the_scripts_leave_them(tmp_path: Path) -> None:
    rle = encode_mask(mask(3, 4, 10, 12))
    write_official(tmp_path, 0, None)
    write_official(tmp_path, 2, {"1": {"rle": rle, "class_name": None, "box": None}})
    write_official(tmp_path, 3, {"1": None, "4": {"rle": encode_mask(mask(0, 0, 0, 0))}})
    tracks = PrecomputedTracks(tmp_path).start(INFO).finish()
    assert tracks.object_ids == (1,)
    assert tracks.tracks[0].class_name == "object"
    assert tracks.tracks[0].frame_indices.tolist() == [2]


@pytest.mark.parametrize(
    ("objects", "frame", "message"),
    [
        ({"x": {"rle": encode_mask(mask(1, 1, 5, 5))}}, 0, "id 'x'"),
        ({"1": {"rle": encode_mask(np.ones((9, 9)))}}, 1, r"mask_1.*size \[9, 9\]"),
        ({"1": {"rle": {"size": [30, 40], "counts": "04"}}}, 2, "cannot be decoded"),
        ({"1": {"rle": {"size": [30, 40]}}}, 2, "size and counts"),
        ({}, 6, "frame 6"),
        ([1], 0, "objects"),
    ],
)
def test_bad_official_files_are_named(
    tmp_path: Path, objects: Any, frame: int, message: str
) -> None:
    write_official(tmp_path, frame, objects)
    with pytest.raises(TrackerError, match=message):
        PrecomputedTracks(tmp_path).start(INFO).finish()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 0}, "positive integer"),
        ({"id": True}, "positive integer"),
        ({"frames": []}, "frames"),
        ({"frames": [3, 2]}, "ascend"),
        ({"frames": [1, 9]}, r"frames 1\.\.9"),
        ({"frames": [1, 10**30]}, "frames"),
        ({"frames": [-1, 2]}, r"frames -1\.\.2"),
        ({"boxes": [[1, 2, 3, float("nan")], [1, 2, 3, 4]]}, "finite"),
        ({"boxes": [[1, 2, 3, 4]]}, "2 lists of 4"),
        ({"boxes": [[5, 2, 3, 4], [1, 2, 3, 4]]}, "x1<x2"),
        ({"boxes": "none"}, "numbers"),
        ({"score": 3}, "score"),
        ({"interpolated": [1, 0]}, "interpolated"),
        ({"masks": [None]}, "masks"),
    ],
)
def test_bad_records_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    good = {"id": 3, "class": "dog", "score": 0.5, "frames": [1, 2], "boxes": [[1, 2, 3, 4]] * 2}
    path = tmp_path / "t.json"
    values = {"fps": 5, "width": 40, "height": 30, "tracks": [good | change]}
    path.write_text(json.dumps(values))
    with pytest.raises(TrackerError, match=message) as raised:
        PrecomputedTracks(path).start(INFO).finish()
    assert "track 0" in str(raised.value)


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    good = {"id": 3, "frames": [1], "boxes": [[1, 2, 3, 4]]}
    for values, message in [
        ({"fps": 5, "width": 99, "height": 30, "tracks": []}, "99x30"),
        ({"fps": 5, "width": 0, "height": 30, "tracks": []}, "positive pixels"),
        ({"fps": 5, "width": 40, "height": 30}, "list of tracks"),
        ({"fps": 5, "width": 40, "height": 30, "tracks": [], "class_names": "dog"}, "class_names"),
        ({"fps": 5, "width": 40, "height": 30, "tracks": [good, good]}, r"ids \[3\] occur twice"),
        ([], "JSON object"),
    ]:
        path.write_text(json.dumps(values))
        with pytest.raises(TrackerError, match=message):
            PrecomputedTracks(path).start(INFO).finish()
    path.write_text(json.dumps({"fps": 0, "width": 40, "height": 30, "tracks": [good]}))
    with pytest.raises(TrackerError, match="fps is 0"):
        load_tracks(path)
    path.write_text("{")
    with pytest.raises(TrackerError, match="Cannot read"):
        load_tracks(path)
    with pytest.raises(TrackerError, match="No precomputed tracks"):
        PrecomputedTracks(tmp_path / "missing")
