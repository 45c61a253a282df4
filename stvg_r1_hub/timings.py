"""Seconds spent in each stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


@contextmanager
def timed(
    timings: dict[str, float], stage: str
) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Add the seconds that the block takes to a stage's timing.

    Yields:
        A block within that is not counted, in which the timing says the seconds so far.
    """
    started = time.perf_counter()

    @contextmanager
    def pause() -> Iterator[None]:
        nonlocal started
        timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - started
        try:
            yield
        finally:
            started = time.perf_counter()

    try:
        yield pause
    finally:
        with pause():
            pass
