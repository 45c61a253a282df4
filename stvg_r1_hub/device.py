"""Where the models run, and how precisely."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stvg_r1_hub.errors import ConfigError

if TYPE_CHECKING:
    import torch


def pick_device(device: str) -> str:
    """The device to use: `"auto"` is cuda, then mps, then cpu.

    Raises:
        ConfigError: not a device, or one that is not there.
    """
    import torch

    has_mps = torch.backends.mps.is_available()
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"Got device {device!r}; use 'auto', 'cpu', 'mps', 'cuda' or 'cuda:N'."
        ) from error
    kind, count = wanted.type, torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (kind == "cuda" and (wanted.index or 0) >= count) or (kind == "mps" and not has_mps):
        raise ConfigError(f"Got device {device!r}, which is not there; use 'auto' or 'cpu'.")
    return device


def half_precision(device: Any, dtype: torch.dtype | None = None) -> Any:
    """A context in which a CUDA device multiplies in 16 bits; elsewhere nothing changes.

    Args:
        device: a torch device or its name.
        dtype: None is float16, whose boxes are eight times as exact as bfloat16's.
    """
    import torch

    if torch.device(device).type != "cuda":
        return contextlib.nullcontext()
    return torch.autocast("cuda", dtype=dtype or torch.float16)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A context in which torch takes one thread of the CPU, for the calling thread alone.

    Where steps are short, threads that wait for one another cost more than they save. It is not
    `torch.set_num_threads`, which is also for threads that begin meanwhile, and for good. Where
    torch's OpenMP is out of reach, nothing changes.
    """
    import torch

    before = torch.get_num_threads()
    set_threads = _openmp_setter()
    set_threads(1)
    try:
        yield
    finally:
        set_threads(before)


def _openmp_setter() -> Any:
    try:
        return ctypes.CDLL(None).omp_set_num_threads
    except (AttributeError, OSError, TypeError):  # TypeError: Windows
        return lambda n: None


def device_of(module: Any) -> torch.device:
    """Where a module computes, also where accelerate brings its weights there only for that."""
    import torch

    hooks = (getattr(part, "_hf_hook", None) for part in module.modules())
    places = (getattr(hook, "execution_device", None) for hook in hooks)
    found = next((place for place in places if place is not None), None)
    return next(module.parameters()).device if found is None else torch.device(found)
