"""Further looks: what is shown, what stands, and what is said of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from stvg_r1_hub import STVGConfig, STVGPipeline
from stvg_r1_hub.config import SamplingConfig, TrackingConfig
from stvg_r1_hub.errors import Cancelled, ConfigError
from stvg_r1_hub.looking import PASSES, stretches
from stvg_r1_hub.looking.views import Presence, read_stretch, view_of
from stvg_r1_hub.structures import Answer, Generated, MarkedFrames, Track, Tracks
from stvg_r1_hub.tracking import GivenTracks
from stvg_r1_hub.video import VideoSource, open_video
from tests.builders import make_track

FPS = 10.0
SMALL = SamplingConfig(fps=2.0, max_frames=16, window_seconds=10.0)
View = tuple[float, frozenset[int]]
"""Seconds that a model is shown, and the numbers it sees there."""


def said(object_id: int, start: float, end: float) -> str:
    return f"<answer>Target ID: {object_id}, Time range: {start:.2f} to {end:.2f}</answer>"


NONE = "<answer>Target ID: none</answer>"


class Watching:
    """Answers by the frames that it is shown, and keeps them."""

    def __init__(self, answer: Callable[[MarkedFrames], str]) -> None:
        self.answer = answer
        self.shown: list[MarkedFrames] = []

    def encode(self, video: MarkedFrames) -> MarkedFrames:
        self.shown.append(video)
        return video

    def generate(self, prompts: Sequence[str], video: MarkedFrames, **_: Any) -> list[str]:
        return [self.answer(video)] * len(prompts)


def at(object_id: int, start: float, end: float, *, name: str = "dog") -> Track:
    """An object in view from start to end, in seconds."""
    frames = range(round(start * FPS), round(end * FPS))
    left = 2.0 + object_id % 40
    return make_track(object_id, frames, [left, 8, left + 12, 24], name=name)


def video_of(seconds: float) -> VideoSource:
    return open_video(np.full((round(seconds * FPS), 32, 64, 3), 90, np.uint8), fps=FPS)


def asked(
    answer: Callable[[MarkedFrames], str],
    *tracks: Track,
    seconds: float = 8.0,
    limit: int = 99,
    classes: tuple[str, ...] = (),
    query: str = "the dog",
    bundled: bool = False,
    **options: Any,
) -> tuple[Any, Watching]:
    """The result for a grey video with these objects, and the model that answered."""
    source, vlm = video_of(seconds), Watching(answer)
    info = source.info
    given = Tracks(info.width, info.height, info.frame_times, tracks, class_names=classes)
    tracking = TrackingConfig(max_objects=limit)
    config = STVGConfig(sampling=SMALL, tracking=tracking, reads_notes=bundled)
    pipeline = STVGPipeline(config, GivenTracks(given, name="given"), vlm)
    return pipeline(query, source, **{"passes": 2, **options}), vlm


def start_of(marked: MarkedFrames) -> float:
    """Where in the video a look begins."""
    return float(marked.frames.frame_indices[0] / FPS)


def by_start(first: str, second: str) -> Callable[[MarkedFrames], str]:
    """One answer to looks that begin with the video, another to those that do not."""
    return lambda marked: second if start_of(marked) > 0 else first


def test_one_pass_is_what_it_was() -> None:
    result, vlm = asked(lambda _: said(1, 2, 4), at(1, 0, 8), passes=1)
    assert len(vlm.shown) == 1 and result.looks == () and result.to_dict()["looks"] == []
    assert result.object_ids == (1,) and result.start_seconds == 2


@pytest.mark.parametrize("passes", [0, 3, "2", "twice", None, True])
def test_only_the_three_numbers_of_passes(passes: Any) -> None:
    if passes == "2":
        passes = "two"
    with pytest.raises(ConfigError, match="must be 1, 2 or 'auto'"):
        asked(lambda _: NONE, at(1, 0, 8), passes=passes)
    assert PASSES == (1, 2, "auto")


def test_no_window_at_all_is_no_budget() -> None:
    with pytest.raises(ConfigError, match="max_windows must be at least 1"):
        asked(lambda _: NONE, at(1, 0, 8), max_windows=0)


def test_a_closer_look_replaces_the_range_in_the_times_of_the_video() -> None:
    # 4 to 6 s, wider by 1 s on both sides; what is answered there counts from 3 s.
    result, vlm = asked(by_start(said(1, 4, 6), said(1, 1.2, 2.7)), at(1, 0, 8), at(2, 0, 8))
    first, closer = vlm.shown
    assert (start_of(closer), float(closer.frames.frame_indices[-1] / FPS)) == (3.0, 6.9)
    assert 2 * first.frames.sample_fps <= closer.frames.sample_fps <= 4 * first.frames.sample_fps
    assert len(closer.frames) == len(first.frames)
    assert closer.frames.times_seconds[0] == 0
    assert (result.start_seconds, result.end_seconds) == pytest.approx((4.2, 5.7))
    assert [look.kind for look in result.looks] == ["whole", "closer"]
    assert result.looks[1].range_seconds == pytest.approx((4.2, 5.7))
    assert "its range stands" in result.looks[1].outcome and not result.warnings


@pytest.mark.parametrize(
    "second", [said(2, 1, 2), NONE, "prose", "", said(77, 1, 2), said(1, 1, 1)]
)
def test_where_looks_disagree_the_first_stands_and_that_is_said(second: str) -> None:
    first = Generated(said(1, 4, 6), {1: 0.8, 2: 0.2})
    result, _ = asked(by_start(first, second), at(1, 0, 8), at(2, 0, 8))
    assert result.object_ids == (1,) and (result.start_seconds, result.end_seconds) == (4, 6)
    assert result.confidence == pytest.approx(0.4)
    (warning,) = result.warnings
    assert warning.startswith("A second look at 3.00 to 7.00 s names")
    assert warning.endswith("instead of object 1; the first stands.")


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (2.0, 4.0, (1.0, 5.0)),
        (0.0, 2.0, (0.0, 3.0)),  # at the start
        (6.0, 8.0, (5.0, 8.0)),  # at the end
        (4.0, 4.0, (3.0, 5.0)),  # of no length: a step of the first look
        (0.0, 8.0, None),  # the whole clip
        (0.1, 7.9, None),
        (8.0, 8.0, (7.0, 8.0)),
    ],
)
def test_the_closer_stretch(start: float, end: float, expected: tuple[float, float] | None) -> None:
    assert stretches.closer(start, end, 8.0, step_seconds=1.0) == expected


def test_a_range_of_no_length_is_no_answer_and_a_short_one_gets_room() -> None:
    result, vlm = asked(lambda _: said(1, 4, 4), at(1, 0, 8))
    assert not result.found and "is empty" in " ".join(result.warnings) and len(vlm.shown) == 1
    result, _ = asked(by_start(said(1, 4, 4.1), said(1, 0.5, 1.5)), at(1, 0, 8))
    assert (result.start_seconds, result.end_seconds) == pytest.approx((3.5, 4.5))


def test_a_candidate_that_has_left_is_not_taken_for_another() -> None:
    # Object 1 is gone where it was said to act; its number is not drawn in the second look.
    result, vlm = asked(by_start(said(1, 5, 7), NONE), at(1, 0, 3), at(2, 0, 8))
    assert vlm.shown[-1].visible_ids == {2}
    assert not result.found or result.object_ids == (1,)


@pytest.mark.parametrize(
    ("duration", "n"), [(5.0, 1), (6.0, 1), (6.1, 2), (14.0, 3), (600.0, 150), (3600.0, 900)]
)
def test_windows_cover_the_video_and_overlap(duration: float, n: int) -> None:
    parts = stretches.windows(duration, 6.0)
    assert len(parts) == n and parts[0][0] == 0 and parts[-1][1] == pytest.approx(duration)
    for (_, end), (start, _) in pairwise(parts):
        assert end - start >= 6.0 * stretches.OVERLAP - 1e-6


@pytest.mark.parametrize(
    ("starts", "n"),
    [
        ([], 3),
        ([4.0, 9.0], 3),  # one scene, one window
        ([2.0, 4.0, 9.0], 3),  # two short ones share a window
        ([1.0], 4),  # a short one, and a long one of three windows
        ([8.0], 3),  # a long one of two windows, and one that fits
    ],
)
def test_windows_hold_whole_scenes(starts: list[float], n: int) -> None:
    parts = stretches.windows(14.0, 6.0, starts)
    assert len(parts) == n and parts[0][0] == 0 and parts[-1][1] == pytest.approx(14.0)
    assert all(end - start <= 6.0 + 1e-6 for start, end in parts)
    assert all(after <= end + 1e-6 for (_, end), (after, _) in pairwise(parts))
    for scene in pairwise([0.0, *starts, 14.0]):
        if scene[1] - scene[0] <= 6.0:
            assert any(start <= scene[0] and scene[1] <= end for start, end in parts)
        else:  # nothing of another scene
            inside = [part for part in parts if part[0] < scene[1] and scene[0] < part[1]]
            assert all(scene[0] <= start and end <= scene[1] + 1e-6 for start, end in inside)


@pytest.mark.parametrize(
    ("seen", "starts"),
    [
        ([], []),
        ([(0, 8)], []),
        ([(0, 3), (3, 8)], [3.0]),
        ([(1, 3), (5, 8), (6, 7)], [5.0]),
        ([(0, 3), (3, 6), (2, 5)], []),  # one is seen on both sides
        ([(4, 6), (0, 4), (0, 2), (6, 8)], [4.0, 6.0]),
    ],
)
def test_a_scene_starts_with_objects_of_which_none_was_there_before(
    seen: list[tuple[float, float]], starts: list[float]
) -> None:
    with video_of(8.0) as source:
        info = source.info
    tracks = tuple(at(i, *times) for i, times in enumerate(seen, 1))
    presence = Presence(Tracks(info.width, info.height, info.frame_times, tracks))
    assert presence.scene_starts() == pytest.approx(starts)


@pytest.mark.parametrize(
    ("sure", "second_leaves", "stands"),
    [
        ((0.9, 0.6), 54.0, 1),
        ((0.6, 0.9), 54.0, 2),
        ((0.6, 0.9), 51.0, 1),  # half of what the model is surer of shows no object
        ((0.0, 0.9), 50.0, 1),  # a quarter of it is not enough
        ((None, None), 54.0, 1),
        ((None, None), 51.0, 1),
    ],
)
def test_of_two_moments_the_surer_in_view_stands(
    sure: tuple[float | None, float | None], second_leaves: float, stands: int
) -> None:
    def answer(marked: MarkedFrames) -> str:
        (i,) = marked.visible_ids
        probability = sure[i - 1]
        text = said(i, 0, 4)
        return text if probability is None else Generated(text, {i: probability})

    result, _ = asked(answer, at(1, 0, 4), at(2, 49, second_leaves), seconds=64.0)
    assert result.object_ids == (stands,)
    several = any("2 moments of this long video may be meant" in w for w in result.warnings)
    assert several == (second_leaves > 50)
    others = [other.object_id for other in result.alternatives]
    assert others == [3 - stands] * bool(several and sure[2 - stands])


def test_moments_of_other_windows_are_alternatives_best_first() -> None:
    """One dog again and again, each time with another certainty."""

    def answer(marked: MarkedFrames) -> str:
        return Generated(said(1, 1, 4), {1: start_of(marked) / 100})

    stays = [at(1, 0, 84)]
    result, vlm = asked(answer, *stays, seconds=84.0, passes="auto")
    assert result.found and result.start_seconds == start_of(vlm.shown[-1]) + 1
    sure = [other.confidence for other in result.alternatives]
    assert sure == sorted(sure, reverse=True) and 0 < sure[0] < result.confidence
    times = [(start_of(marked) + 1, start_of(marked) + 4) for marked in vlm.shown[-2::-1]]
    assert [(o.start_seconds, o.end_seconds) for o in result.alternatives] == times[: len(sure)]
    assert len(sure) >= 4


def dog_at(second: float, seconds: float = 2.0) -> Callable[[MarkedFrames], str]:
    """A model that sees what object 300 does, when it looks at that moment closely enough."""

    def answer(marked: MarkedFrames) -> str:
        first = start_of(marked)
        end = float(marked.frames.frame_indices[-1] / FPS)
        if 300 not in marked.visible_ids or end - first > 20 or not first <= second < end:
            return NONE
        number = marked.numbers.get(300, 300)
        return said(number, max(0.0, second - first), min(second + seconds, end) - first)

    return answer


def test_a_long_video_is_asked_by_window_and_keeps_its_ids() -> None:
    objects = [at(i, i - 1, i + 4) for i in range(1, 60)]
    result, vlm = asked(dog_at(43.0), *objects, at(300, 40, 50), seconds=64.0, limit=9)
    assert result.found and result.object_ids == (300,)
    assert result.start_seconds == pytest.approx(43.0, abs=0.2)
    assert result.end_seconds == pytest.approx(45.0, abs=0.2)
    assert {look.kind for look in result.looks} == {"window"}
    assert not any("is long" in warning for warning in result.warnings)
    # Numbers that the model can read, the video's IDs everywhere else.
    for marked in vlm.shown:
        assert len(marked.visible_ids) <= 9
        assert not marked.numbers or set(marked.numbers.values()) <= set(range(1, 10))
    assert any(300 in look.shown_ids for look in result.looks)


def test_one_pass_does_not_find_it() -> None:
    result, _ = asked(dog_at(43.0), at(300, 40, 50), seconds=64.0, limit=9, passes=1)
    assert not result.found


def test_windows_without_objects_are_not_asked_and_a_budget_is_kept() -> None:
    _, vlm = asked(lambda _: NONE, at(1, 0, 4), at(2, 58, 64), seconds=64.0)
    assert len(vlm.shown) == 2  # one window at the start, one at the end
    _, vlm = asked(lambda _: NONE, at(1, 0, 64), seconds=64.0, max_windows=2)
    assert len(vlm.shown) == 2


def test_windows_that_are_all_empty_say_so() -> None:
    result, _ = asked(lambda _: NONE, at(1, 0, 64), seconds=64.0)
    assert not result.found and result.boxes == ()
    assert any("none of the windows asked shows it" in warning for warning in result.warnings)


def test_a_kind_that_the_query_names_saves_windows() -> None:
    tracks = (at(1, 0, 64, name="cat"), at(2, 50, 58, name="dog"))
    _, vlm = asked(lambda _: NONE, *tracks, seconds=64.0, classes=("cat", "dog"))
    assert all(start_of(marked) >= 35 for marked in vlm.shown)


def test_candidates_alone_keep_their_numbers_in_a_crowd() -> None:
    cats = [at(i, 0, 8, name="cat") for i in range(1, 20)]
    dogs = [at(i, 0, 8) for i in (20, 21)]

    def answer(marked: MarkedFrames) -> str:
        return said(21, 2, 4) if marked.visible_ids <= {20, 21} else said(3, 2, 4)

    result, vlm = asked(answer, *cats, *dogs, classes=("cat", "dog"))
    assert result.object_ids == (21,)
    assert vlm.shown[1].visible_ids == {20, 21} and not vlm.shown[1].numbers
    assert [look.kind for look in result.looks] == ["whole", "candidates", "closer"]
    assert result.looks[1].outcome == "this object stands"


def test_a_further_look_shows_no_numbers_of_the_first() -> None:
    animals = [at(i, 0, 8, name="cat" if i < 5 else "dog") for i in range(1, 7)]
    result, vlm = asked(lambda _: NONE, *animals, classes=("cat", "dog"))
    with video_of(8.0) as source:
        stretch = read_stretch(source, SMALL, 0.0, 8.0)
    assert stretch is not None
    clean = view_of(stretch, result.tracks, (5, 6), STVGConfig().marker, 99)
    assert np.array_equal(vlm.shown[1].frames.pixels, clean.marked.frames.pixels)


@pytest.mark.parametrize("wrong", [3, 77])
def test_a_number_that_was_not_drawn_wins_no_group(wrong: int) -> None:
    cats = [at(i, 0, 8, name="cat") for i in range(1, 20)]

    def answer(marked: MarkedFrames) -> str:
        return said(wrong, 2, 4) if marked.visible_ids <= {20, 21} else said(20, 1, 3)

    dogs = [at(i, 0, 8) for i in (20, 21)]
    result, _ = asked(answer, *cats, *dogs, classes=("cat", "dog"))
    assert result.object_ids == (20,) and result.start_seconds == 1


def test_more_objects_than_can_be_numbered_meet_in_groups() -> None:
    """120 objects, numbers up to 9: the right one is in the last group, and wins."""
    objects = [at(i, 0, 8) for i in range(1, 121)]

    def answer(marked: MarkedFrames) -> str:
        if 117 in marked.visible_ids:
            return said(marked.numbers.get(117, 117), 2, 4)
        least = min(marked.visible_ids)
        return NONE if least % 2 else said(marked.numbers.get(least, least), 1, 2)

    result, vlm = asked(answer, *objects, limit=9)
    assert result.object_ids == (117,)
    assert all(len(marked.visible_ids) <= 9 for marked in vlm.shown)


def test_a_crowd_in_which_nothing_fits() -> None:
    result, _ = asked(lambda _: NONE, *(at(i, 0, 8) for i in range(1, 31)), limit=9)
    assert not result.found


@pytest.mark.slow
def test_five_thousand_tracks() -> None:
    objects = [at(i, i % 60, i % 60 + 4) for i in range(301, 5300)]
    result, vlm = asked(
        dog_at(43.0), at(300, 42, 46), *objects, seconds=64.0, limit=99, max_windows=4
    )
    assert len(result.tracks) == 5000 and len(vlm.shown) > 4


@pytest.mark.parametrize(
    ("n", "bundled", "looks"),
    [(2, False, 1), (30, False, 1), (2, True, 1), (9, True, 1), (10, True, 3), (30, True, 5)],
)
def test_auto_looks_again_at_crowds_that_the_bundled_model_cannot_read(
    n: int, bundled: bool, looks: int
) -> None:
    objects = [at(i, 0, 8) for i in range(1, n + 1)]
    _, vlm = asked(lambda _: NONE, *objects, passes="auto", limit=9, bundled=bundled)
    assert len(vlm.shown) == looks


def test_a_look_at_the_candidates_settles_an_unsure_answer() -> None:
    """Two cats and two dogs are no crowd, but the model is in two minds."""

    def answer(marked: MarkedFrames) -> str:
        if marked.visible_ids == {3, 4} or start_of(marked) > 0:
            return Generated(said(4, 2, 4), {3: 0.1, 4: 0.9})
        return Generated(said(3, 2, 4), {1: 0.3, 3: 0.4, 4: 0.3})

    animals = [at(i, 0, 8, name="cat" if i < 3 else "dog") for i in range(1, 5)]
    result, _ = asked(answer, *animals, classes=("cat", "dog"))
    assert result.object_ids == (4,) and result.confidence == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("n", "seconds", "calls"),
    [
        (1, 8.0, 1),
        (1, 8.0, 2),
        (60, 8.0, 3),
        (60, 8.0, 8),
        (1, 64.0, 1),
        (1, 64.0, 3),
        (60, 64.0, 5),
    ],
    ids=["first", "closer", "group", "later group", "window", "later window", "window of groups"],
)
def test_stopping_in_any_look_returns_nothing_half_made(n: int, seconds: float, calls: int) -> None:
    heard: list[int] = []

    def progress(stage: str, done: int, total: int | None) -> None:
        heard.extend([done] * (stage == "look"))
        if len(heard) == calls:
            raise Cancelled("stop")

    shown: list[float] = []

    def answer(marked: MarkedFrames) -> str:
        shown.append(start_of(marked))
        return said(min(marked.visible_ids), 2, 4)

    objects = [at(i, 0, seconds) for i in range(1, n + 1)]
    with pytest.raises(Cancelled):
        asked(answer, *objects, seconds=seconds, progress=progress, limit=9)
    assert len(shown) <= calls


def test_a_moment_whose_object_is_mostly_out_of_view_is_not_taken() -> None:
    result, _ = asked(
        lambda marked: said(1, 2, 8) if start_of(marked) > 15 else NONE, at(1, 20, 22), seconds=64.0
    )
    assert not result.found


def test_several_questions_share_the_windows() -> None:
    source, vlm = video_of(64.0), Watching(dog_at(43.0))
    info = source.info
    tracks = Tracks(info.width, info.height, info.frame_times, (at(300, 40, 50),))
    pipeline = STVGPipeline(STVGConfig(sampling=SMALL), GivenTracks(tracks, name="given"), vlm)
    results = pipeline(["the dog", "the other dog"], source, passes="auto")
    assert [r.object_ids for r in results] == [(300,), (300,)]


def test_a_view_takes_answers_back_to_the_video() -> None:
    with video_of(8.0) as source:
        info = source.info
        tracks = Tracks(info.width, info.height, info.frame_times, (at(120, 0, 8), at(7, 0, 8)))
        stretch = read_stretch(source, replace(SMALL, fps=4.0), 3.0, 5.0)
        assert stretch is not None and len(stretch.frames) == 8
        view = view_of(stretch, tracks, (120, 7), STVGConfig().marker, 99)
        assert view.marked.numbers == {7: 1, 120: 2} and view.marked.visible_ids == {7, 120}
        back = view.in_video(Answer((2,), 0.5, 9.0))
        assert (back.object_ids, back.start_seconds, back.end_seconds) == ((120,), 3.5, 5.0)
        text = view.text_in_video(Generated("2", {1: 0.1, 2: 0.9}, {1: (0.5, 1.0)}))
        assert isinstance(text, Generated) and text.id_probabilities == {7: 0.1, 120: 0.9}
        assert text.id_ranges == {7: (3.5, 4.0)} and view.text_in_video("2") == "2"
        bad = Answer((), None, None, problem="no answer")
        assert view.in_video(bad) is bad
        assert read_stretch(source, SMALL, 3.0, 3.05) is None


def test_presence_ranks_what_is_seen() -> None:
    with video_of(8.0) as source:
        info = source.info
    tracks = Tracks(
        info.width, info.height, info.frame_times, (at(1, 0, 2), at(2, 0, 8), at(3, 6, 8))
    )
    presence = Presence(tracks)
    assert presence.ranked(0, 8)[0] == 2 and presence.ranked(3, 5) == [2]
    assert (
        presence.ranked(7, 7.5) == [2, 3]
        and Presence(replace(tracks, tracks=())).ranked(0, 8) == []
    )
