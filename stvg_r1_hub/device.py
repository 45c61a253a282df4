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
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"Got device {device!r}; use 'auto', 'cpu', 'mps', 'cuda' or 'cuda:N'."
        ) from error
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not has_mps):
        raise ConfigError(f"Got device {device!r}, which is not there; use 'auto' or 'cpu'.")
    return device
