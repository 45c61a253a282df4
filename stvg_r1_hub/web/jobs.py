"""Long work in a thread: progress and parts come out, closing cancels, visitors wait in line.

Every question has a thread of its own, and glibc gives a new thread one of many pools of memory
(8 a core). What a question has freed stays in its pool, so the process grows until each pool has
once held a whole clip; `free_memory_returned` hands it back.
"""

from __future__ import annotations

import contextvars
import ctypes
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from stvg_r1_hub.errors import Cancelled, STVGError
from stvg_r1_hub.structures import Progress

Result = TypeVar("Result")


def _malloc_trim() -> Callable[[int], int] | None:
    """`malloc_trim(3)` of glibc."""
    try:
        function: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return function


_MALLOC_TRIM = _malloc_trim()


@dataclass(frozen=True)
class Step:
    """How far the work is: the arguments of a `structures.Progress` callback."""

    stage: str
    done: int
    total: int | None


def in_background(
    work: Callable[[Progress, Callable[[Any], None]], Result], *, every_seconds: float = 0.25
) -> Generator[Any, None, Result]:
    """Run `work(progress, give)` in a thread of its own.

    Closing the generator (a stop button, a closed tab) makes the next call of `progress` raise
    `Cancelled` in the work; the thread is not waited for.

    Args:
        work: what to do; it must call `progress` often, and may `give` parts of what it makes.
        every_seconds: the latest step is yielded so often, changed or not, so that whoever
            iterates has the chance to notice that nobody listens any more.

    Yields:
        The latest `Step`, and whatever is given as soon as it is.

    Returns:
        What the work returned; what it raised is raised here.
    """
    latest = Step("start", 0, None)
    cancelled = threading.Event()
    future: Future[Result] = Future()
    given: SimpleQueue[Any] = SimpleQueue()

    def progress(stage: str, done: int, total: int | None) -> None:
        nonlocal latest
        if cancelled.is_set():
            raise Cancelled("The work was stopped.")
        latest = Step(stage, done, total)

    def run() -> None:
        try:
            future.set_result(work(progress, given.put))
        except BaseException as error:  # Whatever it is belongs to whoever waits.
            future.set_exception(error)
        given.put(future)

    # A copy of the context: the libraries around find the visitor's request in it.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    try:
        reported = None
        while True:
            try:
                part = given.get(timeout=every_seconds)
            except Empty:
                part = reported = latest
            if part is future:
                break
            yield part
        result: Result = future.result()
        if latest is not reported:
            yield latest  # However quick the work was, its last step is reported.
        return result
    finally:
        cancelled.set()


@contextmanager
def free_memory_returned() -> Iterator[None]:
    """After the block, give the pages of all pools that hold nothing back to the system.

    Does nothing where the C library is not glibc.
    """
    try:
        yield
    finally:
        if _MALLOC_TRIM is not None:
            _MALLOC_TRIM(0)


class WaitingLine:
    """First come, first served: so many at work, so many waiting, the others sent away."""

    def __init__(self, at_once: int, most_waiting: int) -> None:
        """Let `at_once` work side by side and `most_waiting` wait for them."""
        self.at_once = at_once
        self.most_waiting = most_waiting
        self._tickets: list[object] = []
        self._moved = threading.Condition()

    def __len__(self) -> int:
        """How many are at work or waiting."""
        return len(self._tickets)

    @contextmanager
    def turn(self, progress: Progress) -> Iterator[None]:
        """Wait for a place, and keep it for the block.

        Args:
            progress: called with the stage `"wait"` and the number of those before.

        Raises:
            STVGError: too many wait already.
        """
        ticket = object()
        with self._moved:
            if len(self._tickets) >= self.at_once + self.most_waiting:
                raise STVGError(
                    "Too many visitors are waiting right now; try again in a few minutes, or run "
                    "this page on your own computer with: stvg app"
                )
            self._tickets.append(ticket)
        try:
            while (before := self._before(ticket)) > 0:
                progress("wait", before, None)
            yield
        finally:
            with self._moved:
                self._tickets.remove(ticket)
                self._moved.notify_all()

    def _before(self, ticket: object) -> int:
        """How many must end before this one, after giving them a moment to do so."""
        with self._moved:
            if self._tickets.index(ticket) >= self.at_once:
                self._moved.wait(timeout=0.2)
            return max(0, self._tickets.index(ticket) - self.at_once + 1)
