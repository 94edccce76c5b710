"""A driver and its workers over SQLite, beyond what every executor promises: who comes, who goes, and what then."""

import threading
from pathlib import Path

import pytest

from autotl.errors import AutotlError, UsageError
from autotl.execution.board import HELLO, Member, Pace, open_board
from autotl.execution.executors import Slots
from autotl.execution.protocol import Failed, Finished, Job, Started, Terminal
from autotl.execution.shared_crew import make_crew
from autotl.execution.shared_executor import open_shared
from autotl.execution.shared_words import driver_hello, pack, with_cache

pytestmark = pytest.mark.process
DEADLINE_SECONDS = 20


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('board') / 'board.db'}"


@pytest.fixture
def study(request):
    return request.node.name


@pytest.fixture
def board(url, study, quick_pace):
    """What somebody else sees."""
    board = open_board(url, study, quick_pace)
    yield board
    board.close()


@pytest.fixture
def make_driver(url, study, quick_pace):
    made = []

    def make(pace=quick_pace):
        made.append(open_shared(Slots(address=url, study=study), pace))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(0)


@pytest.fixture
def start_worker(url, study, serve_in_thread):
    def start(**options):
        return serve_in_thread(url, study, **options)

    return start


def submit(executor, name, payload=None, job_id="a", attempt=1):
    work = Job(job_id, attempt, f"targets:{name}", {} if payload is None else payload)
    executor.submit(work, next(slot.id for slot in executor.slots() if slot.busy is None))


def begin(executor, poll_until, name, **fields):
    submit(executor, name, **fields)
    return poll_until(executor, lambda events: any(isinstance(event, Started) for event in events))


def workers_on(board):
    return [member for member in board.members().values() if member.hello["role"] == "worker"]


def test_a_worker_ends_when_the_search_does_and_says_what_it_did(make_driver, start_worker, finish, await_slots):
    executor, worker = make_driver(), start_worker(wait_seconds=60)
    await_slots(executor)
    submit(executor, "echo")
    finish(executor)
    submit(executor, "fail", {"how": "plain"}, job_id="b")
    finish(executor)
    executor.shutdown(0)
    tally = worker.result(DEADLINE_SECONDS)
    assert (tally.finished, tally.failed) == (1, 1)


def test_slots_of_several_workers_have_names_of_their_own_and_say_where_they_are(
    make_driver, start_worker, finish, await_slots
):
    executor = make_driver()
    for _ in range(2):
        start_worker(wait_seconds=60)
    await_slots(executor, 2)
    slots = executor.slots()
    assert len({slot.id for slot in slots}) == 2
    assert len({slot.node for slot in slots}) == 1
    assert all(slot.node and slot.id.startswith(slot.node) for slot in slots)
    submit(executor, "echo", job_id="a")
    submit(executor, "echo", job_id="b")
    ended = [event for event in finish(executor, jobs=2) if isinstance(event, Finished)]
    assert len({event.result["pid"] for event in ended}) == 2


def test_a_worker_waits_for_the_search_to_begin(make_driver, start_worker, await_slots):
    messages = []
    start_worker(wait_seconds=60, tell=messages.append)
    executor = make_driver()
    await_slots(executor)
    assert "works on cpu-0 for process" in messages[0]


def test_a_search_that_does_not_come_is_not_waited_for_for_ever(start_worker, study):
    with pytest.raises(AutotlError, match=f"none of the name '{study}' was there for 0 s.*autotl search"):
        start_worker(wait_seconds=0).result(DEADLINE_SECONDS)


def test_a_worker_that_is_given_up_has_lost_its_job_once_and_comes_back(
    make_driver, start_worker, board, poll_until, await_slots
):
    executor, messages = make_driver(), []
    start_worker(wait_seconds=60, tell=messages.append)
    await_slots(executor)
    begin(executor, poll_until, "until_stopped")
    slot = executor.slots()[0].id
    (worker,) = workers_on(board)
    board.leave(worker.id, in_order=False)
    events = poll_until(executor, lambda events: any(isinstance(event, Terminal) for event in events))
    (lost,) = [event for event in events if isinstance(event, Terminal)]
    assert (lost.job_id, lost.attempt, lost.kind) == ("a", 1, "infra")
    assert executor.slots() == []
    late = poll_until(executor, lambda events: executor.slots() != [])
    assert late == []
    assert executor.slots()[0].id != slot
    assert any("given up" in message for message in messages)


def test_events_of_a_job_that_was_tried_again_are_dropped():
    hello = {"host": "far", "slots": [{"id": "cpu-0", "device": "cpu", "threads": 1, "busy": None, "pid": None}]}
    crew = make_crew(Member(7, 3, {HELLO: hello}))
    crew.submit(Job("a", 2, "m:f", {}), "far.3/cpu-0", [])
    old, new = Finished("a", 1, {"of": "the first try"}), Finished("a", 2, {})
    letter = {"first": 0, "items": [pack(old), pack(new), pack(new)], "received": 1}
    assert crew.read({"from_worker": letter}) == [new]
    assert crew.read({"from_worker": letter}) == []
    assert crew.lose("infra", "gone") == []


def test_a_worker_that_is_stopped_leaves_in_order_and_its_jobs_are_lost(
    make_driver, start_worker, poll_until, await_slots
):
    executor, stopped = make_driver(), []

    def look():
        if stopped:
            raise KeyboardInterrupt

    worker = start_worker(wait_seconds=60, look=look)
    await_slots(executor)
    begin(executor, poll_until, "until_stopped")
    stopped.append(True)
    events = poll_until(executor, lambda events: any(isinstance(event, Terminal) for event in events))
    assert [event for event in events if isinstance(event, Terminal)] == [
        Failed("a", 1, "infra", "its worker was stopped", "")
    ]
    assert poll_until(executor, lambda events: executor.slots() == []) == []
    with pytest.raises(KeyboardInterrupt):
        worker.result(DEADLINE_SECONDS)


def test_a_worker_that_does_not_see_the_images_says_so_and_leaves(
    make_driver, start_worker, tmp_path, finish, await_slots
):
    executor, worker = make_driver(), start_worker(wait_seconds=60)
    await_slots(executor)
    images = tmp_path / "images"
    images.mkdir()
    submit(executor, "echo", {"dataset": str(images)})
    images.rmdir()
    (failed,) = finish(executor)
    assert failed.kind == "infra"
    assert str(images) in failed.message
    with pytest.raises(UsageError, match="shared file system"):
        worker.result(DEADLINE_SECONDS)


def test_a_worker_of_another_version_is_refused_with_both(board, start_worker):
    hello = driver_hello()
    mine = hello["versions"]["keras"]
    board.enrol({**hello, "versions": {**hello["versions"], "keras": "1.2.3"}})
    with pytest.raises(UsageError, match=f"keras is {mine} here and 1.2.3 there"):
        start_worker(wait_seconds=60).result(DEADLINE_SECONDS)


def test_modules_are_imported_by_workers_that_come_later_too(make_driver, start_worker, finish, await_slots):
    executor = make_driver()
    executor.warm("wave")
    start_worker(wait_seconds=60)
    await_slots(executor)
    submit(executor, "modules", {"module": "wave"})
    assert finish(executor)[-1].result == {"imported": True}


def test_a_study_has_one_driver(make_driver, study):
    pace = Pace(look_seconds=0.05, beat_seconds=1, grace_seconds=2)
    make_driver(pace)
    with pytest.raises(UsageError, match=f"{study!r} has process .* another --study"):
        make_driver(pace)


def test_a_driver_that_died_here_is_followed_at_once_and_its_worker_goes_over(
    make_driver, board, start_worker, await_slots
):
    dead = board.enrol({**driver_hello(), "pid": 2**22 + 1})
    messages, has_joined = [], threading.Event()

    def tell(message):
        messages.append(message.partition(" for ")[0])
        has_joined.set()

    start_worker(wait_seconds=60, tell=tell)
    assert has_joined.wait(DEADLINE_SECONDS)
    executor = make_driver()
    assert board.has_left(dead.id) is False
    await_slots(executor)
    assert messages == ["works on cpu-0", "the search's driver is gone; waits", "works on cpu-0"]


@pytest.mark.parametrize("wanted", [Slots(), Slots(address="sqlite:///x.db"), Slots(study="name")])
def test_an_address_and_a_name_are_needed(wanted):
    with pytest.raises(UsageError, match=r"--storage .* --study"):
        open_shared(wanted)


@pytest.mark.parametrize("wanted", [{"jobs": 2}, {"gpus": "none"}, {"gpu_share": 0.5}])
def test_slots_are_asked_for_where_they_are(wanted):
    with pytest.raises(UsageError, match="options of autotl worker"):
        open_shared(Slots(address="sqlite:///x.db", study="name", **wanted))


def test_stores_may_lie_elsewhere_on_a_worker():
    payload = {"cache": {"root": "/shared", "max_bytes": 5}, "seed": 1}
    assert with_cache(payload, None) == payload
    assert with_cache(payload, Path("/local")) == {"cache": {"root": "/local", "max_bytes": 5}, "seed": 1}
    assert with_cache({"seed": 1}, Path("/local")) == {"seed": 1}
