"""The rendered streets that linkers are compared on: what each is hard by does happen."""

import numpy as np
import pytest

from benchmarks.moving_street import AWAY_SECONDS, EVENTS, FPS, SECONDS, SIDE, street


def longest_absence(truth: dict[int, list[tuple[int, list[float]]]]) -> float:
    """Seconds that somebody is gone for who then comes back."""
    seen: dict[int, list[int]] = {}
    for frame, rows in truth.items():
        for number, _ in rows:
            seen.setdefault(number, []).append(frame)
    return max(float(np.diff(frames).max(initial=1)) for frames in seen.values()) / FPS


@pytest.mark.parametrize("event", EVENTS)
def test_a_street_holds_what_it_is_named_after(event: str) -> None:
    frames, truth = street(event, 0)
    assert len(frames) == len(truth) == SECONDS * FPS and frames[0].shape == (SIDE, SIDE, 3)
    half = len(frames) // 2
    before, after = (
        {number for f in part for number, _ in truth[f]}
        for part in (range(half), range(half, len(frames)))
    )
    assert bool(before & after) == (event != "scene cut")
    if event == "crossings":
        assert longest_absence(truth) < 0.5
    elif event == "long gap":
        assert longest_absence(truth) > 1
    elif event == "re-entry":
        assert AWAY_SECONDS - 1 < longest_absence(truth) < AWAY_SECONDS + 2


def test_the_truth_lies_on_what_is_drawn() -> None:
    frames, truth = street("crossings", 1)
    ((number, first), *_) = [row for row in truth[100] if 0 < row[1][0] < SIDE - 100]
    moved = dict(truth[101])[number]
    left, top, right, bottom = (round(v) for v in first)
    changed = np.abs(frames[100].astype(int) - frames[101]).max(axis=2)
    assert changed[top:bottom, left:right].mean() > changed.mean()
    assert moved != first
