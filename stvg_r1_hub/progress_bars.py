"""Progress callback that shows one bar a stage on stderr, and nothing when that is no terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class ProgressBars:
    """Use as a context manager; the value is a `structures.Progress` callback."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` steps of a stage are finished."""
        if stage != self._stage or self._bar is None:
            from tqdm import tqdm

            self._finish()
            self._stage = stage
            self._bar = tqdm(total=total, desc=stage, disable=None, leave=False)
        if total is not None:
            self._bar.total = total
        self._bar.update(done - self._bar.n)

    def _finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
