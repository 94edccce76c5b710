"""The executor for Ray, on a stand-in for the library: what it does when actors, nodes and connections fail."""

import os
import signal
import sys

import pytest

from autotl.errors import AutotlError, PluginError, UsageError
from autotl.execution.executors import Slots, open_executor
from autotl.execution.protocol import Failed, Finished, Job, Report, Started, Terminal

pytestmark = pytest.mark.process


def job(name, payload=None, job_id="a", attempt=1):
    return Job(job_id, attempt, f"targets:{name}", {} if payload is None else payload)


def reports_of(*job_ids):
    return lambda events: {event.job_id for event in events if isinstance(event, Report)} >= set(job_ids)


def names(executor):
    return [slot.id for slot in executor.slots()]


def ends(events):
    return [(event.job_id, getattr(event, "kind", "finished")) for event in events if isinstance(event, Terminal)]


def poll_for(executor, is_so, poll_until):
    """Polls until the executor is as it should be."""
    poll_until(executor, lambda events: is_so())


def test_slots_say_on_which_node_they_are(fake_ray, make_fake_ray):
    fake_ray.machines["there"] = {"CPU": 3.0}
    slots = make_fake_ray().slots()
    assert [(slot.id, slot.node, slot.device, slot.threads, slot.busy, slot.pid) for slot in slots] == [
        ("here-cpu-0", "", "cpu", 1, None, None),
        ("there-cpu-0", "there", "cpu", 3, None, None),
    ]


def test_no_more_slots_are_made_than_jobs_were_wanted(fake_ray, make_fake_ray):
    fake_ray.machines |= {"b": {"CPU": 1}, "c": {"CPU": 1}}
    assert names(make_fake_ray(jobs=2)) == ["here-cpu-0", "b-cpu-0"]


def test_a_killed_worker_is_replaced_by_its_actor(fake_ray, make_fake_ray, poll_until, finish):
    executor = make_fake_ray()
    executor.submit(job("hang"), "here-cpu-0")
    pid = poll_until(executor, reports_of("a"))[0].pid
    os.kill(pid, signal.SIGKILL)
    failed = finish(executor)[-1]
    assert (failed.kind, "signal 9" in failed.message) == ("infra", True)
    executor.submit(job("echo", attempt=2), "here-cpu-0")
    assert finish(executor)[-1].result["pid"] != pid
    assert len(fake_ray.actors) == 1


def test_an_actor_that_dies_takes_its_job_with_it_and_another_comes_in_its_place(
    fake_ray, make_fake_ray, poll_until, finish
):
    executor = make_fake_ray()
    executor.submit(job("hang"), "here-cpu-0")
    poll_until(executor, reports_of("a"))
    fake_ray.actors[0].end()
    events = finish(executor)
    assert ends(events) == [("a", "infra")]
    assert "here-cpu-0 was lost: its actor ended" in events[-1].message
    poll_for(executor, lambda: names(executor) == ["here-cpu-0"], poll_until)
    executor.submit(job("echo", attempt=2), "here-cpu-0")
    assert isinstance(finish(executor)[-1], Finished)


def test_a_node_takes_its_slots_with_it_and_one_that_joins_brings_some(fake_ray, make_fake_ray, poll_until, finish):
    fake_ray.machines["there"] = {"CPU": 1}
    executor = make_fake_ray()
    executor.warm("colorsys")
    executor.submit(job("until_stopped", job_id="stays"), "here-cpu-0")
    executor.submit(job("hang", job_id="goes"), "there-cpu-0")
    poll_until(executor, reports_of("stays", "goes"))
    fake_ray.leave("there")
    assert ends(finish(executor)) == [("goes", "infra")]
    assert names(executor) == ["here-cpu-0"]
    fake_ray.machines["new"] = {"CPU": 1}
    poll_for(executor, lambda: names(executor) == ["here-cpu-0", "new-cpu-0"], poll_until)
    executor.submit(job("modules", {"module": "colorsys"}, job_id="next"), "new-cpu-0")
    executor.stop("stays", 60)
    results = {event.job_id: event.result for event in finish(executor, jobs=2) if isinstance(event, Finished)}
    assert results == {"stays": {"stopped": True}, "next": {"imported": True}}


@pytest.mark.parametrize("loss", ["call", "answer"])
def test_what_a_broken_connection_swallowed_is_said_again_and_nothing_twice(
    fake_ray, make_fake_ray, poll_until, finish, loss
):
    executor = make_fake_ray()
    executor.submit(job("until_stopped", job_id="before"), "here-cpu-0")
    poll_until(executor, reports_of("before"))
    fake_ray.losses.extend([loss, "none", loss, loss, "none", "none", loss])
    executor.stop("before", 60)
    assert ends(finish(executor)) == [("before", "finished")]
    fake_ray.losses.extend([loss, "none", "none", loss] * 3)
    executor.submit(job("count", {"steps": 6}), "here-cpu-0")
    events = finish(executor)
    assert [event.step for event in events if isinstance(event, Report)] == [0, 1, 2, 3, 4, 5]
    assert [type(event) for event in events if not isinstance(event, Report)] == [Started, Finished]


def test_a_connection_that_stays_broken_is_a_lost_slot(fake_ray, make_fake_ray, poll_until, finish):
    executor = make_fake_ray(suspect_seconds=0.2)
    executor.submit(job("hang"), "here-cpu-0")
    poll_until(executor, reports_of("a"))
    fake_ray.losses.extend(["call"] * 1000)
    executor.stop("unknown", 60)
    events = finish(executor)
    assert ends(events) == [("a", "infra")]
    assert "could not be reached" in events[-1].message
    assert names(executor) == []
    fake_ray.losses.clear()
    poll_for(executor, lambda: names(executor) == ["here-cpu-0"], poll_until)


def test_a_connection_that_comes_back_is_no_loss_however_quiet_the_job(fake_ray, make_fake_ray, poll_until, finish):
    executor = make_fake_ray(suspect_seconds=0.3)
    executor.submit(job("hang"), "here-cpu-0")
    poll_until(executor, reports_of("a"))
    fake_ray.losses.append("call")
    assert executor.poll(0.6) == []
    executor.stop("a", 0)
    assert ends(finish(executor)) == [("a", "cancelled")]


def test_a_slot_whose_connection_broke_is_offered_to_nobody(fake_ray, make_fake_ray, poll_until, finish):
    executor = make_fake_ray()
    fake_ray.losses.extend(["call"] * 1000)
    executor.warm("colorsys")
    poll_for(executor, lambda: names(executor) == [], poll_until)
    assert names(executor) == []
    fake_ray.losses.clear()
    poll_for(executor, lambda: names(executor) == ["here-cpu-0"], poll_until)
    executor.submit(job("echo"), "here-cpu-0")
    assert ends(finish(executor)) == [("a", "finished")]


def test_a_stop_arrives_before_the_job_goes_on(make_fake_ray, poll_until):
    executor = make_fake_ray()
    executor.submit(job("count", {"steps": 50}), "here-cpu-0")

    def stop_after_the_third(events):
        if isinstance(events[-1], Report) and events[-1].step == 2:
            executor.stop("a", 60)
        return isinstance(events[-1], Terminal)

    events = poll_until(executor, lambda events: bool(events) and stop_after_the_third(events))
    assert events[-1].result == {"stopped": True, "reports": 3}


def test_workers_have_the_settings_of_the_driver(fake_ray, make_fake_ray, finish, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    executor = make_fake_ray()
    executor.submit(job("environment"), "here-cpu-0")
    found = finish(executor)[-1].result
    chosen = ("KERAS_BACKEND", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    assert [found["environment"][name] for name in chosen] == ["jax", "-1", "1"]
    assert not found["tensorflow"]


def test_a_node_whose_workers_cannot_start_is_given_up_with_the_reason(make_fake_ray, poll_until, monkeypatch):
    executor = make_fake_ray()
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    executor.submit(job("echo"), "here-cpu-0")
    events = []
    with pytest.raises(AutotlError, match="Node here of the cluster cannot be used: A worker must live"):
        poll_until(executor, lambda polled: events.extend(polled) or False)
    assert ends(events)[:1] == [("a", "infra")]


def test_shutdown_ends_all_workers_and_actors(fake_ray, make_fake_ray, poll_until):
    executor = make_fake_ray()
    executor.submit(job("hang_with_child"), "here-cpu-0")
    events = poll_until(executor, reports_of("a"))
    ended = executor.shutdown(0)
    assert [(event.job_id, event.kind) for event in ended if isinstance(event, Failed)] == [("a", "cancelled")]
    assert all(actor.is_dead for actor in fake_ray.actors)
    with pytest.raises(ProcessLookupError):
        os.kill(events[0].pid, 0)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"gpus": "0,1"}, "Ray chooses the GPUs: --gpus 0,1"),
        ({"jobs": 0}, "0 was given"),
        ({"address": "ray://head:10001"}, "remote client"),
    ],
)
def test_what_a_cluster_cannot_give_is_refused(fake_ray, wanted, message):
    with pytest.raises(UsageError, match=message):
        open_executor("ray", Slots(**wanted))


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PluginError, match=r"pip install 'autotl\[ray\]'"):
        open_executor("ray", Slots())
