"""Which classes are tracked, by what they are called; and from which score on."""

import json
from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import ConfigError, TrackerError
from stvg_r1_hub.hub import HubAccess
from stvg_r1_hub.reading import track_video
from stvg_r1_hub.structures import Tracks
from stvg_r1_hub.tracking import (
    DetectionTracker,
    OpenVocabularyTracker,
    TransformersDetector,
    load_tracker,
)
from stvg_r1_hub.tracking.class_groups import COCO_GROUPS, class_groups, usual_name, wanted_classes
from stvg_r1_hub.tracking.score_scale import SURE_SCORES, score_limits
from tests.media import write_clip
from tests.tiny_detectors import save_fixed, save_grounding_dino
from tests.tracking.test_detectors import write_detector
from tests.tracking.worlds import World, info_of, moving, tracked

RED, BLUE, GREEN = (220, 30, 30), (30, 30, 220), (30, 200, 30)
VOC_NAMES = {
    "motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch",
    "pottedplant": "potted plant", "diningtable": "dining table", "tvmonitor": "tv",
}  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("all", [True, True, True, True]),
        ("person", [True, False, False, False]),
        ("non-person", [False, True, True, True]),
        ("dog", [False, True, False, False]),
        (" Couch , dog", [False, True, True, False]),
        ("sofa", [False, False, True, False]),
        ("ghost", [False, False, False, True]),
    ],
)
def test_which_classes_are_wanted(mode: str, wanted: list[bool]) -> None:
    assert wanted_classes(mode, ["Person", "dog", "sofa", "Ghost"]).tolist() == wanted


@pytest.mark.parametrize(
    ("mode", "message"),
    [("dgo", "'dgo' among its 2; did you mean 'dog'?"), ("forklift,dog", "'forklift'"),
     ("person", "no class 'person'"), ("all,dog", "no class 'all'")],
)  # fmt: skip
def test_a_class_that_the_detector_does_not_know_is_refused(mode: str, message: str) -> None:
    with pytest.raises(TrackerError, match="'open' looks for anything") as raised:
        wanted_classes(mode, ["dog", "ghost"])
    assert message in str(raised.value)


@pytest.mark.parametrize("mode", ["", " ", "dog,", ",", "dog,,cat"])
def test_no_name_is_no_class(mode: str) -> None:
    with pytest.raises(ConfigError, match="class_mode"):
        TrackingConfig(class_mode=mode)


def test_classes_may_be_listed() -> None:
    config = TrackingConfig(class_mode="person")
    assert config.of_classes(None) is config
    assert config.of_classes(["dog", "potted plant"]).class_mode == "dog,potted plant"
    assert config.of_classes("all").class_mode == "all"


def test_names_of_pascal_voc_are_cocos_too() -> None:
    assert {usual_name(name) for name in VOC_NAMES} == set(VOC_NAMES.values()) <= set(COCO_GROUPS)
    names = [name for name in COCO_GROUPS if name not in VOC_NAMES.values()] + list(VOC_NAMES)
    groups = dict(zip(names, class_groups([usual_name(n) for n in names]), strict=True))
    assert groups["motorbike"] == groups["car"] and groups["sofa"] == groups["chair"]


def test_a_detector_with_the_names_of_rt_detr_reports_cocos(tmp_path: Path) -> None:
    folder = save_fixed("rt-detr-v2", tmp_path / "voc")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = {"0": "sofa", "1": "person"}
    path.write_text(json.dumps(config))
    assert TransformersDetector(folder).class_names == ("couch", "person")
    tracker, _ = load_tracker(folder, config=TrackingConfig(class_mode="sofa"))
    assert isinstance(tracker, DetectionTracker)


def world() -> World:
    """A person, a dog and a kite, all of which move."""
    paths = {
        color: moving(range(30), (10 + 100 * i, 20), (1, 0))
        for i, color in enumerate((RED, BLUE, GREEN))
    }
    return World(paths, classes={BLUE: 1, GREEN: 2})


def tracks_of(world: World, config: TrackingConfig) -> Tracks:
    tracker, info = DetectionTracker(world, config, name="world"), info_of(30)
    return tracked(tracker, world.stream(tracker.frames_wanted(info), info), info)


@pytest.mark.parametrize(
    ("mode", "classes"),
    [("all", ["person", "dog", "kite"]), ("person", ["person"]), ("non-person", ["dog", "kite"]),
     ("kite,person", ["person", "kite"])],
)  # fmt: skip
def test_only_wanted_objects_are_tracked(mode: str, classes: list[str]) -> None:
    found = tracks_of(world(), TrackingConfig(class_mode=mode))
    assert sorted(track.class_name for track in found.tracks) == sorted(classes)


@pytest.mark.parametrize("mode", ["all", "dog, fish", "person", "non-person"])
def test_a_detector_of_words_looks_for_the_named_classes(mode: str, tmp_path: Path) -> None:
    folder = save_grounding_dino(tmp_path / "dino")
    config = TrackingConfig(score_threshold=0.01, class_mode=mode)
    tracker, _ = load_tracker(folder, config=config, access=HubAccess(local_files_only=True))
    assert isinstance(tracker, OpenVocabularyTracker)
    clip = write_clip(tmp_path / "clip.mp4", 3, size=(80, 60))
    queried = track_video(clip, tracker, query="the forklift")
    words = {"dog, fish": "dog, fish", "person": "person"}.get(mode, "forklift")
    assert f"Only what the words say was looked for: {words}." in queried.warnings
    if words != "forklift":
        assert queried.warnings == track_video(clip, tracker).warnings, "no query is needed"


def test_a_bundle_whose_own_detector_does_not_know_the_class(tmp_path: Path) -> None:
    """The bundled COCO detector remains, and it is said; a detector that is named is refused."""
    write_detector(tmp_path / "own")
    config = TrackingConfig(detector="own", class_mode="person")
    tracker, message = load_tracker(config=config, bundle=tmp_path)
    assert tracker.name == "coco" and "knows no class 'person'" in message
    with pytest.raises(TrackerError, match="knows no class 'person'"):
        load_tracker(tmp_path / "own", config=config, bundle=tmp_path)


@pytest.mark.parametrize(("classes", "name"), [("ghost", "own"), ("dog", "own or coco")])
def test_a_bundle_whose_own_detector_knows_the_class(
    classes: str, name: str, tmp_path: Path
) -> None:
    """COCO's detector is an alternative only where it knows the class too."""
    folder = write_detector(tmp_path / "own")
    settings = json.loads((folder / "detector.json").read_text())
    settings["class_names"] = ["dog", "ghost"]
    (folder / "detector.json").write_text(json.dumps(settings))
    config = TrackingConfig(detector="own", class_mode=classes)
    assert load_tracker(config=config, bundle=tmp_path)[0].name == name


def test_given_tracks_are_used_whatever_their_class(tmp_path: Path) -> None:
    path = tmp_path / "tracks.json"
    path.write_text(json.dumps({"fps": 1, "width": 1, "height": 1, "tracks": []}))
    assert "whatever their class" in load_tracker(path, config=TrackingConfig(class_mode="dog"))[1]
    assert "class" not in load_tracker(path, config=TrackingConfig())[1]


class Scaled(World):
    """A detector with a scale of its own."""

    def __init__(self, sure_score: float, score: float) -> None:
        super().__init__({RED: moving(range(30), (20, 20), (2, 0))}, scores={RED: score})
        self.sure_score = sure_score


@pytest.mark.parametrize(
    ("sure", "score", "threshold", "found"),
    [
        (0.45, 0.5, None, 1),
        (0.45, 0.4, None, 0),
        (SURE_SCORES["grounding-dino"], 0.32, None, 1),
        (SURE_SCORES["grounding-dino"], 0.25, None, 0),
        (SURE_SCORES["owlv2"], 0.2, None, 1),
        (SURE_SCORES["yolos"], 0.5, None, 0),
        # A threshold that is set wins over the detector's.
        (0.45, 0.32, 0.2, 1),
        (SURE_SCORES["grounding-dino"], 0.32, 0.3, 0),
    ],
)
def test_the_score_of_an_object_is_on_its_detectors_scale(
    sure: float, score: float, threshold: float | None, found: int
) -> None:
    tracks = tracks_of(Scaled(sure, score), TrackingConfig(score_threshold=threshold))
    assert len(tracks) == found


def test_score_limits() -> None:
    plain = World({})
    assert score_limits(plain, TrackingConfig()) == pytest.approx((0.3, 0.45))
    for threshold in (0.0, 0.1, 0.5, 0.9, 0.99):
        weak, sure = score_limits(plain, TrackingConfig(score_threshold=threshold))
        assert weak == threshold and weak <= sure < 1


def test_loaded_detectors_bring_their_scale(tmp_path: Path) -> None:
    from stvg_r1_hub.tracking import TransformersOpenDetector

    open_detector = TransformersOpenDetector(save_grounding_dino(tmp_path / "dino"))
    named = open_detector.looking_for(["dog"])
    assert score_limits(named, TrackingConfig()) == pytest.approx((0.2, 0.3))
    fixed = TransformersDetector(save_fixed("rt-detr-v2", tmp_path / "fixed"))
    assert score_limits(fixed, TrackingConfig()) == pytest.approx((0.3, 0.45))
    frame = np.zeros((60, 80, 3), np.uint8)
    assert all(s >= 0.2 - 1e-6 for s in named.detect([frame])[0].scores)
