"""Frames at the model's size are the official ones; see also the golden kind `resize`."""

import hashlib

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from stvg_r1_hub.vlm.resizing import resized, resized_on

OFFICIAL = {
    ((720, 1280), (196, 364)): "c1102813cbd49af31f448fbbaf14ec241898252289625ffc5b39336a8dc52c78",
    ((1080, 1920), (280, 504)): "23346b4a037dc115ec4ba147a062fa7256c40cb033d794ec91a3ee7398618591",
    ((480, 270), (392, 224)): "f4baf1b93435c8880ecdc4b96aa80533070b6d16b3442ef5d218496a4906c5cb",
    ((97, 131), (280, 392)): "5f35a06ed34d6d029c35ec1a17817d98c4330ef6a49bdc8ce783dd961dafcf44",
}
"""SHA-256 of noise resized by torchvision 0.20.1 (torch 2.5.1) as qwen-vl-utils 0.0.10 calls it."""


def noise(height: int, width: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (2, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("size", "wanted"), OFFICIAL, ids=str)
def test_noise_is_resized_to_the_last_bit_as_officially(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    got = resized(noise(*size), *wanted)
    assert got.shape == (2, *wanted, 3) and got.dtype == np.uint8
    assert hashlib.sha256(got.tobytes()).hexdigest() == OFFICIAL[size, wanted]
    as_on_a_gpu = resized_on(noise(*size), *wanted, "cpu")
    assert np.array_equal(as_on_a_gpu.numpy(), got)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((5, 3), (28, 56)), ((1, 1), (28, 28)), ((4320, 16), (56, 28)), ((300, 301), (301, 300))],
    ids=str,
)
def test_any_size_is_what_torch_computes_in_float32(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    frames = noise(*size)
    as_floats = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    exact = interpolate(as_floats, wanted, mode="bicubic", antialias=True).clamp(0, 255)
    got = torch.from_numpy(resized(frames, *wanted)).permute(0, 3, 1, 2)
    # torch sums in another order than it did; a value between two integers may go either way.
    assert (got - exact).abs().max() < 0.501


def test_frames_of_the_right_size_stay_as_they_are() -> None:
    frames = noise(28, 56)
    assert np.array_equal(resized(frames, 28, 56), frames)
    assert np.array_equal(resized_on(frames, 28, 56, "cpu").numpy(), frames)
    assert np.array_equal(resized(frames[:, :, ::-1], 28, 56), frames[:, :, ::-1])
    mirrored = resized(frames[:, :, ::-1], 56, 84)
    assert np.abs(mirrored[:, :, ::-1].astype(int) - resized(frames, 56, 84)).max() <= 1
