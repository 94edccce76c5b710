"""What only processes can do: work at the same time, have an environment and a log of their own, and all go away."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from autotl.execution.devices import SlotPlan
from autotl.execution.local import LocalExecutor
from autotl.execution.protocol import Finished, Job, Report, Started, Terminal

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


def test_a_worker_serves_many_jobs(make_local, finish):
    executor = make_local()
    pids = {pid_after_a_job(executor, finish, f"job-{index}") for index in range(5)}
    assert len(pids) == 1
    assert pids != {os.getpid()}


def test_two_slots_work_at_the_same_time(make_local, poll_until, finish):
    executor = make_local(slots=2)
    for index in range(2):
        executor.submit(job("until_stopped", job_id=f"job-{index}"), f"cpu-{index}")
    events = poll_until(executor, lambda events: len({e.job_id for e in events if isinstance(e, Report)}) == 2)
    assert len({event.pid for event in events if isinstance(event, Started)}) == 2
    assert not any(isinstance(event, Terminal) for event in events)
    for index in range(2):
        executor.stop(f"job-{index}", 60)
    finish(executor, jobs=2)


def test_a_busy_job_hears_a_stop_at_its_next_report(make_local, poll_until, finish):
    executor = make_local()
    executor.submit(job("until_stopped"), "cpu-0")
    pid = poll_until(executor, has_report)[0].pid
    executor.stop("a", grace_seconds=60)
    assert finish(executor)[-1] == Finished("a", 1, {"stopped": True})
    assert executor.slots()[0].pid == pid, "a worker outlives a stop"


def test_a_stop_reaches_a_job_whose_worker_is_only_starting(make_local, finish):
    executor = make_local()
    executor.submit(job("hang"), "cpu-0")
    executor.stop("a", grace_seconds=0)
    assert finish(executor)[-1].kind == "cancelled"


def test_what_a_job_prints_is_in_its_log_and_not_in_the_protocol(make_local, finish, tmp_path):
    executor = make_local()
    log = tmp_path / "trials" / "0007" / "attempt-1" / "log.txt"
    executor.submit(job("noise", {"log_path": str(log)}), "cpu-0")
    assert finish(executor)[-1] == Finished("a", 1, {"stdin": ""})
    said = log.read_text()
    for source in ("print", "stderr", "descriptor 1", "a child", "C"):
        assert f"from {source}\n" in said
    executor.submit(job("noise", job_id="b"), "cpu-0")
    finish(executor)
    assert log.read_text() == said, "the next job's words belong elsewhere"
    assert "from C" in (tmp_path / "logs" / "worker-cpu-0.log").read_text()


def test_the_traceback_of_a_failure_is_in_the_job_s_log(make_local, finish, tmp_path):
    executor = make_local()
    executor.submit(job("fail", {"how": "plain", "log_path": str(tmp_path / "log.txt")}), "cpu-0")
    finish(executor)
    assert "KeyError: 'colour'" in (tmp_path / "log.txt").read_text()


def test_a_log_that_cannot_be_written_fails_the_job_and_not_the_worker(make_local, finish, tmp_path):
    executor = make_local()
    (tmp_path / "file").write_text("")
    executor.submit(job("echo", {"log_path": str(tmp_path / "file" / "log.txt")}), "cpu-0")
    failed = finish(executor)[-1]
    assert failed.kind == "user"
    assert "file" in failed.message
    assert pid_after_a_job(executor, finish) is not None


def test_devices_and_threads_are_set_before_the_interpreter_starts(finish, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    plan = SlotPlan("gpu-1", "gpu:1", threads=3, visible_devices="GPU-1234")
    executor = LocalExecutor([plan], extra_env={"PYTHONPATH": IMPORT_PATH, "EXTRA": "yes"})
    try:
        executor.submit(job("environment"), "gpu-1")
        result = finish(executor)[-1].result
    finally:
        executor.shutdown(0)
    expected = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "GPU-1234",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "TF_NUM_INTRAOP_THREADS": "3",
        "TF_NUM_INTEROP_THREADS": "3",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "KERAS_BACKEND": "jax",
        "EXTRA": "yes",
    }
    assert expected.items() <= result["environment"].items()
    assert result["tensorflow"] is False


def test_a_module_can_be_imported_ahead_and_again_after_a_death(make_local, finish):
    executor = make_local()
    executor.warm("wave")
    for attempt, how in enumerate(["modules", "die", "modules"]):
        executor.submit(job(how, {"module": "wave", "how": "kill"}, attempt=attempt), "cpu-0")
        ended = finish(executor)[-1]
        if how == "modules":
            assert ended.result == {"imported": True}


def test_without_warming_nothing_is_imported_ahead(make_local, finish):
    executor = make_local()
    executor.submit(job("modules", {"module": "wave"}), "cpu-0")
    assert finish(executor)[-1].result == {"imported": False}


def test_shutdown_lets_jobs_end_by_themselves_and_leaves_no_process(make_local, poll_until):
    executor = make_local(slots=2)
    executor.submit(job("until_stopped", job_id="heeds"), "cpu-0")
    executor.submit(job("hang", job_id="hangs"), "cpu-1")
    poll_until(executor, lambda events: len({e.job_id for e in events if isinstance(e, Report)}) == 2)
    pids = [slot.pid for slot in executor.slots()]
    ended = {event.job_id: event for event in executor.shutdown(0.5) if isinstance(event, Terminal)}
    assert ended["heeds"] == Finished("heeds", 1, {"stopped": True})
    assert ended["hangs"].kind == "cancelled"
    assert [slot.pid for slot in executor.slots()] == [None, None]
    assert not any(psutil.pid_exists(pid) for pid in pids)


DRIVER = """
import sys
from autotl.execution.devices import SlotPlan
from autotl.execution.local import LocalExecutor
from autotl.execution.protocol import Job, Report
executor = LocalExecutor([SlotPlan("cpu-0", "cpu", 1), SlotPlan("cpu-1", "cpu", 1)])
executor.submit(Job("a", 1, "targets:hang_with_child", {}), "cpu-0")
executor.warm("wave")
child = None
while child is None:
    for event in executor.poll(1):
        if isinstance(event, Report):
            child = event.extra["child"]
print(*[slot.pid for slot in executor.slots()], child, flush=True)
executor.poll(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_driver_leaves_no_process_behind(number, assert_goes_away):
    environment = {**os.environ, "PYTHONPATH": IMPORT_PATH}
    with subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, env=environment) as driver:
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        driver.send_signal(number)
    assert len(pids) == 3
    for pid in pids:
        assert_goes_away(pid)


def test_workers_do_not_hear_ctrl_c(make_local, poll_until, finish):
    executor = make_local()
    executor.submit(job("until_stopped"), "cpu-0")
    os.kill(poll_until(executor, has_report)[0].pid, signal.SIGINT)
    executor.stop("a", 60)
    assert isinstance(finish(executor)[-1], Finished)


def test_a_job_ends_after_the_report_that_it_is_stopped_for(make_local):
    executor = make_local()
    executor.submit(job("count", {"steps": 50}), "cpu-0")
    reported, ended = [], []
    while not ended:
        for event in executor.poll(10.0):
            if isinstance(event, Report):
                reported.append(event.step)
                if event.step == 3:
                    executor.stop("a", 60)
            ended += [event] if isinstance(event, Finished) else []
    assert reported == [0, 1, 2, 3]
    assert ended[0].result == {"stopped": True, "reports": 4}
