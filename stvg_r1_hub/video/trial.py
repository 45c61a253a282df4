"""Strangers' videos are opened in a process of their own first.

Decoders are native code: a file that breaks one ends the process, and nothing in it can prevent
that. So `Trials` has a child open the file and decode its head, middle and tail, with limits of
time and memory. The child imports only what decoding needs and knows of no GPU. One always stands
ready, for starting it takes longer than most files.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.structures import VideoInfo
from stvg_r1_hub.video import open_video

HEAD_FRAMES = 8
PATIENCE_SECONDS = 8.0
LIMIT_SECONDS = 30.0
LIMIT_BYTES = 4 * 1024**3
_LOG = logging.getLogger(__name__)


class Trials:
    """Opens videos in child processes, a new one for each."""

    def __init__(
        self,
        *,
        at_once: int = 2,
        limit_seconds: float = LIMIT_SECONDS,
        limit_bytes: int = LIMIT_BYTES,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Nothing is started yet.

        Args:
            at_once: children at work side by side; further callers wait.
            limit_seconds: a child that takes longer is killed.
            limit_bytes: memory that a child may have.
            patience_seconds: a decoder that is alive after this has shown what there was to show.
        """
        self._turns = threading.BoundedSemaphore(at_once)
        self._limit_seconds = limit_seconds
        self._arguments = [str(limit_bytes), str(patience_seconds)]
        self._ready: list[subprocess.Popen[str]] = []
        atexit.register(self.close)

    def open(self, path: str | os.PathLike[str]) -> VideoInfo:
        """What is known of a video file that a child could open and decode.

        Raises:
            VideoError: as `open_video`, or the file has killed the child.
        """
        with self._turns:
            child = self._take()
            try:
                output, complaint = child.communicate(os.fspath(path), self._limit_seconds)
            except subprocess.TimeoutExpired:
                raise VideoError(
                    f"'{Path(path).name}' cannot be read within {self._limit_seconds:g} s; convert "
                    "it to an ordinary MP4 first."
                ) from None
            finally:
                child.kill()
                child.wait()
                self.stand_ready()
        # One that is killed while it writes leaves half a line.
        lines = [json.loads(line) for line in output.splitlines() if line.endswith("}")]
        if lines and "refused" in lines[-1]:
            raise VideoError(lines[-1]["refused"])
        if len(lines) < 2:
            _LOG.warning("A video ended its reader (%s): %s", child.returncode, complaint[-500:])
            raise VideoError(
                f"'{Path(path).name}' makes the video decoder crash, so it is not used here; "
                "convert it to an ordinary MP4 first."
            )
        info = lines[0]
        return VideoInfo(**{**info, "frame_times": np.array(info["frame_times"])})

    def stand_ready(self) -> None:
        """Start a child for the next file, when there is none yet."""
        if not self._ready:
            self._ready.append(self._start())

    def close(self) -> None:
        """End the child that stands ready."""
        while self._ready:
            child = self._ready.pop()
            child.kill()
            child.communicate()

    def _take(self) -> subprocess.Popen[str]:
        with contextlib.suppress(IndexError):
            child = self._ready.pop()
            if child.poll() is None:
                return child
        return self._start()

    def _start(self) -> subprocess.Popen[str]:
        package = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        # NumPy would start threads for nothing, each with memory of its own.
        settings = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            env={**os.environ, **settings, "PYTHONPATH": path},
        )


def _limit_memory(limit_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not the address space, of which every thread reserves much and uses little.
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def _end_well_after(seconds: float) -> None:
    """Call it decoded after a while, if Python is at work then and no decoder hangs."""

    def enough(*_: Any) -> None:
        _say(decoded=True)
        os._exit(0)

    if hasattr(signal, "setitimer"):  # not on Windows
        signal.signal(signal.SIGALRM, enough)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _try(path: str, patience_seconds: float) -> None:
    """Say what is known of a video, and again something once it is decoded."""
    with open_video(path) as source:
        info = source.info
        _say(**{**vars(info), "frame_times": info.frame_times.tolist()})
        _end_well_after(patience_seconds)
        last = info.n_frames - 1
        for _ in source.stream(sorted({*range(min(HEAD_FRAMES, last)), last // 2, last})):
            pass
    gc.collect()  # What a decoder has broken can come out here.
    _say(decoded=True)


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)  # noqa: T201 - read by `Trials`


def main(file: TextIO = sys.stdin) -> None:
    """The child: wait for a path, open it, say what there is to say."""
    import stvg_r1_hub.video.file  # noqa: F401 - imported while there is time

    limit_bytes, patience_seconds = int(sys.argv[1]), float(sys.argv[2])
    _limit_memory(limit_bytes)
    path = file.read()
    if not path:  # The parent is gone, or never had anything to open.
        return
    try:
        _try(path, patience_seconds)
    except VideoError as error:
        _say(refused=str(error))
    except MemoryError:
        _say(
            refused=f"'{Path(path).name}' takes more than {limit_bytes / 1024**3:.1f} GB of memory "
            "to decode; make its picture smaller first."
        )


if __name__ == "__main__":
    main()
    os._exit(0)  # All is said; to take Python apart in order would keep the visitor waiting.
