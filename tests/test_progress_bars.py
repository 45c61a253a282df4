"""Bars where a person looks on, and nowhere else."""

from __future__ import annotations

import os
import pty
import sys
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.media import write_clip
from tests.test_pipeline import COUNT, FPS, HEIGHT, WIDTH, make_pipeline

TOLD: list[str] = []


@pytest.mark.parametrize(
    ("stderr", "progress", "is_shown"),
    [
        ("terminal", {}, True),
        ("terminal", {"progress": False}, False),
        ("terminal", {"progress": None}, False),
        ("terminal", {"progress": lambda stage, *_: TOLD.append(stage)}, False),
        ("pipe", {}, False),
    ],
    ids=["terminal", "off", "none", "own", "pipe"],
)
def test_bars_are_for_a_terminal(
    stderr: str,
    progress: dict[str, Any],
    is_shown: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", COUNT, fps=FPS, size=(WIDTH, HEIGHT))
    reader, writer = pty.openpty() if stderr == "terminal" else os.pipe()
    if stderr == "terminal":
        termios.tcsetwinsize(writer, (24, 80))
    os.set_blocking(reader, False)
    TOLD.clear()
    pipeline, _, _ = make_pipeline()
    with os.fdopen(writer, "w") as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        result = pipeline("the dog", clip, **progress)
        result.save_video(tmp_path / "out.mp4", **progress)
        shown = all_of(reader)
    os.close(reader)
    assert bool(shown) == is_shown
    assert not is_shown or ("decode/track" in shown and "writing" in shown)
    assert bool(TOLD) == callable(progress.get("progress"))


def all_of(reader: int) -> str:
    read = b""
    with suppress(BlockingIOError):
        while part := os.read(reader, 1 << 16):
            read += part
    return read.decode()
