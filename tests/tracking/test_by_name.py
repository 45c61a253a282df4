"""What a user may name as a tracker, and how the choice is said."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.hub import HubAccess
from stvg_r1_hub.reading import track_video
from stvg_r1_hub.structures import TimedFrame, VideoInfo
from stvg_r1_hub.tracking import ChoosingTracker, DetectionTracker, PrecomputedTracks, load_tracker
from stvg_r1_hub.tracking.by_name import automatic_choices
from stvg_r1_hub.video import open_video
from tests.tracking.test_detectors import figure, write_detector
from tests.tracking.test_detectors import yolos as yolos
from tests.tracking.worlds import World, info_of, moving, tracked


def test_auto_is_the_bundled_coco_detector() -> None:
    tracker, message = load_tracker(config=TrackingConfig())
    assert tracker.name == "coco" and "COCO" in message
    assert load_tracker("coco", config=TrackingConfig(detector="detector"))[0].name == "coco"


@pytest.mark.parametrize(
    ("detector", "device", "installed", "choices"),
    [
        ("auto", "cpu", set(), ("coco",)),
        ("auto", "cpu", {"ultralytics"}, ("coco",)),
        ("auto", "mps", {"ultralytics"}, ("coco",)),
        ("auto", "cuda", set(), ("rtdetr", "coco")),
        ("auto", "cuda:1", {"ultralytics"}, ("rtdetr", "yolo", "coco")),
        ("detector", "cuda", {"ultralytics"}, ("detector",)),
        ("PekingU/rtdetr_v2_r18vd", "cpu", set(), ("PekingU/rtdetr_v2_r18vd",)),
    ],
)
def test_what_auto_tries(
    detector: str, device: str, installed: set[str], choices: tuple[str, ...]
) -> None:
    assert automatic_choices(detector, device, installed) == choices


def test_auto_says_why_it_did_not_get_what_a_gpu_deserves() -> None:
    """Nothing is downloaded here, so of the choices for a GPU the last one remains."""
    tracker, message = load_tracker(
        config=TrackingConfig(), device="cuda", access=HubAccess(local_files_only=True)
    )
    assert tracker.name == "coco"
    assert "COCO" in message and message.endswith("is out of reach.")


@pytest.mark.parametrize("name", ["rtdetr", "open", "ustc-community/dfine-small-coco"])
def test_what_is_out_of_reach_is_one_sentence_with_a_way_out(name: str) -> None:
    with pytest.raises(TrackerError) as error:
        load_tracker(name, config=TrackingConfig(), access=HubAccess(local_files_only=True))
    message = str(error.value)
    assert "is not in the local cache" in message and "\n" not in message
    assert message.endswith("or take the tracker 'coco', which is bundled.")


def test_auto_takes_the_detector_that_a_bundle_names(tmp_path: Path) -> None:
    write_detector(tmp_path / "own")
    config = TrackingConfig(detector="own")
    tracker, message = load_tracker(config=config, bundle=tmp_path)
    assert isinstance(tracker, ChoosingTracker) and tracker.own.name == "own"
    assert message == ""  # The footage decides, and its tracks say how.
    # Named by its path, it is taken whatever the footage.
    assert load_tracker(tmp_path / "own", config=config, bundle=tmp_path)[0].name == "own"
    # A user's choice wins over the bundle's.
    assert load_tracker("coco", config=config, bundle=tmp_path)[0].name == "coco"


def test_a_bundle_cannot_point_outside_itself(tmp_path: Path) -> None:
    write_detector(tmp_path / "elsewhere")
    (tmp_path / "bundle").mkdir()
    for outside in ("../elsewhere", str(tmp_path / "elsewhere")):
        config = TrackingConfig(detector=outside)
        with pytest.raises(TrackerError, match="Unknown tracker"):
            load_tracker(config=config, bundle=tmp_path / "bundle")


def test_paths(tmp_path: Path, yolos: Path) -> None:
    folder = write_detector(tmp_path / "onnx")
    tracker, message = load_tracker(folder, config=TrackingConfig())
    assert isinstance(tracker, DetectionTracker) and str(folder) in message
    tracker, message = load_tracker(
        str(yolos), config=TrackingConfig(), access=HubAccess(local_files_only=True)
    )
    assert isinstance(tracker, DetectionTracker) and "transformers" in message
    path = tmp_path / "tracks.json"
    path.write_text(json.dumps({"fps": 1, "width": 1, "height": 1, "tracks": []}))
    tracker, message = load_tracker(path, config=TrackingConfig())
    assert isinstance(tracker, PrecomputedTracks) and "precomputed" in message


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("license: apache-2.0", None),
        ("license: agpl-3.0", "agpl-3.0"),
        ("license: other\nlicense_name: pml-1.0", "pml-1.0"),
        ("license: other", "one of its own"),
        ("license: [mit, gpl-3.0]", "gpl-3.0"),
        ("pipeline_tag: object-detection", None),
    ],
)
def test_a_licence_that_asks_for_more_is_said(
    head: str, said: str | None, tmp_path: Path, yolos: Path
) -> None:
    folder = shutil.copytree(yolos, tmp_path / "detector")
    (folder / "README.md").write_text(f"---\n{head}\n---\n# Detector\n")
    _, message = load_tracker(folder, config=TrackingConfig())
    assert ("Its licence" in message) == (said is not None) and (said or "") in message


def test_a_ready_tracker_is_used_as_it_is() -> None:
    mine = DetectionTracker(World({}), TrackingConfig(), name="mine")
    assert load_tracker(mine, config=TrackingConfig()) == (mine, "Tracker: mine, as given.")
    with pytest.raises(TrackerError, match="int is not a tracker: it has no name, no class_names"):
        load_tracker(3, config=TrackingConfig())  # type: ignore[arg-type]


class OldTracker:
    """What a tracker was before sessions."""

    name = "old"

    def frames_wanted(self, info: VideoInfo) -> list[int]:
        return []

    def track(self, stream: object, info: VideoInfo) -> None:
        raise AssertionError("it must not be called")


def test_a_tracker_of_the_old_form_is_told_what_to_change() -> None:
    message = (
        r"OldTracker is not a tracker: it has no class_names, no start; .* start\(info, query\)"
    )
    with pytest.raises(TrackerError, match=message):
        load_tracker(OldTracker(), config=TrackingConfig())  # type: ignore[arg-type]
    video = open_video([np.zeros((16, 16, 3), np.uint8)] * 2, fps=10)
    with pytest.raises(TrackerError, match=message):
        track_video(video, OldTracker())  # type: ignore[arg-type]


def test_the_documented_tracker_tracks() -> None:
    page = (Path(__file__).parents[2] / "docs" / "trackers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    world = World({(255, 255, 255): moving(range(4), (20, 80), (30, 0))}, backgrounds={0: 10})
    frames = [world.picture(i) for i in range(4)]
    tracks = track_video(open_video(frames, fps=10), names["Brightest"]())
    assert tracks.tracker == "brightest" and tracks.class_names == ("light",)
    assert tracks.tracks[0].boxes[:, 0].tolist() == [12, 42, 72, 102]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("Coco", "coco"), ("yolo12", "yolo"), ("yoloworld", "yolo-world"), ("rt-detr", "rtdetr")],
)
def test_a_mistyped_name_is_told_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(TrackerError, match=f"Unknown tracker '{name}'; did you mean '{meant}'"):
        load_tracker(name, config=TrackingConfig())


@pytest.mark.parametrize("name", ["segment-all", "no/such/path", "../x", ""])
def test_unknown_names_say_what_is_allowed(name: str) -> None:
    with pytest.raises(TrackerError, match=r"Unknown tracker.*'auto', 'coco'"):
        load_tracker(name, config=TrackingConfig())


def test_an_unreachable_hub_id_is_one_sentence() -> None:
    with pytest.raises(TrackerError, match="nobody/no-such-detector") as raised:
        load_tracker(
            "nobody/no-such-detector",
            config=TrackingConfig(),
            access=HubAccess(local_files_only=True),
        )
    assert "\n" not in str(raised.value)


def test_an_empty_folder_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match="holds none of them"):
        load_tracker(tmp_path, config=TrackingConfig())


def test_the_bundled_detector_tracks_a_rendered_video() -> None:
    tracker, _ = load_tracker(config=TrackingConfig())
    info = info_of(4)
    still = figure()
    info = VideoInfo("drawn", 640, 480, info.frame_times, info.duration_seconds)
    frames = (TimedFrame(i, i / 10, np.roll(still, 4 * i, axis=1)) for i in range(4))
    tracks = tracked(tracker, frames, info)
    assert list(tracks.object_ids) == list(range(1, len(tracks) + 1))
