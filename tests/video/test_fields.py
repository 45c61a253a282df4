"""Streams with one field a packet: frames are counted, not fields."""

from __future__ import annotations

import numpy as np
import pytest

from stvg_r1_hub.video import open_video
from stvg_r1_hub.video.fields import FieldPairs
from tests.field_coded import Bits, parameter_sets, write_field_coded
from tests.media import numbers, write_clip

MIXTURES = {
    "fields": [True] * 10,
    "fields and frames": [True, False, False, True] * 3,
    "frames": [False] * 10,
}
FILES = ("v.ts", "v.flv", "v.mkv", "v.mp4")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kinds", MIXTURES.values(), ids=MIXTURES)
def test_two_fields_are_one_frame_at_the_time_of_the_first(tmp_path, name, kinds):
    with open_video(write_field_coded(tmp_path / name, kinds)) as source:
        assert numbers(source) == list(range(len(kinds)))
        np.testing.assert_allclose(source.info.frame_times, np.arange(len(kinds)) / 25, atol=1e-3)
        assert source.info.duration_seconds == pytest.approx(len(kinds) / 25, abs=1e-3)
        assert not any("damaged" in warning for warning in source.warnings)
        assert any("interlaced" in warning for warning in source.warnings) == kinds[0]


@pytest.mark.parametrize("name", FILES)
def test_a_sample_has_both_fields(tmp_path, name):
    kinds = MIXTURES["fields and frames"]
    with open_video(write_field_coded(tmp_path / name, kinds)) as source:
        everything = [frame.pixels for frame in source.stream()]
        for frame in source.stream([2, 3, 8, 11]):
            assert np.array_equal(frame.pixels, everything[frame.frame_index])


def test_interlaced_frames_stay_frames(tmp_path):
    path = write_clip(tmp_path / "v.ts", 20, options={"x264-params": "interlaced=1:keyint=7"})
    with open_video(path) as source:
        assert numbers(source) == list(range(20)) and not any(source._packets.second)


def slice_of(frame_num: int, parity: int) -> bytes:
    return Bits().golomb(0, 7, 0).number(frame_num, 4).number(1, 1).number(parity, 1).unit(1)[5:]


def test_pairs_go_by_number_and_parity():
    pairs = FieldPairs()
    assert not pairs.possible and not pairs.is_second(slice_of(0, 1))
    pairs.learn(parameter_sets()[5:40])
    assert pairs.possible
    steps = [
        (1, 0, False), (1, 0, False),  # two slices of one field
        (1, 1, True), (1, 1, True),
        (2, 1, False), (2, 0, True),  # bottom field first
        (2, 1, False), (2, 0, True),  # nothing refers to these: the number stays
        (3, 0, False), (4, 0, False),  # a field was lost
        (4, 1, True),
    ]  # fmt: skip
    for frame_num, parity, second in steps:
        assert pairs.is_second(slice_of(frame_num, parity)) == second, (frame_num, parity)


def test_broken_headers_change_nothing():
    pairs = FieldPairs()
    for length in range(10):
        pairs.learn(parameter_sets()[5 : 5 + length])
    assert not pairs.possible
    pairs.learn(parameter_sets()[5:40])
    assert pairs.possible and not pairs.is_second(b"") and not pairs.is_second(bytes(8))
