"""How a driver is asked to stop, by signals to this process and by the file that others write."""

import os
import signal
import threading

import pytest

from autotl.errors import UsageError
from autotl.runs.files import read_json, write_json
from autotl.runs.locking import lock_run
from autotl.search.stopping import FINISH, NOW, ORDERLY, Stopping, ask_to_stop


@pytest.fixture(autouse=True)
def default_handlers():
    """A test run in the background may have inherited that Ctrl-C is ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def arrive(number):
    """What Python does when a signal arrives; a real one may end a process of pytest-xdist instead."""
    signal.getsignal(number)(number, None)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_until_somebody_looks_and_the_second_does_not(first, second):
    stopping = Stopping()
    with stopping.listening():
        stopping.look()
        arrive(first)
        assert (stopping.is_asked, stopping.at_once) == (True, False)
        with pytest.raises(KeyboardInterrupt):
            stopping.look()
        with pytest.raises(KeyboardInterrupt):
            arrive(second)
        assert stopping.at_once


def test_where_nobody_would_look_the_first_signal_ends_it():
    stopping = Stopping(is_patient=False)
    with stopping.listening(), pytest.raises(KeyboardInterrupt):
        arrive(signal.SIGINT)
    assert not stopping.at_once


def test_handlers_are_put_back_and_those_of_others_stay():
    def own(number, frame):
        pass

    signal.signal(signal.SIGTERM, own)
    with Stopping().listening():
        assert signal.getsignal(signal.SIGINT) != signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is own
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_ctrl_c_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Stopping().listening():
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_in_another_thread_signals_are_left_alone():
    found = []

    def listen():
        with Stopping().listening():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


@pytest.mark.parametrize(("content", "at_once"), [('{"how": "orderly"}', False), ('{"how": "now"}', True), ("", False)])
def test_the_file_stops_a_driver_that_looks(run, content, at_once):
    stopping = Stopping(run.stop_path)
    stopping.look()
    run.stop_path.write_text(content)
    with pytest.raises(KeyboardInterrupt):
        stopping.look()
    assert (stopping.is_asked, stopping.at_once) == (True, at_once)


def test_to_finish_is_not_to_stop_and_both_can_be_asked(run):
    stopping = Stopping(run.stop_path)
    write_json(run.stop_path, {"how": FINISH})
    stopping.look()
    assert (stopping.finishes, stopping.is_asked) == (True, False)
    write_json(run.stop_path, {"how": ORDERLY})
    with pytest.raises(KeyboardInterrupt):
        stopping.look()


@pytest.mark.parametrize("how", [ORDERLY, NOW])
def test_a_driver_finds_what_was_asked_when_it_looks_and_not_before(run, how):
    stopping = Stopping(run.stop_path)
    with lock_run(run), stopping.listening():
        answer = ask_to_stop(run.path, how)
        assert not stopping.is_asked
        with pytest.raises(KeyboardInterrupt):
            stopping.look()
    assert answer["asked"] and answer["driver"]["pid"] == os.getpid()
    assert stopping.at_once == (how == NOW)


def test_a_driver_elsewhere_finds_the_file_and_no_process_here_is_harmed(run):
    stopping = Stopping(run.stop_path)
    with lock_run(run), stopping.listening():
        holder = read_json(run.lock_holder_path)
        write_json(run.lock_holder_path, {**holder, "host": "elsewhere"})
        answer = ask_to_stop(run.path, ORDERLY)
        assert not stopping.is_asked
        with pytest.raises(KeyboardInterrupt):
            stopping.look()
    assert answer["driver"] == {"pid": os.getpid(), "host": "elsewhere"}


def test_where_nobody_drives_nothing_is_asked_or_written(run):
    nobody = {"driver": None, "asked": False}
    assert ask_to_stop(run.path, NOW) == {"run": str(run.path), "command": "search", "how": NOW, **nobody}
    assert not run.stop_path.exists()


def test_a_nested_search_can_finish_in_its_last_part_only(run):
    write_json(run.request_path, {"dataset": "images", "metric": "log_loss", "cv_test": 3})
    with lock_run(run):
        with pytest.raises(UsageError, match="before its last part has begun"):
            ask_to_stop(run.path, FINISH)
        assert not run.stop_path.exists()
        run.study_path.touch()
        assert ask_to_stop(run.path, FINISH)["asked"]


def test_there_must_be_a_run(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        ask_to_stop(tmp_path / "nowhere", ORDERLY)
