"""Long work in a thread, seen from a generator: progress comes out, closing it cancels."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

from stvg_r1_hub.errors import Cancelled
from stvg_r1_hub.structures import Progress

Result = TypeVar("Result")


@dataclass(frozen=True)
class Step:
    """How far the work is: the arguments of a `structures.Progress` callback."""

    stage: str
    done: int
    total: int | None


def in_background(
    work: Callable[[Progress], Result], *, every_seconds: float = 0.25
) -> Generator[Step, None, Result]:
    """Run `work(progress)` in a thread of its own.

    Closing the generator (a stop button, a closed tab) makes the next call of `progress` raise
    `Cancelled` in the work; the thread is not waited for.

    Args:
        work: what to do; it must call `progress` often.
        every_seconds: the latest step is yielded so often, changed or not, so that whoever
            iterates has the chance to notice that nobody listens any more.

    Yields:
        The latest step.

    Returns:
        What the work returned; what it raised is raised here.
    """
    latest = Step("start", 0, None)
    cancelled = threading.Event()
    future: Future[Result] = Future()

    def progress(stage: str, done: int, total: int | None) -> None:
        nonlocal latest
        if cancelled.is_set():
            raise Cancelled("The work was stopped.")
        latest = Step(stage, done, total)

    def run() -> None:
        try:
            future.set_result(work(progress))
        except BaseException as error:  # Whatever it is belongs to whoever waits.
            future.set_exception(error)

    # A copy of the context: the libraries around find the visitor's request in it.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    try:
        while not wait([future], timeout=every_seconds).done:
            yield latest
        return future.result()
    finally:
        cancelled.set()
