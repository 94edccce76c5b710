"""The board, over SQLite."""

import sys

import pytest
import sqlalchemy

from autotl.errors import PluginError, UsageError
from autotl.execution.board import Gone, Pace, Unreachable, check_url, open_board

PACE = Pace(beat_seconds=1, grace_seconds=60)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('board') / 'board.db'}"


@pytest.fixture
def board(url, request):
    board = open_board(url, request.node.name, PACE)
    yield board
    board.close()


def silence(board, member, seconds):
    """As if it had given its last sign of life so long ago."""
    with board.storage.engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = datetime('now', :since) WHERE trial_id = :id"),
            {"since": f"-{seconds} seconds", "id": member.id},
        )


def test_members_are_seen_by_all_who_open_the_study_in_the_order_in_which_they_came(board, url):
    first, second = board.enrol({"role": "driver"}), board.enrol({"role": "worker"})
    other = open_board(url, board.name, PACE)
    found = other.members()
    other.close()
    assert list(found) == [first.id, second.id]
    assert [(member.number, member.hello["role"]) for member in found.values()] == [(0, "driver"), (1, "worker")]


def test_studies_do_not_see_each_other(board, url):
    other = open_board(url, "another", PACE)
    other.enrol({"role": "driver"})
    other.close()
    assert board.members() == {}


def test_one_who_was_cut_off_before_it_had_said_who_it_is_is_not_seen(board):
    board.storage.create_new_trial(board.study._study_id)
    assert board.members() == {}


def test_what_is_said_to_a_member_is_read_by_it_and_by_others(board):
    member = board.enrol({"role": "worker"})
    board.write(member.id, "letter", {"items": [1.5, None, "ü"]})
    board.write(member.id, "letter", {"items": [float("inf")]})
    assert board.read(member.id)["letter"] == {"items": [float("inf")]}
    assert board.members()[member.id].attributes["letter"] == {"items": [float("inf")]}


def test_who_has_left_is_no_member_and_its_last_words_can_be_read(board):
    member = board.enrol({"role": "worker"})
    board.write(member.id, "letter", "bye")
    assert board.has_left(member.id) is None
    board.leave(member.id)
    assert board.has_left(member.id) is True
    assert board.members() == {}
    assert board.read(member.id)["letter"] == "bye"
    with pytest.raises(Gone):
        board.write(member.id, "letter", "late")
    board.leave(member.id, in_order=False)
    assert board.has_left(member.id) is True


def test_who_is_silent_for_longer_than_the_grace_is_buried_and_nobody_else(board):
    silent, slow = board.enrol({"role": "worker"}), board.enrol({"role": "worker"})
    silence(board, silent, 100)
    silence(board, slow, 30)
    board.bury()
    assert list(board.members()) == [slow.id]
    assert board.has_left(silent.id) is False
    with pytest.raises(Gone):
        board.write(silent.id, "letter", "I was only slow")


def test_a_sign_of_life_keeps_a_member(board):
    member = board.enrol({"role": "worker"})
    silence(board, member, 100)
    board.beat(member.id)
    board.bury()
    assert list(board.members()) == [member.id]


def test_a_database_that_went_away_has_a_name_for_it(tmp_path):
    board = open_board(f"sqlite:///{tmp_path / 'board.db'}", "study", PACE)
    member = board.enrol({"role": "worker"})
    board.close()
    (tmp_path / "board.db").unlink()
    (tmp_path / "board.db").mkdir()
    for ask in (board.members, board.bury, lambda: board.beat(member.id), lambda: board.write(member.id, "a", 1)):
        with pytest.raises(Unreachable, match="unable to open"):
            ask()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("here", "cannot be read as one"),
        ("postgresql+psycopg://me:secret@host/autotl", "pgpass"),
        ("postgresql+psycopg://host/autotl?password=secret", "pgpass"),
        ("mysql+pymysql://host/autotl?passwd=secret", "pgpass"),
        ("postgresql//me:secret@host/autotl", "cannot be read as one"),
        ("postgresql://host:secret/autotl", "cannot be read as one"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url, message):
    with pytest.raises(UsageError, match=message) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


def test_a_study_of_somebody_else_that_has_the_same_name_is_left_alone(url):
    import optuna

    theirs = optuna.create_study(study_name="photos", storage=url)
    running = theirs.ask()
    board = open_board(url, "photos", PACE)
    board.leave(board.enrol({"role": "driver"}).id)
    board.bury()
    board.close()
    assert board.name == "photos"
    assert [(trial.number, trial.state.name) for trial in theirs.trials] == [(running.number, "RUNNING")]


def test_postgresql_is_spoken_by_psycopg():
    assert check_url("postgresql://me@host:5433/autotl")[0] == "postgresql+psycopg://me@host:5433/autotl"


def test_a_python_driver_that_is_not_installed_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(PluginError, match=r"pip install 'autotl\[postgres\]'"):
        open_board("postgresql+psycopg://host/autotl", "study", PACE)


def test_a_database_that_is_not_there_is_refused_with_what_it_says(tmp_path):
    with pytest.raises(UsageError, match="unable to open database file"):
        open_board(f"sqlite:///{tmp_path / 'nowhere' / 'board.db'}", "study", PACE)
