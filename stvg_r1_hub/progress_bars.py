"""One bar a stage on stderr, in a terminal or a notebook; nothing in a pipe or a log."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from stvg_r1_hub.structures import Progress


def callback_of(progress: Progress | bool) -> AbstractContextManager[Progress | None]:
    """What is called with the progress of work: bars for True, nothing for False."""
    return ProgressBars() if progress is True else nullcontext(progress or None)


class ProgressBars:
    """Use as a context manager; the value is a `structures.Progress` callback."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(self, *error: object) -> None:
        self._finish()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` steps of a stage are finished."""
        if stage != self._stage or self._bar is None:
            from tqdm import tqdm

            self._finish()
            self._stage = stage
            disable = False if in_notebook() else None  # None leaves it to tqdm.
            self._bar = tqdm(total=total, desc=stage, disable=disable, leave=False)
        if total is not None:
            self._bar.total = total
        self._bar.update(done - self._bar.n)

    def _finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def in_notebook() -> bool:
    """Whether what runs is shown in a notebook, which tqdm takes for a pipe."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
