"""Where the models run."""

from __future__ import annotations

from stvg_r1_hub.errors import ConfigError


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
