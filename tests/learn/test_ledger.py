"""The ledger of a job."""

import time

import pytest

from autotl.learn.ledger import Ledger


def spend(seconds):
    """Work for a while: a ledger counts real time."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_an_inner_phase_is_not_counted_in_the_outer_one():
    ledger = Ledger()
    started = time.perf_counter()
    with ledger.phase("build"):
        with ledger.phase("forward"):
            spend(0.02)
        with ledger.phase("forward"):
            spend(0.02)
    elapsed = time.perf_counter() - started
    assert ledger.seconds["forward"] >= 0.04
    assert sum(ledger.seconds.values()) <= elapsed
    assert ledger.seconds["build"] <= elapsed - 0.04


def test_a_phase_inside_itself_is_counted_once():
    ledger = Ledger()
    started = time.perf_counter()
    with ledger.phase("solve"), ledger.phase("solve"):
        spend(0.01)
    assert 0.01 <= ledger.seconds["solve"] <= time.perf_counter() - started


def test_a_phase_that_ends_in_an_error_is_counted_and_leaves_nothing_open():
    ledger = Ledger()
    with ledger.phase("outer"):
        with pytest.raises(ValueError), ledger.phase("inner"):
            spend(0.01)
            raise ValueError
        with ledger.phase("later"):
            pass
    assert ledger.seconds["inner"] >= 0.01
    assert set(ledger.seconds) == {"outer", "inner", "later"}


def test_counts_add_up():
    ledger = Ledger()
    ledger.count("traces")
    ledger.count("traces")
    ledger.count("images_trained", 64)
    assert ledger.to_json() == {"seconds": {}, "counts": {"traces": 2, "images_trained": 64}}
