"""The supervision of workers: how they die, who notices, what comes after them."""

import os
import selectors
import signal
from pathlib import Path

import pytest

from autotl.errors import AutotlError
from autotl.execution.devices import SlotPlan
from autotl.execution.protocol import Failed, Finished, Job, Report, Started, Terminal
from autotl.execution.slot import Recycling, Slot

pytestmark = pytest.mark.process
HERE = Path(__file__).parent
IMPORT_PATH = os.pathsep.join([str(HERE), str(HERE.parents[1])])


def job(name, payload=None, job_id="a", attempt=1):
    return Job(job_id, attempt, f"targets:{name}", {} if payload is None else payload)


def has_report(events):
    return any(isinstance(event, Report) for event in events)


def pid_after_a_job(executor, finish, job_id="pid"):
    executor.submit(job("echo", job_id=job_id), "cpu-0")
    return finish(executor)[-1].result["pid"]


def test_a_killed_worker_is_one_infra_failure_and_the_slot_comes_back(make_local, finish, poll_until):
    executor = make_local()
    executor.submit(job("hang"), "cpu-0")
    events = poll_until(executor, has_report)
    os.kill(events[0].pid, signal.SIGKILL)
    events += finish(executor)
    terminal = [event for event in events if isinstance(event, Terminal)]
    assert [(event.job_id, event.attempt, event.kind) for event in terminal] == [("a", 1, "infra")]
    assert "signal 9 (SIGKILL)" in terminal[0].message
    executor.submit(job("echo", attempt=2), "cpu-0")
    events = finish(executor)
    assert [(event.job_id, event.attempt) for event in events] == [("a", 2), ("a", 2)]
    assert isinstance(events[-1], Finished)


@pytest.mark.parametrize(
    ("how", "message"),
    [("kill", "signal 9 (SIGKILL)"), ("segfault", "signal 11 (SIGSEGV)"), ("exit", "exit code 3")],
)
def test_a_job_that_takes_its_worker_down_fails_with_how(make_local, finish, how, message):
    executor = make_local()
    executor.submit(job("die", {"how": how}), "cpu-0")
    failed = finish(executor)[-1]
    assert failed.kind == "infra"
    assert message in failed.message
    if how == "segfault":
        assert "targets.py" in failed.detail, "the Python stack of a crash in native code is in the log"


def test_the_other_slot_does_not_notice_a_death(make_local, finish, poll_until):
    executor = make_local(slots=2)
    executor.submit(job("until_stopped", job_id="lives"), "cpu-0")
    executor.submit(job("die", {"how": "kill"}, job_id="dies"), "cpu-1")
    events = poll_until(
        executor,
        lambda events: (
            any(isinstance(event, Failed) for event in events)
            and has_report([event for event in events if event.job_id == "lives"])
        ),
    )
    assert {event.job_id for event in events if isinstance(event, Terminal)} == {"dies"}
    executor.stop("lives", 60)
    assert isinstance(finish(executor)[-1], Finished)


def test_a_killed_worker_takes_along_the_children_that_hold_its_pipes(make_local, finish, poll_until, assert_goes_away):
    executor = make_local()
    executor.submit(job("hang_with_child"), "cpu-0")
    events = poll_until(executor, has_report)
    os.kill(events[0].pid, signal.SIGKILL)
    assert finish(executor)[-1].kind == "infra"
    assert_goes_away(events[1].extra["child"])


def test_a_job_that_does_not_heed_a_stop_is_killed_after_the_grace(make_local, poll_until, finish, assert_goes_away):
    executor = make_local()
    executor.submit(job("hang_with_child"), "cpu-0")
    started, report, *_ = poll_until(executor, has_report)
    executor.stop("a", grace_seconds=0.05)
    failed = finish(executor)[-1]
    assert (failed.job_id, failed.kind) == ("a", "cancelled")
    assert_goes_away(started.pid)
    assert_goes_away(report.extra["child"])
    assert pid_after_a_job(executor, finish) != started.pid


@pytest.mark.parametrize(
    ("target", "payload", "came_to"),
    [
        ("noise", {}, "disk"),  # it could not say what it had to say
        ("echo", {}, None),
        ("fail", {"how": "plain"}, "user"),  # its traceback could not be written: that does not change what it was
    ],
)
def test_a_log_on_a_full_disk_ends_only_those_who_write_to_it(make_local, finish, target, payload, came_to):
    executor = make_local()
    executor.submit(job(target, {**payload, "log_path": "/dev/full"}), "cpu-0")
    assert getattr(finish(executor)[-1], "kind", None) == came_to
    assert pid_after_a_job(executor, finish) is not None


@pytest.mark.parametrize(("how", "kind"), [("tensorflow", "oom"), ("gpu", "infra")])
def test_what_no_framework_survives_brings_a_fresh_worker(make_local, finish, how, kind):
    executor = make_local()
    before = pid_after_a_job(executor, finish)
    executor.submit(job("fail", {"how": how}), "cpu-0")
    assert finish(executor)[-1].kind == kind
    assert pid_after_a_job(executor, finish) != before


def test_a_job_that_hangs_is_ended_and_says_where_it_stood(make_local, finish, tmp_path, assert_goes_away):
    executor = make_local()
    log_path = tmp_path / "attempt-1" / "log.txt"
    executor.submit(job("hang_in_silence", {"patience_seconds": 0.2, "log_path": str(log_path)}), "cpu-0")
    started, failed = finish(executor)
    assert failed.kind == "hang"
    assert "no sign of life" in failed.message
    assert "in hang_in_silence" in failed.detail
    assert "in hang_in_silence" in log_path.read_text()
    assert_goes_away(started.pid)
    assert pid_after_a_job(executor, finish) != started.pid


def test_a_job_that_reports_or_writes_to_its_log_does_not_hang(make_local, finish, poll_until, tmp_path):
    executor = make_local(slots=2)
    patience = {"patience_seconds": 0.8}
    executor.submit(job("until_stopped", patience, job_id="reports"), "cpu-0")
    writer = {**patience, "seconds": 2.0, "log_path": str(tmp_path / "log.txt")}
    executor.submit(job("write_without_reports", writer, job_id="writes"), "cpu-1")
    events = poll_until(executor, lambda events: any(isinstance(event, Terminal) for event in events))
    assert [event for event in events if isinstance(event, Terminal)] == [Finished("writes", 1, {})]
    executor.stop("reports", 60)
    assert isinstance(finish(executor)[-1], Finished)


def test_a_worker_that_the_system_took_for_its_memory_is_another_failure(finish):
    """The count is the kernel's own elsewhere (`test_oom_killer.py`); here it is a list."""
    kills = []
    slot = Slot(
        SlotPlan("cpu-0", "cpu", threads=1), extra_env={"PYTHONPATH": IMPORT_PATH}, count_kills=lambda: len(kills)
    )
    executor = OneSlot(slot)
    try:
        kinds = []
        for attempt, grows in enumerate([True, False]):
            executor.submit(job("die", {"how": "kill"}, attempt=attempt))
            kills += ["victim"] if grows else []
            kinds.append(finish(executor)[-1].kind)
        assert kinds == ["oom_host", "infra"]
    finally:
        slot.close()


def test_the_system_takes_workers_ahead_of_their_driver(make_local, finish):
    own = int(Path("/proc/self/oom_score_adj").read_text())
    executor = make_local()
    executor.submit(job("kernel_score"), "cpu-0")
    assert finish(executor)[-1].result == {"oom_score_adj": min(1000, own + 500)}


class OneSlot:
    """As much of an executor as `finish` needs, around one slot, as an actor on a cluster holds it."""

    def __init__(self, slot):
        self.slot = slot
        self.submit = slot.submit

    def poll(self, timeout_seconds):
        self.slot.acknowledge()
        with selectors.DefaultSelector() as selector:
            for descriptor, mask in self.slot.watched():
                selector.register(descriptor, mask)
            selector.select(timeout_seconds)
        return self.slot.collect()


def test_an_ordinary_failure_keeps_the_worker(make_local, finish):
    executor = make_local()
    before = pid_after_a_job(executor, finish)
    executor.submit(job("fail", {"how": "plain"}), "cpu-0")
    finish(executor)
    assert pid_after_a_job(executor, finish) == before


def test_a_worker_is_replaced_after_so_many_jobs(make_local, finish):
    executor = make_local(recycling=Recycling(jobs=2))
    first, second, third = (pid_after_a_job(executor, finish, f"job-{index}") for index in range(3))
    assert first == second != third


def test_a_worker_whose_memory_grows_is_replaced(make_local, finish):
    executor = make_local(recycling=Recycling(growth_bytes=50 * 2**20))
    first = pid_after_a_job(executor, finish)
    executor.submit(job("fill_memory", {"bytes": 100 * 2**20}), "cpu-0")
    assert finish(executor)[-1].result["pid"] == first
    assert pid_after_a_job(executor, finish) != first


def test_a_worker_that_cannot_start_is_given_up_with_its_last_words(make_local, finish):
    executor = make_local(extra_env={"PYTHONPATH": "", "PYTHONHOME": "/nowhere"})
    executor.submit(job("echo"), "cpu-0")
    with pytest.raises(AutotlError, match=r"(?s)cpu-0 died 3 times.*/nowhere"):
        finish(executor)
    assert [event.kind for event in executor.shutdown(0)] == ["cancelled"]


def test_a_module_that_kills_its_importer_is_given_up(make_local, finish, tmp_path):
    (tmp_path / "deadly.py").write_text("import os\nprint('so long')\nos._exit(9)\n")
    executor = make_local(extra_env={"PYTHONPATH": os.pathsep.join([str(tmp_path), IMPORT_PATH])})
    executor.warm("deadly")
    with pytest.raises(AutotlError, match=r"(?s)died 3 times.*exit code 9.*so long"):
        finish(executor)


def test_a_job_that_had_not_begun_when_its_worker_died_is_run_once_by_the_next(make_local, finish, tmp_path):
    marker = tmp_path / "marker"
    (tmp_path / "once.py").write_text(
        f"import os, pathlib\nmarker = pathlib.Path({str(marker)!r})\n"
        "if not marker.exists():\n    marker.touch()\n    os._exit(9)\n"
    )
    executor = make_local(extra_env={"PYTHONPATH": os.pathsep.join([str(tmp_path), IMPORT_PATH])})
    executor.warm("once")
    executor.submit(job("touch", {"path": str(tmp_path / "ran")}), "cpu-0")
    assert [type(event) for event in finish(executor)] == [Started, Finished]
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_shutdown_ends_the_jobs_that_no_worker_could_begin(make_local):
    executor = make_local(slots=2, extra_env={"PYTHONPATH": "", "PYTHONHOME": "/nowhere"})
    executor.submit(job("echo", job_id="a"), "cpu-0")
    executor.submit(job("echo", job_id="b"), "cpu-1")
    with pytest.raises(AutotlError, match="must live"):
        while True:
            executor.poll(1.0)
    ended = [event for event in executor.shutdown(5) if isinstance(event, Terminal)]
    assert sorted((event.job_id, event.kind in ("cancelled", "infra")) for event in ended) == [("a", True), ("b", True)]
