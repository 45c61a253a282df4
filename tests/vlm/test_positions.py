import numpy as np
import pytest

from stvg_r1_hub.vlm.positions import mrope_positions
from tests.golden.video_and_positions import _installed_positions, installed_is_5_23

TEXT, VIDEO = 5, 9


def positions_of(ids, grids, seconds=None, **options):
    return mrope_positions(ids, grids, seconds, video_token_id=VIDEO, **options)


def test_by_hand():
    # Two text tokens, a video of 2 steps x 1 row x 2 columns, one text token.
    ids = [TEXT] * 2 + [VIDEO] * 4 + [TEXT]
    positions, delta = positions_of(ids, [[2, 2, 4]], [1.5], tokens_per_second=2)
    assert positions.dtype == np.int64
    assert positions.tolist() == [
        [0, 1, 2, 2, 5, 5, 6],
        [0, 1, 2, 2, 2, 2, 6],
        [0, 1, 2, 3, 2, 3, 6],
    ]
    assert delta == 7 - len(ids)


def test_without_seconds_a_step_is_one_second():
    ids = [TEXT] + [VIDEO] * 6 + [TEXT]
    assert np.array_equal(
        positions_of(ids, [[3, 2, 4]])[0], positions_of(ids, [[3, 2, 4]], [1.0])[0]
    )


def test_two_videos_even_without_text_between():
    apart = [TEXT] + [VIDEO] * 4 + [TEXT] + [VIDEO] * 8 + [TEXT]
    positions, delta = positions_of(apart, [[1, 4, 4], [2, 4, 4]], [1.0, 0.5])
    assert positions[:, 5].tolist() == [3, 3, 3]  # video at 1..2, text at 3
    assert positions[0, 6:14].tolist() == [4] * 4 + [5] * 4
    assert positions[:, 14].tolist() == [6, 6, 6]
    assert delta == 7 - 15
    together = [VIDEO] * 12
    positions, _ = positions_of(together, [[1, 4, 4], [2, 4, 4]], [1.0, 0.5])
    assert positions[0].tolist() == [0] * 4 + [2] * 4 + [3] * 4


def test_text_alone_counts_on():
    positions, delta = positions_of([TEXT] * 4, np.zeros((0, 3)))
    assert positions.tolist() == [[0, 1, 2, 3]] * 3
    assert delta == 0
    assert positions_of([], [])[0].shape == (3, 0)


def test_padding_does_not_shift():
    ids = [TEXT] * 2 + [VIDEO] * 4 + [TEXT]
    plain, delta = positions_of(ids, [[2, 2, 4]], [1.0])
    mask = [0, 0, 0] + [1] * len(ids)
    padded, padded_delta = positions_of([TEXT] * 3 + ids, [[2, 2, 4]], [1.0], attention_mask=mask)
    assert np.array_equal(padded[:, 3:], plain)
    assert (padded[:, :3] == 1).all()
    assert padded_delta == delta


@pytest.mark.parametrize(
    ("ids", "grids", "seconds"),
    [
        ([TEXT] + [VIDEO] * 3, [[1, 4, 4]], None),
        ([TEXT] + [VIDEO] * 5, [[1, 4, 4]], None),
        ([VIDEO] * 2 + [TEXT] + [VIDEO] * 2, [[1, 4, 4]], None),
        ([TEXT] * 3, [[1, 4, 4]], None),
        ([VIDEO] * 4, np.zeros((0, 3)), None),
        ([VIDEO] * 4, [[1, 4, 4]], [1.0, 1.0]),
        ([[VIDEO] * 4], [[1, 4, 4]], None),
        ([TEXT], [[0, 4, 4]], None),
    ],
)
def test_tokens_that_do_not_fit_are_refused(ids, grids, seconds):
    with pytest.raises(ValueError, match=r"grid|second_per_grid|sequence"):
        positions_of(ids, grids, seconds)


def test_only_the_text_after_the_video_differs_from_transformers_5_23():
    if not installed_is_5_23():
        pytest.skip("the installed transformers is not 5.23")
    ids = np.array([0] * 11 + [1] + [3] * (20 * 7 * 13) + [2] + [0] * 6)
    theirs, _ = _installed_positions(ids, [20, 14, 26], 1.0, 2)
    ours, _ = mrope_positions(ids, [[20, 14, 26]], [1.0], video_token_id=3)
    different = np.flatnonzero((ours != theirs).any(axis=0))
    assert different.tolist() == list(range(len(ids) - 7, len(ids)))
    assert set((ours - theirs)[:, different].ravel()) == {26}
