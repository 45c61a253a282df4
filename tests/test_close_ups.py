"""Small objects side by side: what of the picture is shown, where, and how large."""

import numpy as np
import pytest

from stvg_r1_hub.config import MarkerStyle
from stvg_r1_hub.looking.close_ups import MOST, are_small, side_by_side
from stvg_r1_hub.looking.views import Stretch, View
from stvg_r1_hub.structures import Frames, Track, Tracks
from tests.builders import make_track

HEIGHT, WIDTH, N = 120, 200, 6
Box = tuple[float, float, float, float]


def shown(*boxes: Box, goes_by: float = 0.0, ids: tuple[int, ...] | None = None) -> View:
    """Close-ups of objects, each of a brightness of its own, that move to the right or stand."""
    pixels = np.full((N, HEIGHT, WIDTH, 3), 50, np.uint8)
    tracks = []
    for i, box in enumerate(boxes, 1):
        places = np.array(box) + np.arange(N)[:, None] * np.array([goes_by, 0, goes_by, 0])
        for frame, place in zip(pixels, places.astype(int).tolist(), strict=True):
            frame[place[1] : place[3], place[0] : place[2]] = 150 + 10 * i
        tracks.append(make_track(40 + i, range(N), places))
    times = np.arange(N) / 2.0
    frames = Frames(pixels, np.arange(N), times, 2.0, 112, 196)
    wanted = ids or tuple(40 + i for i in range(1, len(boxes) + 1))
    of_video = Tracks(WIDTH, HEIGHT, times, tuple(tracks))
    return side_by_side(Stretch(frames, 0.0, 3.0), of_video, wanted, MarkerStyle())


def extent(view: View, brightness: int, frame: int = 0) -> tuple[int, int, int, int]:
    """Where a brightness is to be seen, xyxy."""
    near = np.abs(view.marked.frames.pixels[frame].astype(int) - brightness).max(axis=2) <= 2
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


SMALL: list[Box] = [(0, 0, 14, 14), (100, 60, 114, 74), (186, 106, 200, 120), (20, 80, 34, 94)]


@pytest.mark.parametrize("n", range(1, MOST + 1))
def test_each_object_is_seen_enlarged_in_a_place_of_its_own(n: int) -> None:
    view = shown(*SMALL[:n])
    assert view.marked.numbers == {40 + i: i for i in range(1, n + 1)}
    assert view.marked.frames.pixels.shape == (N, HEIGHT, WIDTH, 3)
    middles = set()
    for i in range(1, n + 1):
        left, top, right, bottom = extent(view, 150 + 10 * i)
        assert 0.2 < (right - left) / WIDTH < 0.4 or 0.2 < (bottom - top) / HEIGHT < 0.45
        middles.add((left > WIDTH / 2, top > HEIGHT / 2) if n > 2 else left > WIDTH / 2)
    assert len(middles) == n


def test_who_goes_far_is_shown_smaller_and_never_leaves() -> None:
    stands, goes = shown(SMALL[1]), shown(SMALL[1], goes_by=14)
    sizes = [extent(view, 160)[2] - extent(view, 160)[0] for view in (stands, goes)]
    assert sizes[1] < sizes[0] and sizes[1] >= 14
    first, last = extent(goes, 160), extent(goes, 160, N - 1)
    assert 0 <= first[0] < last[0] and last[2] <= WIDTH


def test_others_get_no_number_and_the_whole_picture_is_the_most() -> None:
    view = shown((0, 0, 190, 110), SMALL[1], ids=(41,))
    assert view.marked.visible_ids == {41} and view.marked.numbers == {41: 1}
    assert extent(view, 160)[2] <= 190 + 2


@pytest.mark.parametrize(
    ("sides", "small"), [([14], True), ([14, 14, 90], True), ([90], False), ([14, 90, 90], False)]
)
def test_small_is_what_most_of_them_are(sides: list[int], small: bool) -> None:
    tracks = tuple[Track, ...](
        make_track(i, range(N), [0, 0, side, side]) for i, side in enumerate(sides, 1)
    )
    of_video = Tracks(WIDTH, HEIGHT, np.arange(N) / 2.0, tracks)
    assert are_small(of_video, range(1, len(sides) + 1)) is small
