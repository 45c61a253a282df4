"""Which device is taken, and which are refused."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from stvg_r1_hub.device import half_precision, one_thread, pick_device
from stvg_r1_hub.errors import ConfigError


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [pick_device(name) for name in ("auto", "cuda", "cuda:0", "cpu")] == [
        "cuda",
        "cuda",
        "cuda:0",
        "cpu",
    ]
    for name in ("cuda:1", "toaster"):
        with pytest.raises(ConfigError, match=name):
            pick_device(name)


def test_only_a_cuda_device_computes_in_half_precision() -> None:
    with half_precision("cpu"):
        assert not torch.is_autocast_enabled("cpu")
    of_detectors, of_masks = half_precision("cuda:0"), half_precision("cuda", torch.bfloat16)
    assert (of_detectors.device, of_detectors.fast_dtype) == ("cuda", torch.float16)
    assert of_masks.fast_dtype == torch.bfloat16


def test_one_thread_is_for_the_caller_alone_and_for_a_while() -> None:
    before = torch.get_num_threads()
    with ThreadPoolExecutor(1) as other, pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        assert other.submit(torch.get_num_threads).result() == before
        raise KeyError
    assert torch.get_num_threads() == before
