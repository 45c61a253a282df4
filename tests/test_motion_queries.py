"""Queries about motion follow from a hand-made table of trajectories."""

import numpy as np
import pytest

from benchmarks.motion_queries import (
    AWAY,
    LEFT,
    RIGHT,
    STILL,
    TOWARDS,
    Trajectory,
    motion_queries,
    motions,
)

FPS = 10.0
HEIGHT = 80.0


def person(number, *parts, first_frame=0):
    """Parts of (frames, x speed, y speed), in body heights a second."""
    steps = np.concatenate([np.tile((vx, vy), (n, 1)) for n, vx, vy in parts]) * HEIGHT / FPS
    feet = np.array([300.0, 200.0]) + np.cumsum(steps, axis=0)
    boxes = np.stack(
        [feet[:, 0] - 15, feet[:, 1] - HEIGHT, feet[:, 0] + 15, feet[:, 1]], axis=1
    )  # fmt: skip
    return Trajectory(number, first_frame, boxes)


STANDS, DIAGONAL = person(1, (60, 0.0, 0.0)), person(2, (60, 0.6, 0.6))


@pytest.mark.parametrize(
    ("velocity", "motion"),
    [((-1, 0.1), LEFT), ((0.8, -0.3), RIGHT), ((0, 0.4), TOWARDS), ((0.1, -0.3), AWAY),
     ((0.05, 0), STILL), ((0.6, 0.6), ""), ((0.22, 0), "")],
)  # fmt: skip
def test_speeds_to_motions(velocity, motion):
    assert set(motions(person(1, (30, *velocity)).boxes, FPS)) == {motion}


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        # One stands, one walks all the time.
        ([STANDS, person(3, (60, -0.9, 0))], {STILL: (1, 0, 60), LEFT: (3, 0, 60)}),
        # Times count from the clip's start.
        ([person(3, (40, 0.9, 0), first_frame=20)], {RIGHT: (3, 20, 60)}),
        # Two do it: nothing is asked.
        ([person(3, (60, 0.9, 0)), person(4, (60, 0.7, 0))], {}),
        # Another does it for more than a second: not asked; for less: asked.
        ([person(3, (60, 0.9, 0)), person(4, (45, 0.6, 0.6), (15, 0.9, 0))], {}),
        ([person(3, (60, 0.9, 0)), person(4, (57, 0.6, 0.6), (3, 0.9, 0))], {RIGHT: (3, 0, 60)}),
        # One does it twice.
        ([person(3, (20, 0.9, 0), (20, 0.5, 0.5), (20, 0.9, 0))], {}),
        # Too short a way, and too short a time.
        ([person(3, (20, 0.35, 0), (40, 0.25, 0.25))], {}),
        ([person(3, (12, 0, 0), (48, 0.6, 0.6))], {}),
        # Neither sideways nor up.
        ([DIAGONAL], {}),
        ([], {}),
    ],
)
def test_only_what_is_unambiguous_is_asked(people, expected):
    found = {}
    for query in motion_queries(people, FPS):
        found[query.motion] = (query.person, query.start_frame, query.end_frame)
    assert found.keys() == expected.keys()
    for motion, (number, start, end) in expected.items():
        assert found[motion][0] == number
        assert abs(found[motion][1] - start) <= 2 and abs(found[motion][2] - end) <= 2


def test_queries_name_the_motion():
    texts = {q.motion: q.text for q in motion_queries([STANDS, person(3, (60, -0.9, 0))], FPS)}
    assert "left" in texts[LEFT] and "still" in texts[STILL]
