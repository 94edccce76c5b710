"""What every executor promises, whatever runs the jobs."""

import math

import pytest

from autotl.errors import UsageError
from autotl.execution.protocol import Failed, Finished, Job, Report, Started


def job(name, payload=None, job_id="a", attempt=1):
    return Job(job_id, attempt, f"targets:{name}", {} if payload is None else payload)


def first_slot(executor):
    return executor.slots()[0].id


def run(executor, finish, work):
    executor.submit(work, first_slot(executor))
    return finish(executor)


def test_a_job_yields_its_events_in_order_and_its_result(executor, finish):
    events = run(executor, finish, job("count", {"steps": 3}, attempt=2))
    assert [type(event) for event in events] == [Started, Report, Report, Report, Finished]
    assert {(event.job_id, event.attempt) for event in events} == {("a", 2)}
    assert [(event.step, event.value, event.extra) for event in events[1:4]] == [
        (0, 0.0, {"step": 0}),
        (1, 0.1, {"step": 1}),
        (2, 0.2, {"step": 2}),
    ]
    assert events[-1].result == {"stopped": False, "reports": 3}
    assert events[0].slot == first_slot(executor)
    assert events[0].pid == executor.slots()[0].pid


def test_a_slot_is_busy_from_submission_to_the_terminal_event(executor, finish):
    assert executor.slots()[0].busy is None
    executor.submit(job("echo"), first_slot(executor))
    assert executor.slots()[0].busy == "a"
    with pytest.raises(UsageError, match="busy with a"):
        executor.submit(job("echo", job_id="b"), first_slot(executor))
    finish(executor)
    assert executor.slots()[0].busy is None


def test_a_slot_that_does_not_exist_is_refused_by_name(executor):
    with pytest.raises(UsageError, match="'nowhere' was given"):
        executor.submit(job("echo"), "nowhere")


def test_a_payload_arrives_as_json_would_bring_it(executor, finish):
    events = run(executor, finish, job("echo", {"list": [1, 2.5, None, True], "text": "línea\n\u2028", "tuple": (1,)}))
    assert events[-1].result["payload"] == {"list": [1, 2.5, None, True], "text": "línea\n\u2028", "tuple": [1]}


def test_a_payload_that_is_no_json_is_refused_and_the_slot_stays_free(executor, finish):
    with pytest.raises(TypeError):
        executor.submit(job("echo", {"value": object()}), first_slot(executor))
    assert isinstance(run(executor, finish, job("echo"))[-1], Finished)


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("plain", "user", "KeyError: 'colour'"),
        ("invalid", "invalid", "a head needs at least one unit"),
        ("data", "data", "no images"),
        ("exit", "user", "SystemExit: 7"),
        ("not json", "user", "TypeError"),
        ("no dict", "user", "dict, not list"),
        ("memory", "oom", "MemoryError"),
        ("tensorflow", "oom", "ResourceExhaustedError"),
        ("jax", "oom", "RESOURCE_EXHAUSTED"),
        ("torch", "oom", "CUDA out of memory"),
        ("wrapped", "oom", "could not fit"),
        ("disk", "disk", "No space left on device: '/somewhere'"),
        ("quota", "disk", "Disk quota exceeded"),
        ("tensorflow disk", "disk", "model.keras; No space left"),
        ("gpu", "infra", "uncorrectable ECC error"),
    ],
)
def test_an_exception_is_a_failure_of_its_kind(executor, finish, how, kind, message):
    failed = run(executor, finish, job("fail", {"how": how}))[-1]
    assert isinstance(failed, Failed)
    assert failed.kind == kind
    assert message in failed.message
    assert "Traceback" in failed.detail


@pytest.mark.parametrize("target", ["no_such_module_here:run", "targets:no_such_function", "targets", ":run"])
def test_a_target_that_is_not_there_fails_and_names_it(executor, finish, target):
    executor.submit(Job("a", 1, target, {}), first_slot(executor))
    failed = finish(executor)[-1]
    assert isinstance(failed, Failed)
    assert target.rpartition(":")[2] in failed.message or target.partition(":")[0] in failed.message


def test_a_failed_job_does_not_harm_the_next_one(executor, finish):
    run(executor, finish, job("fail", {"how": "plain"}))
    assert isinstance(run(executor, finish, job("echo", job_id="b"))[-1], Finished)


def test_numbers_that_are_not_finite_come_through(executor, finish):
    events = run(executor, finish, job("not_finite"))
    assert math.isnan(events[1].value)
    assert events[1].extra == {"loss": math.inf}
    assert math.isnan(events[2].result["loss"])


def test_a_job_that_was_stopped_hears_it_from_report_and_still_finishes(executor, finish):
    executor.submit(job("until_stopped"), first_slot(executor))
    executor.stop("a", grace_seconds=60)
    events = finish(executor)
    assert isinstance(events[0], Started)
    assert events[-1] == Finished("a", 1, {"stopped": True})


def test_a_stop_does_not_reach_the_next_attempt(executor, finish):
    executor.submit(job("until_stopped"), first_slot(executor))
    executor.stop("a", grace_seconds=60)
    finish(executor)
    executor.stop("a", grace_seconds=60)
    events = run(executor, finish, job("count", {"steps": 3}, attempt=2))
    assert events[-1].result == {"stopped": False, "reports": 3}


def test_stopping_what_does_not_run_does_nothing(executor, finish):
    executor.stop("unknown", grace_seconds=0)
    assert isinstance(run(executor, finish, job("echo"))[-1], Finished)


def test_messages_larger_than_any_pipe_come_through(executor, finish):
    size = 3_000_000
    events = run(executor, finish, job("large", {"size": size, "text": "z" * size}))
    assert len(events[1].extra["text"]) == size
    assert events[2].result["size"] == size
    assert len(events[2].result["text"]) == size


def test_polling_without_a_job_brings_nothing(executor):
    assert executor.poll(0) == []


def test_shutdown_cancels_what_has_not_ended_and_may_be_repeated(executor):
    executor.submit(job("hang"), first_slot(executor))
    events = [event for event in executor.shutdown(0) if isinstance(event, Failed | Finished)]
    assert [(event.job_id, event.attempt, event.kind) for event in events] == [("a", 1, "cancelled")]
    assert executor.shutdown(0) == []
    assert executor.slots()[0].busy is None


def test_warming_up_a_module_that_does_not_exist_harms_nobody(executor, finish):
    executor.warm("no_such_module_here")
    assert isinstance(run(executor, finish, job("echo"))[-1], Finished)
