"""Jobs on slots: order, faults, retries. Real executors run targets of this folder (search_targets.py)."""

import os
from pathlib import Path

import pytest

from autotl.errors import AutotlError
from autotl.execution.devices import SlotPlan
from autotl.execution.inline import InlineExecutor
from autotl.execution.local import LocalExecutor
from autotl.execution.protocol import Failed, Job
from autotl.execution.telemetry import GpuMeter
from autotl.search.dispatch import NO_SLOT_SECONDS, Dispatcher
from autotl.search.memory_limits import read_limits
from autotl.search.retries import MOST_TRIES

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
def make_local(log, tmp_path):
    """Makes dispatchers of slots with worker processes."""
    made = []

    def make(*plans, **options):
        import_path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
        made.append(LocalExecutor(plans, log_dir=tmp_path / "logs", extra_env={"PYTHONPATH": import_path}))
        return Dispatcher(made[-1], lambda kind, **fields: log.append({"kind": kind, **fields}), **options)

    yield make
    for executor in made:
        executor.shutdown(0)


@pytest.fixture
def local(make_local):
    """One slot with a worker process."""
    return make_local(SlotPlan("cpu-0", "cpu", threads=1))


def job(name, job_id="a", needs=(), **payload):
    return Job(job_id, 1, f"search_targets:{name}", payload, needs)


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
    return job("die_until", attempts=attempts, **in_folder(folder))


def in_folder(folder):
    return {"folder": str(folder / "attempt-1"), "log_path": str(folder / "attempt-1" / "log.txt")}


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
    assert (retried["job"], retried["attempt"], retried["failure"]) == ("a", 1, "infra")
    assert "SIGKILL" in retried["message"] or "killed" in retried["message"]
    assert [event["attempt"] for event in of_kind(log, "ended")] == [2]


@pytest.mark.process
def test_a_job_that_kills_every_worker_is_given_up_and_the_next_one_runs(local, log, tmp_path):
    folder = tmp_path / "trials" / "0001"
    deadly, fine = local.run_all([attempt_job(folder, attempts=100), job("double", "b", value=1)])
    assert deadly.result is None
    assert deadly.failure.kind == "infra"
    tries = MOST_TRIES["infra"]
    assert sorted(path.name for path in folder.iterdir()) == [f"attempt-{n + 1}" for n in range(tries)]
    assert len(of_kind(log, "retried")) == tries - 1
    assert fine.result == {"value": 2}


@pytest.mark.process
def test_a_job_is_stopped_where_it_reports(local):
    (outcome,) = local.run_all([job("count", steps=10**9)], on_report=lambda work, step, value: step >= 3)
    assert outcome.result["steps"] >= 4


@pytest.mark.process
def test_a_job_that_hangs_is_ended_and_runs_again(local, log, tmp_path):
    folder = tmp_path / "trials" / "0001"
    (outcome,) = local.run_all([job("hang_at_first", patience_seconds=0.2, **in_folder(folder))])
    assert outcome.result == {"folder": str(folder / "attempt-2")}
    assert [event["failure"] for event in of_kind(log, "retried")] == ["hang"]
    assert "in hang_at_first" in (folder / "attempt-1" / "log.txt").read_text()


def fit_job(folder, job_id="a", **config):
    base = {"backbone": "tiny", "image_size": 32, "recipe": "finetune", "batch_size": 64, "freeze_depth": 0.5}
    return job("fit", job_id, config={**base, **config}, fits=16, **in_folder(folder))


def test_a_job_without_memory_takes_fewer_images_at_a_time_until_they_fit(dispatcher, log, tmp_path):
    (outcome,) = dispatcher.run_all([fit_job(tmp_path)])
    earlier = [str(tmp_path / f"attempt-{number}") for number in (1, 2)]
    assert outcome.result == {"batch": 16, "attempt": "attempt-3", "earlier": earlier}
    assert [event["micro_batch"] for event in of_kind(log, "memory_limit")] == [32, 16]
    assert len({event["slot"] for event in of_kind(log, "submitted")}) == 1, "where the process is a fresh one"


def test_what_fits_is_known_to_later_jobs_and_to_the_next_driver(dispatcher, log, tmp_path):
    dispatcher.run_all([fit_job(tmp_path / "1")])
    (second,) = dispatcher.run_all([fit_job(tmp_path / "2", "b", head_rate=0.1)])
    assert second.result == {"batch": 16, "attempt": "attempt-1", "earlier": []}
    resumed = Dispatcher(InlineExecutor(), lambda kind, **fields: None, limits=read_limits(log))
    (third,) = resumed.run_all([fit_job(tmp_path / "3", "c")])
    assert third.result == {"batch": 16, "attempt": "attempt-1", "earlier": []}


def test_a_job_that_never_fits_fails_for_memory(dispatcher, log):
    (outcome,) = dispatcher.run_all([job("fail", how="memory")])
    assert outcome.failure.kind == "oom"
    assert outcome.job.attempt == 2
    assert [event["failure"] for event in of_kind(log, "ended")] == ["oom"]


def test_a_job_that_took_all_of_the_machine_s_memory_runs_again_alone(dispatcher, log, tmp_path):
    others = [job("double", f"other-{number}", value=number) for number in range(4)]
    outcomes = dispatcher.run_all([others[0], job("starve_once", **in_folder(tmp_path)), *others[1:]])
    assert all(outcome.failure is None for outcome in outcomes)
    at = [(event["kind"], event["job"]) for event in log if event["kind"] in ("submitted", "ended", "retried")]
    began = at.index(("submitted", "a"), at.index(("retried", "a")))
    assert at[began + 1] == ("ended", "a"), "nothing runs beside it"
    assert len(running_at(at, began)) == 1


def running_at(events, index):
    """The jobs that had a slot right after an event."""
    running = set()
    for kind, name in events[: index + 1]:
        running = running | {name} if kind == "submitted" else running - {name}
    return running


def test_on_a_full_disk_room_is_made_and_the_job_runs_again(dispatcher, tmp_path):
    full = tmp_path / "full"
    full.touch()
    dispatcher.make_room = full.unlink
    (outcome,) = dispatcher.run_all([job("write", full=str(full))])
    assert (outcome.failure, outcome.job.attempt) == (None, 2)


def test_a_disk_that_stays_full_stops_the_search_once_all_is_told_that_has_ended(dispatcher, log, tmp_path):
    full = tmp_path / "full"
    full.touch()
    dispatcher.submit(job("write", "a", full=str(full)), "inline-0")
    dispatcher.submit(job("double", "b", value=1), "inline-1")
    told = []
    with pytest.raises(AutotlError, match=r"room on the disk.*No space left on device.*autotl resume"):
        while True:
            told += dispatcher.outcomes()
    assert [outcome.result for outcome in told] == [{"value": 2}]
    assert list(dispatcher.running) == ["a"], "it has not ended, and runs when the search goes on"
    assert [event["job"] for event in of_kind(log, "ended")] == ["b"]


def test_what_waits_to_be_tried_again_is_dropped_when_all_are_stopped(dispatcher, tmp_path):
    dispatcher.submit(job("starve_once", "a", **in_folder(tmp_path)), "inline-0")
    dispatcher.submit(job("count", "b", steps=100), "inline-1")
    assert list(dispatcher.outcomes()) == []
    assert dispatcher.free_slots() == [], "the machine is kept for it"
    dispatcher.stop_all()
    ended = {outcome.job.id: outcome for outcome in dispatcher.outcomes()}
    assert ended["a"].failure.kind == "cancelled"
    assert ended["b"].result == {"steps": 1}
    assert dispatcher.running == {}
    assert dispatcher.free_slots() == ["inline-0", "inline-1"]


def test_a_job_that_was_told_to_stop_is_not_tried_again(dispatcher):
    dispatcher.submit(job("fail", how="memory"), "inline-0")
    dispatcher.stop_all()
    (outcome,) = dispatcher.outcomes()
    assert (outcome.failure.kind, outcome.job.attempt) == ("oom", 1)


@pytest.mark.process
def test_a_slot_that_breaks_one_job_after_the_other_gets_no_more(make_local, log, tmp_path):
    dispatcher = make_local(
        SlotPlan("gpu-0", "gpu:0", threads=1, visible_devices="GPU-dead"),
        SlotPlan("gpu-1", "gpu:1", threads=1, visible_devices="GPU-good"),
    )
    folder = tmp_path / "broken"
    folder.mkdir()
    where = {"dead": "GPU-dead", "folder": str(folder)}
    outcomes = dispatcher.run_all([job("use_gpu", str(number), mark=str(number), **where) for number in range(6)])
    assert all(outcome.failure is None for outcome in outcomes)
    (quarantined,) = of_kind(log, "quarantined")
    assert quarantined["slot"] == "gpu-0"
    assert "gpu-0" in quarantined["message"]
    after = log[log.index(quarantined) :]
    assert {event["slot"] for event in of_kind(after, "submitted")} == {"gpu-1"}


NVIDIA_SMI = """#!/bin/sh
echo asked >> {asked}
case "$*" in *query-gpu*) echo "GPU-one, 900, 50" ;; esac
"""


@pytest.mark.process
def test_the_end_of_a_job_on_a_gpu_says_how_much_of_it_was_used(make_local, log, tmp_path, monkeypatch):
    """`nvidia-smi` is a program of ours, as there is no GPU."""
    program, asked = tmp_path / "bin" / "nvidia-smi", tmp_path / "asked"
    program.parent.mkdir()
    program.write_text(NVIDIA_SMI.format(asked=asked))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    plan = SlotPlan("gpu-0", "gpu:0", threads=1, visible_devices="GPU-one")
    dispatcher = make_local(plan, meter=GpuMeter(interval_seconds=0.0))

    def is_measured(work, step, value):  # two questions a sample; the second sample begins when the first was read
        return asked.exists() and len(asked.read_text().splitlines()) > 2

    dispatcher.run_all([job("count", steps=10**9)], is_measured)
    (ended,) = of_kind(log, "ended")
    assert (ended["gpu_memory_bytes"], ended["gpu_utilisation"]) == (900 * 2**20, 0.5)


class Cluster(InlineExecutor):
    """Slots that come and go, as the nodes of a cluster do; each poll takes a minute."""

    def __init__(self, minutes_away):
        super().__init__()
        self.minutes_away = minutes_away
        self.minutes = 0

    def slots(self):
        return super().slots() if self.minutes >= self.minutes_away else []

    def poll(self, timeout_seconds):
        self.minutes += 1
        return super().poll(timeout_seconds)

    def seconds(self):
        return 60.0 * self.minutes


def test_slots_that_are_away_for_a_while_are_waited_for(log):
    executor = Cluster(minutes_away=5)
    dispatcher = Dispatcher(executor, lambda kind, **fields: log.append(kind), clock=executor.seconds)
    (outcome,) = dispatcher.run_all([job("double", value=1)])
    assert outcome.result == {"value": 2}


def test_without_any_slot_for_long_the_search_ends(log):
    executor = Cluster(minutes_away=1000)
    dispatcher = Dispatcher(executor, lambda kind, **fields: log.append(kind), clock=executor.seconds)
    with pytest.raises(AutotlError, match=r"for 10 minutes there was none.*autotl resume"):
        dispatcher.run_all([job("double", value=1)])
    assert executor.seconds() == pytest.approx(NO_SLOT_SECONDS, abs=120)


class Losing(InlineExecutor):
    """Loses the node of its first slot as soon as that has a job, as a cluster may."""

    def __init__(self):
        super().__init__(slot_count=2)
        self.lost = False

    def slots(self):
        return [slot for slot in super().slots() if not (self.lost and slot.id == "inline-0")]

    def poll(self, timeout_seconds):
        job = next((each for each in super().slots() if each.id == "inline-0" and each.busy is not None), None)
        if self.lost or job is None:
            return super().poll(timeout_seconds)
        self.lost = True
        super().shutdown(0)
        return [Failed(job.busy, 1, "infra", "its node has gone", "")]


def test_a_job_whose_slot_has_gone_runs_on_another(log):
    dispatcher = Dispatcher(Losing(), lambda kind, **fields: log.append({"kind": kind, **fields}))
    (outcome,) = dispatcher.run_all([job("double", value=1)])
    assert outcome.result == {"value": 2}
    assert [event["slot"] for event in of_kind(log, "submitted")] == ["inline-0", "inline-1"]


def test_jobs_go_where_their_needs_were_met_and_do_not_wait_for_others_to_make_them(dispatcher, log):
    jobs = [
        job("double", "first of a", needs=("a",), value=1),
        job("double", "second of a", needs=("a",), value=1),
        job("double", "first of b", needs=("b",), value=1),
        job("double", "second of b", needs=("b",), value=1),
    ]
    dispatcher.run_all(jobs)
    where = {event["job"]: event["slot"] for event in of_kind(log, "submitted")}
    assert list(where)[:2] == ["first of a", "first of b"]
    assert (where["second of a"], where["second of b"]) == (where["first of a"], where["first of b"])
    assert where["first of a"] != where["first of b"]


def test_the_caller_can_ask_which_slot_suits_and_what_is_better_left_for_later(dispatcher):
    maker, other = job("double", "maker", needs=("a",), value=1), job("double", "other", needs=("a",), value=1)
    dispatcher.submit(maker, "inline-1")
    assert dispatcher.is_produced_elsewhere(other)
    list(dispatcher.outcomes())
    assert not dispatcher.is_produced_elsewhere(other)
    assert dispatcher.best_slot(other, ["inline-0", "inline-1"]) == "inline-1"
    assert dispatcher.best_slot(job("double", value=1), ["inline-0", "inline-1"]) == "inline-0"
