"""Notes of objects: motion words with seconds, the camera taken out, colours, places, edges."""

from dataclasses import replace

import numpy as np
import pytest

from stvg_r1_hub.notes import MOST_OBJECTS, take_notes
from stvg_r1_hub.structures import Frames, Notes, ObjectNote, Track, Tracks
from tests.builders import make_track

WIDTH, HEIGHT, FPS, SECONDS = 640, 480, 10, 6
TIMES = np.arange(SECONDS * FPS) / FPS
SAMPLED = np.arange(0, SECONDS * FPS, 5)


def texture(rng: np.random.Generator) -> np.ndarray:
    """A large picture with corners to follow, grey-green."""
    import cv2

    coarse = rng.integers(60, 200, (60, 120, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (1800, 900), interpolation=cv2.INTER_NEAREST))


def footage(*, pan: float = 0.0, zoom: float = 0.0, seed: int = 0) -> Frames:
    """Frames of a textured wall; `pan` pixels a second to the right, `zoom` share a second."""
    import cv2

    wall = texture(np.random.default_rng(seed))
    pixels = []
    for seconds in TIMES[SAMPLED]:
        scale = (1 + zoom) ** seconds
        width, height = WIDTH / scale, HEIGHT / scale
        left = 500 + pan * seconds + (WIDTH - width) / 2
        top = 200 + (HEIGHT - height) / 2
        corners = np.float32([[left, top], [left + width, top], [left, top + height]])
        target = np.float32([[0, 0], [WIDTH, 0], [0, HEIGHT]])
        matrix = cv2.getAffineTransform(corners, target)
        pixels.append(cv2.warpAffine(wall, matrix, (WIDTH, HEIGHT)))
    return Frames(np.stack(pixels), SAMPLED, TIMES[SAMPLED], 2.0, 280, 364)


def track(number: int, x: np.ndarray, feet: np.ndarray, height: float | np.ndarray = 120.0,
          name: str = "person", first: int = 0) -> Track:  # fmt: skip
    height = np.broadcast_to(height, len(x))
    boxes = np.stack([x - height / 5, feet - height, x + height / 5, feet], axis=1)
    return make_track(number, range(first, first + len(x)), boxes, name=name)


def steady(value: float) -> np.ndarray:
    return np.full(len(TIMES), float(value))


def noted(*tracks: Track, frames: Frames | None = None) -> Notes:
    frames = footage() if frames is None else frames
    return take_notes(frames, Tracks(WIDTH, HEIGHT, TIMES, tracks))


def words(note: ObjectNote) -> list[str]:
    return [s.word for s in note.motion if s.word != "fast"]


@pytest.mark.parametrize(
    ("x_speed", "y_speed", "word"),
    [(-90, 0, "left"), (90, 0, "right"), (0, 40, "towards"), (0, -40, "away"), (0, 0, "still"),
     (60, 55, "towards"), (5, 3, "still"), (-50, 30, "left")],
)  # fmt: skip
def test_directions(x_speed: float, y_speed: float, word: str) -> None:
    t = TIMES - TIMES.mean()
    (note,) = noted(track(1, 320 + x_speed * t, 300 + y_speed * t)).objects
    assert words(note) == [word]
    assert (note.motion[0].start_seconds, note.motion[0].end_seconds) == (0, SECONDS)


def test_segments_have_their_seconds() -> None:
    x = np.concatenate([100 + 8 * np.arange(30), np.full(30, 332.0)])
    (note,) = noted(track(1, x, steady(300))).objects
    assert words(note) == ["right", "still"]
    right, still = note.motion
    assert right.end_seconds == pytest.approx(3.0, abs=0.4)
    assert still.start_seconds == pytest.approx(3.0, abs=0.4)


def test_growing_in_place_is_coming_closer() -> None:
    (note,) = noted(track(1, steady(320), steady(400), 100 * 1.25**TIMES)).objects
    assert words(note) == ["towards"]


@pytest.mark.parametrize("pan", [-80.0, 60.0])
def test_a_clip_that_pans_moves_nobody(pan: float) -> None:
    """Someone who stands slides through the picture as the wall behind does."""
    standing = track(1, 320 - pan * (TIMES - 3), steady(300))
    followed = track(2, steady(200), steady(300))
    notes = noted(standing, followed, frames=footage(pan=pan))
    by_id = {n.object_id: n for n in notes.objects}
    assert words(by_id[1]) == ["still"]
    assert words(by_id[2]) == ["right" if pan > 0 else "left"]
    assert any("camera moves" in limit for limit in notes.limits)


def test_a_zoom_brings_nobody_closer() -> None:
    zoom = 0.08
    scale = (1 + zoom) ** TIMES
    standing = track(1, 320 + (350 - 320) * scale, 240 + (330 - 240) * scale, 100 * scale)
    notes = noted(standing, frames=footage(zoom=zoom))
    assert words(notes.objects[0]) == ["still"]


def test_who_is_cut_by_the_frame_moves_as_the_free_edge_does() -> None:
    """The middle of a box that the left edge cuts moves at half the speed."""
    x = -20 + 50 * TIMES
    whole = track(1, x, steady(300))
    boxes = whole.boxes.clip([0, 0, 0, 0], [WIDTH, HEIGHT, WIDTH, HEIGHT])
    boxes[:, 2] = np.maximum(boxes[:, 2], 2)
    (note,) = noted(replace(whole, boxes=boxes.astype(np.float32))).objects
    assert words(note) == ["right"]
    assert note.speeds[:10] == pytest.approx(50 / 120, rel=0.1)


def test_one_frame_and_equal_boxes() -> None:
    once = track(1, np.array([100.0]), np.array([300.0]), first=20)
    twice = track(2, np.array([100.0, 500.0]), np.array([300.0, 300.0]), first=20)
    same = track(3, steady(320), steady(300))
    notes = noted(once, twice, same)
    by_id = {n.object_id: n for n in notes.objects}
    assert by_id[1].motion == () and by_id[2].motion == ()
    assert words(by_id[3]) == ["still"]
    assert by_id[1].start_seconds == 2.0 and by_id[1].end_seconds == pytest.approx(2.1)


def test_coming_in_and_going_out() -> None:
    x = np.linspace(20, 330, 30)
    (note,) = noted(track(1, x, np.full(30, 300.0), first=15)).objects
    assert (note.enters, note.leaves) == ("left", "within")
    assert (note.start_seconds, note.end_seconds) == (1.5, 4.5)
    (always,) = noted(track(1, steady(320), steady(300))).objects
    assert (always.enters, always.leaves) == ("", "")


def painted(upper: tuple[int, int, int], lower: tuple[int, int, int]) -> Frames:
    frames = footage()
    pixels = frames.pixels.copy()
    pixels[:, 180:240, 296:344] = upper
    pixels[:, 240:300, 296:344] = lower
    return replace(frames, pixels=pixels)


@pytest.mark.parametrize(
    ("upper", "lower", "names"),
    [
        ((200, 20, 30), (30, 50, 160), ("red", "blue")),
        ((20, 20, 20), (235, 235, 235), ("black", "white")),
        ((240, 210, 40), (40, 140, 50), ("yellow", "green")),
        ((130, 130, 130), (120, 70, 30), ("grey", "brown")),
        ((230, 120, 30), (130, 40, 160), ("orange", "purple")),
        ((245, 150, 180), (20, 20, 20), ("pink", "black")),
    ],
)
def test_colours_of_clothes(
    upper: tuple[int, int, int], lower: tuple[int, int, int], names: tuple[str, str]
) -> None:
    (note,) = noted(track(1, steady(320), steady(300)), frames=painted(upper, lower)).objects
    assert (note.colours, note.lower_colours) == ((names[0],), (names[1],))
    assert f"{names[0]} above, {names[1]} below" in note.line


def test_grey_and_dark_footage_claims_no_colour() -> None:
    frames = painted((200, 20, 30), (30, 50, 160))
    grey = replace(
        frames, pixels=frames.pixels.mean(axis=3, keepdims=True).repeat(3, 3).astype("uint8")
    )
    dark = replace(frames, pixels=(frames.pixels // 6))
    for footage_of in (grey, dark):
        notes = noted(track(1, steady(320), steady(300)), frames=footage_of)
        assert notes.objects[0].colours == () and notes.objects[0].lower_colours == ()
        assert any("grey or dark" in limit for limit in notes.limits)


def test_a_mix_of_colours_is_not_named() -> None:
    (note,) = noted(track(1, steady(320), steady(300), name="dog"), frames=footage(seed=3)).objects
    assert len(note.colours) < 2


def test_places_and_ranks() -> None:
    notes = noted(
        track(1, steady(80), steady(460)),
        track(2, steady(330), steady(150), 60.0),
        track(3, steady(600), steady(300), name="traffic light"),
        track(4, np.linspace(40, 600, 60), steady(300), name="машина"),
    )
    by_id = {n.object_id: n for n in notes.objects}
    assert [(n.place, n.depth) for n in (by_id[1], by_id[2], by_id[3])] == [
        ("left", "near"),
        ("middle", "far"),
        ("right", ""),
    ]
    assert by_id[4].place == ""
    assert (by_id[1].size_rank, by_id[2].size_rank, by_id[1].n_of_class) == (1, 2, 2)
    assert [line.split(":")[0] for line in notes.lines] == [
        "1 person", "2 person", "3 traffic light", "4 машина",
    ]  # fmt: skip


def test_the_most_visible_are_noted_and_the_rest_said() -> None:
    tracks = [track(i, steady(300)[: 59 if i < 11 else 60], steady(300)[: 59 if i < 11 else 60])
              for i in range(1, 11 + MOST_OBJECTS)]  # fmt: skip
    notes = noted(*tracks)
    assert len(notes.objects) == MOST_OBJECTS
    assert min(n.object_id for n in notes.objects) == 11
    assert notes.limits[0].startswith(f"Notes were taken of the {MOST_OBJECTS} most visible of 70")


def test_one_runs_where_others_walk() -> None:
    walkers = [track(i, 100 + 60 * TIMES, steady(200 + 20 * i)) for i in range(1, 5)]
    runner = track(9, 60 + 90 * TIMES * 1.0, steady(200), 60.0)
    notes = noted(*walkers, runner)
    fast = {n.object_id for n in notes.objects for s in n.motion if s.word == "fast"}
    assert fast == {9}


def test_the_same_video_gives_the_same_notes() -> None:
    tracks = [track(1, 320 + 30 * TIMES, steady(300)), track(2, steady(100), steady(300))]
    assert noted(*tracks).lines == noted(*tracks).lines


def test_nothing_tracked() -> None:
    assert noted().objects == ()
