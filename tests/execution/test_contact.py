"""A database that is away for a while, by a clock of our own."""

import logging

import pytest

from autotl.errors import AutotlError
from autotl.execution.board import Pace, Unreachable
from autotl.execution.contact import Contact

PACE = Pace(grace_seconds=60, patience_seconds=300)


class Line:
    """Fails while it is cut, and counts who asks."""

    def __init__(self):
        self.now, self.is_cut, self.asked = 1000.0, False, 0
        self.contact = Contact(PACE, self.now, clock=lambda: self.now)

    def ask(self):
        self.asked += 1
        if self.is_cut:
            raise Unreachable("connection refused")

    def attempt_after(self, seconds):
        self.now += seconds
        return self.contact.attempt(self.ask)


@pytest.fixture
def line():
    return Line()


def test_what_fails_is_done_again_later_and_not_at_once(line):
    line.is_cut = True
    assert not line.attempt_after(0)
    assert not line.attempt_after(0.1)
    assert line.asked == 1
    line.is_cut = False
    assert line.attempt_after(1)
    assert line.asked == 2


def test_it_is_asked_every_ten_seconds_at_least(line):
    line.is_cut = True
    line.attempt_after(0)
    line.attempt_after(200)
    asked = line.asked
    line.attempt_after(10)
    assert line.asked == asked + 1


def test_one_that_stays_away_is_given_up_with_words_and_the_search_can_go_on(line):
    line.is_cut = True
    line.attempt_after(0)
    line.attempt_after(299)
    with pytest.raises(AutotlError, match=r"for 310 s .* connection refused.*autotl resume"):
        line.attempt_after(11)


def test_nobody_is_buried_before_all_had_time_to_give_a_sign_of_life(line):
    line.attempt_after(61)
    assert line.contact.may_bury()
    line.is_cut = True
    line.attempt_after(0)
    assert not line.contact.may_bury()
    line.is_cut = False
    line.attempt_after(100)
    assert not line.contact.may_bury()
    line.attempt_after(61)
    assert line.contact.may_bury()


def test_a_moment_is_no_matter_and_a_longer_time_is_told_once(line, caplog):
    caplog.set_level(logging.WARNING)
    line.is_cut = True
    line.attempt_after(0)
    line.is_cut = False
    line.attempt_after(1)
    assert caplog.messages == []
    line.is_cut = True
    for seconds in (0, 5, 5, 5):
        line.attempt_after(seconds)
    line.is_cut = False
    line.attempt_after(20)
    assert [message.partition(" (")[0] for message in caplog.messages] == [
        "The database does not answer", "The database answers again.",
    ]  # fmt: skip
