"""A small part of the fuzzer, and that it would notice."""

import os
import signal

import pytest

from benchmarks.fuzz_media import Child, Totals, damaged, fuzz, seeds


@pytest.mark.slow
def test_broken_media_are_read_or_refused() -> None:
    totals = Totals()
    for outcome in fuzz(5 * len(seeds()), seed=15):
        totals.add(outcome)
    assert not totals.bad, totals.bad
    assert len(totals.said) == len(seeds()) >= 12
    assert "| all | " in totals.table()


def test_the_same_number_is_the_same_file_and_another_is_not() -> None:
    assert damaged(3, 5) == damaged(3, 5)
    n = len(seeds())
    assert damaged(3, 5)[0] == damaged(3, 5 + n)[0] and damaged(3, 5)[1] != damaged(3, 5 + n)[1]


@pytest.mark.slow
def test_a_child_that_dies_is_noticed_and_replaced() -> None:
    child = Child(0)
    assert child.read(0).fine
    os.kill(child._process.pid or 0, signal.SIGSEGV)
    child._process.join()
    died = child.read(1)
    assert died.said == "signal 11" and not died.fine
    assert child.read(1).fine
    child.close()
