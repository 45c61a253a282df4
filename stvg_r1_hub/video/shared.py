"""One file object read from several positions at a time."""

from __future__ import annotations

import io
import threading
from typing import BinaryIO

from stvg_r1_hub.errors import VideoError


class SharedFile:
    """Independent reading positions on one file object, so that two passes can run side by side."""

    def __init__(self, file: BinaryIO) -> None:
        if not (hasattr(file, "seekable") and file.seekable()):
            raise VideoError(
                "Got a file object that cannot seek; pass a path, bytes, or an io.BytesIO."
            )
        self.file = file
        self.lock = threading.Lock()

    def view(self) -> _View:
        """A reader with a position of its own, at the start."""
        return _View(self)


class _View:
    def __init__(self, shared: SharedFile) -> None:
        self._shared = shared
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        with self._shared.lock:
            self._shared.file.seek(self._position)
            data = self._shared.file.read(size)
            self._position = self._shared.file.tell()
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        with self._shared.lock:
            if whence == io.SEEK_CUR:
                offset, whence = self._position + offset, io.SEEK_SET
            self._position = self._shared.file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._position
