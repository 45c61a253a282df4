"""Which track is the annotated object; the official vote is held to the golden data."""

import numpy as np

from stvg_r1_hub.structures import Tracks
from tests.builders import make_track
from train.data.ground_truth import (
    boxes_by_frame,
    official_object_id,
)

TRACKS = Tracks(
    100,
    100,
    np.arange(4) / 10,
    (make_track(1, range(4), [0, 0, 10, 10]), make_track(2, [2], [0, 0, 20, 10])),
)


def test_the_official_vote_has_no_minimum():
    objects = boxes_by_frame(TRACKS)
    assert official_object_id([[9, 9, 50, 50]], [0], objects) == 1
    assert official_object_id([[0, 0, 20, 10]], [2], objects) == 2
    assert official_object_id([[50, 50, 9, 9]], [0], objects) is None


def test_the_vote_leaves_out_what_gets_no_number():
    # In frame 2 track 1 has half the area of track 2.
    assert set(boxes_by_frame(TRACKS, min_area_ratio=0.5)[2]) == {1, 2}
    assert set(boxes_by_frame(TRACKS, min_area_ratio=0.6)[2]) == {2}
