"""When a job counts as hung; the clock is a number."""

import pytest

from autotl.execution.watch import BUSY_FACTOR, IDLE_BYTES, Watch, Work

IMPORTS = Work(cpu_seconds=7.0, written_bytes=1000)


def test_a_job_that_says_and_does_nothing_hangs_when_its_patience_ends():
    watch = Watch(100.0, heard=0.0, looked=0.0)
    assert watch.due() == 50.0
    assert not watch.look(50.0, IMPORTS, log_bytes=0)
    assert watch.due() == 100.0
    assert watch.look(100.0, IMPORTS, log_bytes=0)


def test_an_event_begins_its_patience_anew():
    watch = Watch(100.0, heard=0.0, looked=0.0)
    watch.look(50.0, IMPORTS, 0)
    watch.heard = 90.0
    assert watch.due() == 140.0
    assert not watch.look(140.0, IMPORTS, 0)
    assert watch.look(190.0, IMPORTS, 0)


def test_so_does_a_line_in_its_log():
    watch = Watch(100.0, heard=0.0, looked=0.0)
    watch.look(50.0, IMPORTS, 0)
    assert not watch.look(100.0, IMPORTS, 80)
    assert not watch.look(150.0, IMPORTS, 80)
    assert watch.look(200.0, IMPORTS, 80)


@pytest.mark.parametrize("work", [Work(cpu_seconds=0.02), Work(written_bytes=IDLE_BYTES)])
def test_a_silent_job_that_works_has_more_patience_but_no_end_of_it(work):
    """Of every second, and of every look."""
    watch = Watch(100.0, heard=0.0, looked=0.0)
    looks = range(1, 2 * BUSY_FACTOR + 1)
    hung = [
        look
        for look in looks
        if watch.look(50.0 * look, Work(50.0 * look * work.cpu_seconds, look * work.written_bytes), 0)
    ]
    assert hung == [2 * BUSY_FACTOR]


def test_work_that_is_done_does_not_count_for_later():
    watch = Watch(100.0, heard=0.0, looked=0.0)
    assert not watch.look(50.0, Work(45.0, 10**9), 0)
    assert not watch.look(100.0, Work(90.0, 2 * 10**9), 0)
    assert watch.look(150.0, Work(90.2, 2 * 10**9 + 100), 0)


def test_work_that_shrinks_with_a_child_that_ends_is_no_rest():
    watch = Watch(100.0, heard=0.0, looked=0.0)
    watch.look(50.0, Work(cpu_seconds=40.0), 0)
    assert not watch.look(100.0, Work(cpu_seconds=10.0), 0)
