"""Jobs on slots: order, faults, retries. Real executors run targets of this folder (search_targets.py)."""

import os
from pathlib import Path

import pytest

from autotl.execution.devices import SlotPlan
from autotl.execution.inline import InlineExecutor
from autotl.execution.local import LocalExecutor
from autotl.execution.protocol import Job
from autotl.search.dispatch import MAX_ATTEMPTS, Dispatcher, next_attempt

HERE = Path(__file__).parent
pytestmark = pytest.mark.usefixtures("targets_importable")


@pytest.fixture
def log():
    return []


@pytest.fixture
def dispatcher(log):
    """Two slots in this process."""
    return Dispatcher(InlineExecutor(slot_count=2), lambda kind, **fields: log.append({"kind": kind, **fields}))


@pytest.fixture
def local(log, tmp_path):
    """One slot with a worker process."""
    import_path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    executor = LocalExecutor(
        [SlotPlan("cpu-0", "cpu", threads=1)], log_dir=tmp_path / "logs", extra_env={"PYTHONPATH": import_path}
    )
    yield Dispatcher(executor, lambda kind, **fields: log.append({"kind": kind, **fields}))
    executor.shutdown(0)


def job(name, job_id="a", **payload):
    return Job(job_id, 1, f"search_targets:{name}", payload)


def of_kind(log, kind):
    return [event for event in log if event["kind"] == kind]


def test_outcomes_come_in_the_order_of_the_jobs_whatever_the_number_of_slots(dispatcher):
    jobs = [job("double", f"job-{value}", value=value) for value in (5, 3, 4, 1, 2)]
    outcomes = dispatcher.run_all(jobs)
    assert [outcome.job for outcome in outcomes] == jobs
    assert [outcome.result for outcome in outcomes] == [{"value": 2 * value} for value in (5, 3, 4, 1, 2)]
    assert all(outcome.failure is None and outcome.seconds >= 0 for outcome in outcomes)
    assert dispatcher.running == {}
    assert len(dispatcher.free_slots()) == 2


def test_no_jobs_are_no_outcomes(dispatcher):
    assert dispatcher.run_all([]) == []


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("plain", "user", "KeyError: 'colour'"),
        ("invalid", "invalid", "the loss is not finite"),
        ("data", "data", "an image has vanished"),
        ("memory", "oom", "MemoryError"),
    ],
)
def test_a_failure_is_an_outcome_of_its_kind_and_is_not_tried_again(dispatcher, log, how, kind, message):
    failed, fine = dispatcher.run_all([job("fail", "a", how=how), job("double", "b", value=1)])
    assert failed.result is None
    assert failed.failure.kind == kind
    assert message in failed.failure.message
    assert fine.result == {"value": 2}
    assert of_kind(log, "retried") == []
    assert [event["failure"] for event in of_kind(log, "ended")] == [kind, None]


def test_every_report_is_seen_with_its_job(dispatcher):
    seen = []

    def on_report(work, step, value):
        seen.append((work.id, step, value))
        return False

    dispatcher.run_all([job("count", "a", steps=2), job("count", "b", steps=1)], on_report)
    assert seen == [("a", 0, 0.0), ("a", 1, 0.1), ("b", 0, 0.0)]


def test_the_life_of_a_job_is_logged(dispatcher, log):
    dispatcher.run_all([job("double", value=1)])
    assert [(event["kind"], event["job"], event["attempt"]) for event in log] == [
        ("submitted", "a", 1),
        ("started", "a", 1),
        ("ended", "a", 1),
    ]
    assert log[1]["pid"] == os.getpid()


def test_what_runs_is_told_to_stop(dispatcher):
    dispatcher.submit(job("count", steps=100), dispatcher.free_slots()[0])
    dispatcher.stop_all()
    (outcome,) = dispatcher.outcomes()
    assert outcome.result == {"steps": 1}


def attempt_job(folder, attempts):
    payload = {"folder": str(folder / "attempt-1"), "log_path": str(folder / "attempt-1" / "log.txt")}
    return job("die_until", attempts=attempts, **payload)


@pytest.mark.process
def test_a_job_whose_worker_was_killed_runs_again_in_a_folder_of_its_own(local, log, tmp_path):
    folder = tmp_path / "trials" / "0001"
    (outcome,) = local.run_all([attempt_job(folder, attempts=2)])
    assert outcome.result == {
        "attempts": ["attempt-1", "attempt-2"],
        "log_path": str(folder / "attempt-2" / "log.txt"),
    }
    assert (outcome.job.attempt, outcome.job.payload["folder"]) == (2, str(folder / "attempt-2"))
    assert (folder / "attempt-2" / "log.txt").exists()
    (retried,) = of_kind(log, "retried")
    assert (retried["job"], retried["attempt"]) == ("a", 1)
    assert "SIGKILL" in retried["message"] or "killed" in retried["message"]
    assert [event["attempt"] for event in of_kind(log, "ended")] == [2]


@pytest.mark.process
def test_a_job_that_kills_every_worker_is_given_up_and_the_next_one_runs(local, log, tmp_path):
    folder = tmp_path / "trials" / "0001"
    deadly, fine = local.run_all([attempt_job(folder, attempts=100), job("double", "b", value=1)])
    assert deadly.result is None
    assert deadly.failure.kind == "infra"
    assert sorted(path.name for path in folder.iterdir()) == [f"attempt-{n + 1}" for n in range(MAX_ATTEMPTS)]
    assert len(of_kind(log, "retried")) == MAX_ATTEMPTS - 1
    assert fine.result == {"value": 2}


@pytest.mark.process
def test_a_job_is_stopped_where_it_reports(local):
    (outcome,) = local.run_all([job("count", steps=10**9)], on_report=lambda work, step, value: step >= 3)
    assert outcome.result["steps"] >= 4


def test_the_next_attempt_changes_its_own_folder_only():
    folder = "/data/attempt-1/run/trials/0001/attempt-1"
    first = job("double", folder=folder, log_path=f"{folder}/log.txt", value=1, model="/data/attempt-1/model.keras")
    second = next_attempt(first)
    assert (second.id, second.attempt, second.target) == (first.id, 2, first.target)
    assert second.payload == {
        "folder": "/data/attempt-1/run/trials/0001/attempt-2",
        "log_path": "/data/attempt-1/run/trials/0001/attempt-2/log.txt",
        "value": 1,
        "model": "/data/attempt-1/model.keras",
    }
    assert first.payload["folder"] == folder


def test_a_job_without_a_folder_has_a_next_attempt_too():
    assert next_attempt(job("double", value=1)).payload == {"value": 1}
