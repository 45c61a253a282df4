"""The `stvg` command."""

from stvg_r1_hub.cli.parser import main

__all__ = ["main"]
