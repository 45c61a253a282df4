"""Settings shared by all tests: no network, one thread, and media made on the spot."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stvg_r1_hub import STVGPipeline

# Set before anything imports huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
# Threads that share a tiny tensor mostly wait for one another. Programs started here inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny() -> STVGPipeline:
    """The bundled model, loaded once for all; `tiny.replace` gives a test one to change."""
    from stvg_r1_hub import STVGPipeline

    return STVGPipeline.from_pretrained("tiny", device="cpu")
