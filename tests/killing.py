"""A video that kills the process which reads it, for real, and a reader that lets it.

PyAV 18 frees the name of a colour profile twice once somebody has looked at `frame.side_data`.
Our reader no longer does; the one here still does, so that a test can see what happens then.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import ImageCms

from tests.media import encoded, write_pictures

CARELESS = """
import stvg_r1_hub.video.picture

careful = stvg_r1_hub.video.picture.Shape.of

def careless(frame, *rest):
    frame.side_data
    return careful(frame, *rest)

stvg_r1_hub.video.picture.Shape.of = careless
"""


def killing_file(path: Path) -> Path:
    """Pictures with a colour profile, a fine video for a careful reader."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return write_pictures(path, encoded("PNG", icc_profile=profile), "png")


def make_children_careless(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python processes that are started from now on read as the careless reader does."""
    (folder / "sitecustomize.py").write_text(CARELESS)
    monkeypatch.setenv("PYTHONPATH", str(folder))
