import subprocess
import sys
import threading
import time

import pytest

from stvg_r1_hub.errors import Cancelled, STVGError
from stvg_r1_hub.web import jobs
from stvg_r1_hub.web.jobs import Step, WaitingLine, in_background


def finish(steps):
    """All steps, and what the work returned."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return seen, end.value


def test_steps_and_result():
    def work(progress, give):
        for done in range(5):
            progress("count", done, 5)
            time.sleep(0.03)
        return "done"

    seen, value = finish(in_background(work, every_seconds=0.01))
    assert value == "done"
    assert seen[0].stage in ("start", "count") and seen[-1] == Step("count", 4, 5)


def test_a_part_comes_out_while_the_work_goes_on():
    taken = threading.Event()

    def work(progress, give):
        give("a part")
        return taken.wait(60)

    parts = in_background(work, every_seconds=0.01)
    assert "a part" in parts
    taken.set()
    assert finish(parts)[1] is True


def test_errors_reach_the_caller():
    def work(progress, give):
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        finish(in_background(work))


def test_closing_stops_the_work():
    stopped = threading.Event()

    def work(progress, give):
        try:
            while True:
                progress("turn", 1, None)
                time.sleep(0.005)
        except Cancelled:
            stopped.set()
            raise

    steps = in_background(work, every_seconds=0.01)
    next(steps)
    steps.close()
    assert stopped.wait(5)


def test_line_is_first_come_first_served():
    line, order, told = WaitingLine(at_once=1, most_waiting=5), [], []
    all_know_their_place = threading.Event()

    def visit(name):
        with line.turn(lambda stage, done, total: told.append((name, stage, done))):
            order.append(name)
            all_know_their_place.wait(30)

    threads = []
    for name in range(4):
        thread = threading.Thread(target=visit, args=(name,))
        threads.append(thread)
        thread.start()
        while len(line) < name + 1 and name not in order:
            time.sleep(0.005)
    wanted = {(3, "wait", 3), (1, "wait", 1)}
    deadline = time.monotonic() + 20
    while not wanted <= set(told) and time.monotonic() < deadline:
        time.sleep(0.005)
    all_know_their_place.set()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3] and len(line) == 0
    assert wanted <= set(told)


def test_nobody_is_overtaken_or_forgotten():
    """Who waits behind n others is next after n turns: no order but the line's, no lost wake-up."""
    line, turns, waits = WaitingLine(at_once=1, most_waiting=9), [], []

    def visit():
        for _ in range(20):
            first = []  # How many stood before, and how many turns there had been by then.
            with line.turn(
                lambda stage, before, total, first=first: first.append((before, len(turns)))
            ):
                if first:
                    waits.append((first[0][0], len(turns) - first[0][1]))
                time.sleep(0.001)
                turns.append(threading.get_ident())

    threads = [threading.Thread(target=visit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(turns) == 120 and len(line) == 0
    assert waits and all(meanwhile <= before for before, meanwhile in waits)


def test_line_works_on_several_at_once():
    line, barrier = WaitingLine(at_once=2, most_waiting=0), threading.Barrier(2)

    def visit():
        with line.turn(lambda *unused: None):
            barrier.wait(5)  # Passes only when both are inside.

    threads = [threading.Thread(target=visit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not barrier.broken


def test_full_line_sends_away_and_leaving_frees_the_place():
    line = WaitingLine(at_once=1, most_waiting=0)
    with line.turn(lambda *unused: None), pytest.raises(STVGError, match="Too many visitors"):
        with line.turn(lambda *unused: None):
            pass
    with line.turn(lambda *unused: None):
        assert len(line) == 1


def test_who_gives_up_leaves_the_line():
    line = WaitingLine(at_once=1, most_waiting=3)

    def give_up(stage, done, total):
        raise Cancelled("enough")

    with line.turn(lambda *unused: None):
        with pytest.raises(Cancelled), line.turn(give_up):
            pass
        assert len(line) == 1


MEMORY = """
import psutil
from stvg_r1_hub.web.jobs import free_memory_returned

def megabytes():
    return psutil.Process().memory_info().rss / 1e6

before = megabytes()
blocks = [bytearray(b"x" * 60_000) for _ in range(2000)]
pin = blocks[-1]  # While the last one is held, glibc keeps all that lies before it.
del blocks
assert megabytes() > before + 80
try:
    with free_memory_returned():
        raise KeyError("also when the question failed")
except KeyError:
    pass
assert megabytes() < before + 40 and len(pin) == 60_000
"""


@pytest.mark.skipif(jobs._MALLOC_TRIM is None, reason="only glibc keeps freed memory in pools")
def test_what_a_question_freed_goes_back_to_the_system():
    """In a process of its own: what other tests left free would hide the growth."""
    subprocess.run([sys.executable, "-c", MEMORY], check=True, timeout=120)
