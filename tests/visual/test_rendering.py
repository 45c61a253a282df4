"""Pictures for people, checked by their pixels."""

from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub.errors import OutputError
from stvg_r1_hub.geometry import encode_mask
from stvg_r1_hub.structures import Box, TimedFrame, Track, Tracks, Tube, VideoInfo
from stvg_r1_hub.visual import drawing, overlay, pictures
from tests.builders import make_track

WIDTH, HEIGHT, COUNT, FPS = 160, 120, 20, 10.0
GRAY = 128


def info(width: int = WIDTH, height: int = HEIGHT) -> VideoInfo:
    return VideoInfo("clip", width, height, np.arange(COUNT) / FPS, COUNT / FPS)


def frames(width: int = WIDTH, height: int = HEIGHT) -> list[TimedFrame]:
    pixels = np.full((height, width, 3), GRAY, np.uint8)
    return [TimedFrame(i, i / FPS, pixels) for i in range(COUNT)]


def tube(object_id: int = 2, *, masks: bool = False) -> Tube:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:70, 40:80] = True
    rle = encode_mask(mask) if masks else None
    boxes = (Box(i, i / FPS, (40, 30, 80, 70), False, object_id, rle) for i in range(5, 15))
    return Tube((object_id,), 0.5, 1.5, tuple(boxes), has_masks=masks)


def tracks(*object_ids: int) -> Tracks:
    def track(object_id: int) -> Track:
        left = 10.0 + 20 * (object_id % 5)
        seen = [*range(8), *range(11, COUNT)]
        return make_track(object_id, seen, [left, 40, left + 15, 60])

    return Tracks(WIDTH, HEIGHT, np.arange(COUNT) / FPS, tuple(track(i) for i in object_ids))


def drawn(answer: Tube | None, width: int = WIDTH, height: int = HEIGHT) -> list[np.ndarray]:
    video = frames(width, height)
    return list(
        overlay.draw_answer(
            video, info(width, height), answer, query="a dog", class_names={2: "dog"}
        )
    )


def near(pixel: np.ndarray, color: tuple[int, int, int], tolerance: int = 6) -> bool:
    return bool(np.all(np.abs(pixel.astype(int) - color) <= tolerance))


def test_box_is_drawn_in_range_only_and_in_the_color_of_its_id() -> None:
    out = drawn(tube())
    color = drawing.object_color(2)
    assert near(out[7][50, 40], color)
    assert near(out[7][69, 60], color)
    assert near(out[2][50, 40], (GRAY,) * 3)
    assert near(out[16][50, 40], (GRAY,) * 3)
    assert near(out[7][50, 60], (GRAY,) * 3), "the box must stay empty inside"


@pytest.mark.parametrize("masks", [False, True])
def test_the_rest_is_out_of_focus_as_long_as_the_answer_lasts(masks: bool) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    video = [TimedFrame(i, i / FPS, noise) for i in range(COUNT)]
    style = overlay.DrawStyle(boxes=False, blur=True)
    answer = tube(masks=masks)
    out = list(overlay.draw_answer(video, info(), answer, query="q", class_names={}, style=style))
    assert np.array_equal(out[2], noise) and np.array_equal(out[16], noise)
    assert np.array_equal(out[7][30:70, 40:80], noise[30:70, 40:80])
    assert out[7][:, 90:].std() < noise.std() / 3


def test_a_trail_shows_the_way_and_forgets() -> None:
    boxes = tuple(Box(i, i / FPS, (10 + 4 * i, 30, 20 + 4 * i, 60), False, 2) for i in range(COUNT))
    answer = Tube((2,), 0.0, COUNT / FPS, boxes)
    style = overlay.DrawStyle(boxes=False, trails=True)
    out = list(
        overlay.draw_answer(frames(), info(), answer, query="q", class_names={}, style=style)
    )
    color = drawing.object_color(2)
    where = [15 + 4 * i for i in (COUNT - 2, COUNT - 6)]
    assert all(near(out[-1][60, x], color, 60) for x in where)
    assert near(out[0][60, where[0]], (GRAY,) * 3)
    assert near(out[-1][30, where[0]], (GRAY,) * 3), "neither box nor strip"


def test_source_frames_are_not_touched() -> None:
    video = frames()
    list(overlay.draw_answer(video, info(), tube(), query="q", class_names={}))
    assert all(np.all(frame.pixels == GRAY) for frame in video)


def test_mask_is_tinted_instead_of_a_box() -> None:
    out = drawn(tube(masks=True))
    inside = out[7][50, 60].astype(int)
    color = np.array(drawing.object_color(2))
    assert np.sign(inside - GRAY).tolist() == np.sign(color - GRAY).tolist()


def test_time_bar_shows_the_answered_range_and_the_playhead_moves() -> None:
    out = drawn(tube())
    color = drawing.object_color(2)
    bar_row = HEIGHT - 7 - 2

    def colored(picture: np.ndarray) -> list[int]:
        rows = picture[bar_row - 3 : bar_row + 3].astype(int)
        return [x for x in range(WIDTH) if any(near(row[x], color, 30) for row in rows)]

    first = colored(out[0])
    assert first, "the answered range is not on the bar"
    assert abs(min(first) / WIDTH - 0.25) < 0.08
    assert abs(max(first) / WIDTH - 0.75) < 0.08
    assert not np.array_equal(out[0][-12:], out[19][-12:])
    assert not colored(drawn(None)[0]), "nothing was found, so nothing may be on the bar"


@pytest.mark.parametrize("size", [(16, 16), (17, 200), (426, 240), (1920, 1080)])
def test_any_size_can_be_drawn(size: tuple[int, int]) -> None:
    out = drawn(tube(), *size)
    assert out[7].shape == (size[1], size[0], 3)
    assert not np.array_equal(out[7], frames(*size)[7].pixels)


def test_a_box_over_the_border_is_cut() -> None:
    boxes = (Box(0, 0.0, (-50, -50, 400, 400), False, 1), Box(0, 0.0, (-9, -9, -1, -1), False, 2))
    out = drawn(Tube((1, 2), 0.0, 1.0, boxes))
    assert out[0].shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("query", ["", "x" * 5000, "犬が跳ぶ 🐶", "a\nb\tc", "‮rtl עברית"])
def test_any_query_can_be_drawn(query: str) -> None:
    out = next(overlay.draw_answer(frames(), info(), None, query=query, class_names={}))
    assert out.shape == (HEIGHT, WIDTH, 3)


def test_tracks_are_drawn_in_distinct_stable_colors() -> None:
    all_tracks = tracks(1, 2, 3)
    out = list(overlay.draw_tracks(frames(), info(), all_tracks))
    for track in all_tracks.tracks:
        left = int(track.boxes[0][0])
        for index in (0, 19):
            assert near(out[index][55, left], drawing.object_color(track.object_id))
        assert near(out[9][55, left], (GRAY,) * 3), "hidden in this frame"
    assert len({drawing.object_color(i) for i in range(1, 37)}) == 36


def test_labels_of_crowded_objects_do_not_cover_each_other() -> None:
    taken: list[tuple[int, int, int, int]] = []
    picture = np.full((240, 320, 3), GRAY, np.uint8)
    for i in (1, 2, 3):
        box = Box(0, 0.0, (100, 100, 160, 200), False, i)
        overlay._draw_object_label(picture, box, "dog", 11, 2, taken)
    assert not any(overlay._overlap(a, b) for i, a in enumerate(taken) for b in taken[:i])


def test_text_is_shortened_to_fit() -> None:
    short = drawing.fit_text("a very long description of a dog", 12, 100)
    assert short.endswith("…") and drawing.text_width(short, 12) <= 100
    assert drawing.fit_text("dog", 12, 100) == "dog"
    lines = drawing.wrap_text("a very long description of a small brown dog", 12, 100, 2)
    assert len(lines) == 2 and all(drawing.text_width(line, 12) <= 100 for line in lines)


def test_keyframes_cover_the_clip_and_the_range() -> None:
    picks = pictures.keyframe_indices(info(), None)
    assert len(picks) == 6 and picks == sorted(picks)
    short = Tube((1,), 1.0, 1.2, ())
    with_range = pictures.keyframe_indices(info(), short)
    assert len(with_range) == 6
    assert sum(1.0 <= i / FPS < 1.2 for i in with_range) == 2
    two = VideoInfo("two", WIDTH, HEIGHT, np.array([0.0, 0.1]), 0.2)
    assert pictures.keyframe_indices(two, None) == [0, 1]


def test_keyframe_strip_frames_the_tiles_in_range() -> None:
    strip = pictures.keyframe_strip(frames()[4:6], tube(), query="a dog", class_names={2: "dog"})
    color = np.array(drawing.object_color(2))
    colored = np.all(np.abs(strip.astype(int) - color) < 8, axis=-1)
    columns = np.flatnonzero(colored[80:280].sum(axis=0) > 100)
    assert len(columns), "the tile in range has no frame"
    tile = (strip.shape[1] - 30) // 2
    assert columns.min() > tile, "only the second tile is in range"


def test_timeline_is_a_png_of_every_object(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "timeline.png"
    pictures.timeline_plot(tracks(1, 2, 3), tube(), title="a dog", path=path)
    few = np.asarray(Image.open(path).convert("RGB"))
    assert few.shape[1] == 1080
    title = r"a $\frac$ & more_than^that"
    pictures.timeline_plot(tracks(*range(1, 60)), None, title=title, path=path)
    many = np.asarray(Image.open(path).convert("RGB"))
    assert few.shape[0] < many.shape[0] < 1500
    empty = pictures.timeline_plot(tracks(), None, title="nothing", path=path)
    step = tracks().frame_times[-1] - tracks().frame_times[-2]
    assert empty.axes[0].get_xlim() == pytest.approx((0, tracks().frame_times[-1] + step))
    assert [p.name for p in tmp_path.iterdir()] == ["timeline.png"]


def test_timeline_into_a_missing_folder_and_below_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "plot.png"
    pictures.timeline_plot(tracks(1), None, title="x", path=path)
    with pytest.raises(OutputError, match="Cannot"):
        pictures.timeline_plot(tracks(1), None, title="x", path=path / "plot.png")
