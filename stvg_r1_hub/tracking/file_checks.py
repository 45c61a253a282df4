"""Checks of track files: every message names the file and the record it is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.geometry import decode_mask
from stvg_r1_hub.structures import RLE


def need(condition: bool, where: str, message: str) -> None:
    """Go on when the condition holds.

    Raises:
        TrackerError: it does not; `where` and the message say what is wrong.
    """
    if not condition:
        raise TrackerError(f"{where}: {message}")


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        TrackerError: there is none.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrackerError(f"Cannot read tracks from {path}: {error}") from error
    need(isinstance(values, dict), str(path), "it must hold a JSON object with tracks")
    return cast(dict[str, Any], values)


def read_mask(rle: Any, where: str, width: int, height: int) -> NDArray[np.bool_]:
    """An RLE's pixels, `(H, W)` bool.

    Raises:
        TrackerError: it is not well formed, or of another size.
    """
    formed = isinstance(rle, dict) and isinstance(rle.get("counts"), str)
    need(formed, where, "a mask must be an RLE with size and counts")
    size = rle.get("size")
    need(size == [height, width], where, f"a mask has size {size}, not [{height}, {width}]")
    try:
        return decode_mask(cast(RLE, rle))
    except (ValueError, IndexError, UnicodeEncodeError) as error:
        raise TrackerError(f"{where}: a mask cannot be decoded: {error}") from error
