"""STVG-R1: where and when in this video is what you describe?

>>> import stvg_r1_hub
>>> stvg_r1_hub.__version__
'0.1.0'

Nothing heavy is imported here; each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stvg_r1_hub.config import STVGConfig
    from stvg_r1_hub.examples import example_video
    from stvg_r1_hub.pipeline import STVGPipeline
    from stvg_r1_hub.result import GroundingResult

__version__ = "0.1.0"
__all__ = ["GroundingResult", "STVGConfig", "STVGPipeline", "__version__", "example_video"]

_HOMES = {
    "GroundingResult": "stvg_r1_hub.result",
    "STVGConfig": "stvg_r1_hub.config",
    "STVGPipeline": "stvg_r1_hub.pipeline",
    "example_video": "stvg_r1_hub.examples",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'stvg_r1_hub' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
