"""The executor for Ray on Ray itself: several nodes on this machine, with GPUs that only Ray believes in."""

import json
import logging
import os
import subprocess
import sys
from ipaddress import ip_address

import psutil
import pytest

from autotl.errors import UsageError
from autotl.execution.executors import Slots
from autotl.execution.protocol import Finished, Job, Report, Terminal
from autotl.execution.ray_executor import open_ray
from autotl.execution.ray_seats import Patience

pytestmark = [pytest.mark.process, pytest.mark.slow]
QUICK = Patience(look_seconds=0.2, retry_seconds=0.2)
NVIDIA_SMI = """#!/bin/sh
echo "GPU-00000000-aaaa, 24000, Imaginary 1"
echo "GPU-00000000-bbbb, 24000, Imaginary 2"
"""
FAR_DESCRIPTOR = 900
DRIVER = """
import json, sys
from autotl.execution.executors import Slots
from autotl.execution.protocol import Job, Terminal
from autotl.execution.ray_executor import open_ray
from autotl.execution.ray_seats import Patience

address, target, payload = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
executor = open_ray(Slots(gpus="none", address=address), Patience(retry_seconds=0.1))
executor.submit(Job("a", 1, target, payload), executor.slots()[0].id)
is_over = False
while not is_over:
    for event in executor.poll(1.0):
        print(json.dumps([type(event).__name__, vars(event)]), flush=True)
        is_over = isinstance(event, Terminal)
executor.shutdown(0)
"""


@pytest.fixture(scope="module")
def cluster(start_ray, tmp_path_factory):
    """Two nodes of one CPU; the first has two GPUs. Nodes that are killed are noticed within seconds."""
    programs = tmp_path_factory.mktemp("programs")
    (programs / "nvidia-smi").write_text(NVIDIA_SMI)
    (programs / "nvidia-smi").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(programs), prepend=os.pathsep)
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_failure_threshold", "3")
        yield start_ray({"num_cpus": 1, "num_gpus": 2}, {"num_cpus": 1})


@pytest.fixture
def make_executor(cluster):
    made = []

    def make(**wanted):
        made.append(open_ray(Slots(address=cluster.address, **wanted), QUICK))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(0)


def job(name, payload=None, job_id="a", attempt=1):
    return Job(job_id, attempt, f"targets:{name}", {} if payload is None else payload)


def names(executor):
    return [slot.id for slot in executor.slots()]


def reports_of(*job_ids):
    return lambda events: {event.job_id for event in events if isinstance(event, Report)} >= set(job_ids)


def ends(events):
    return [(event.job_id, getattr(event, "kind", "finished")) for event in events if isinstance(event, Terminal)]


def environments(executor, finish, job_ids):
    """What the workers of all slots see, all at once."""
    for job_id, slot in zip(job_ids, names(executor), strict=True):
        executor.submit(job("environment", job_id=job_id), slot)
    return [event.result["environment"] for event in finish(executor, len(job_ids)) if isinstance(event, Finished)]


def test_each_gpu_is_one_slot_that_sees_only_that_gpu(make_executor, finish):
    executor = make_executor()
    slots = executor.slots()
    assert [(slot.node, slot.memory_bytes) for slot in slots] == [("", 24000 * 2**20)] * 2
    assert sorted(slot.device_name for slot in slots) == ["Imaginary 1", "Imaginary 2"]
    found = environments(executor, finish, "ab")
    assert sorted(each["CUDA_VISIBLE_DEVICES"] for each in found) == ["0", "1"]


def test_slots_that_share_a_gpu_are_capped(make_executor, finish):
    executor = make_executor(gpu_share=0.5)
    found = environments(executor, finish, "abcd")
    assert sorted(each["CUDA_VISIBLE_DEVICES"] for each in found) == ["0", "0", "1", "1"]
    caps = {int(each["AUTOTL_GPU_MEMORY_BYTES"]) for each in found}
    assert caps == {slot.memory_bytes for slot in executor.slots()}
    assert max(caps) < 12000 * 2**20


def test_a_slot_of_cpus_sees_no_gpu(make_executor, finish):
    found = environments(make_executor(gpus="none"), finish, "ab")
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["-1", "-1"]


def test_an_actor_that_was_killed_takes_its_worker_with_it_and_comes_back(
    make_executor, poll_until, finish, assert_goes_away
):
    executor = make_executor(gpus="none")
    slot = names(executor)[1]
    executor.submit(job("hang"), slot)
    worker = poll_until(executor, reports_of("a"))[0].pid
    psutil.Process(worker).parent().kill()
    assert ends(finish(executor)) == [("a", "infra")]
    assert_goes_away(worker)
    poll_until(executor, lambda events: slot in names(executor))
    executor.submit(job("echo", attempt=2), slot)
    assert isinstance(finish(executor)[-1], Finished)


def test_a_node_that_joins_is_used_and_one_that_was_killed_ends_its_job_and_no_other(
    cluster, make_executor, poll_until, finish
):
    executor = make_executor(gpus="none")
    before = names(executor)
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    poll_until(executor, lambda events: len(names(executor)) == 3)
    (joined,) = set(names(executor)) - set(before)
    executor.submit(job("until_stopped", job_id="stays"), before[0])
    executor.submit(job("until_stopped", job_id="goes"), joined)
    poll_until(executor, reports_of("stays", "goes"))
    cluster.remove_node(node, allow_graceful=False)
    assert ends(finish(executor)) == [("goes", "infra")]
    poll_until(executor, lambda events: names(executor) == before)
    executor.stop("stays", 60)
    assert ends(finish(executor)) == [("stays", "finished")]


def test_a_node_with_other_versions_is_left_out_and_refused_at_the_start(
    cluster, make_executor, poll_until, tmp_path, monkeypatch, caplog
):
    executor = make_executor(gpus="none")
    metadata = tmp_path / "autotl-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: autotl\nVersion: 9.9\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    try:
        with caplog.at_level(logging.WARNING):
            poll_until(executor, lambda events: bool(caplog.messages))
        assert "here and 9.9 there" in caplog.messages[0]
        assert len(names(executor)) == 2
        executor.shutdown(0)
        with pytest.raises(UsageError, match=r"autotl is .* here and 9\.9 there"):
            make_executor(gpus="none")
    finally:
        cluster.remove_node(node)


def test_a_folder_that_a_node_does_not_see_is_named_before_anything_runs(make_executor, poll_until):
    executor = make_executor(gpus="none")
    folder = f"/proc/self/fd/{FAR_DESCRIPTOR}"  # there in this process, and in no other
    os.dup2(0, FAR_DESCRIPTOR)
    try:
        executor.submit(job("echo", {"folder": folder}), names(executor)[0])
        with pytest.raises(UsageError, match=f"does not see {folder}"):
            poll_until(executor, lambda events: False)
    finally:
        os.close(FAR_DESCRIPTOR)


def test_calls_and_answers_that_ray_loses_are_said_again(cluster):
    losses = {"CoreWorkerService.grpc_client.PushTask": {"num_failures": 6}}
    losses["CoreWorkerService.grpc_client.PushTask"] |= {"req_failure_prob": 50, "resp_failure_prob": 50}
    command = [sys.executable, "-c", DRIVER, cluster.address, "targets:count", json.dumps({"steps": 4})]
    environment = {**os.environ, "RAY_testing_rpc_failure": json.dumps(losses)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    events = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [event.get("step", kind) for kind, event in events] == ["Started", 0, 1, 2, 3, "Finished"]


def test_a_local_ray_listens_on_loopback_and_ends_with_its_driver(start_ray, assert_goes_away):
    command = [sys.executable, "-c", DRIVER, "local", "targets:hang", "{}"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as driver:
        kind, event = json.loads(driver.stdout.readline())
        started = psutil.Process(driver.pid).children(recursive=True)
        try:
            assert kind == "Started"
            ours = {driver.pid, *(process.pid for process in started)}
            listening = {
                connection.laddr.ip
                for connection in psutil.net_connections("tcp")
                if connection.pid in ours and connection.status == psutil.CONN_LISTEN
            }
            assert listening
            assert all(ip_address(address.removeprefix("::ffff:")).is_loopback for address in listening)
            driver.kill()
            assert_goes_away(event["pid"])
        finally:
            driver.kill()
            for process in psutil.wait_procs(started, timeout=5)[1]:  # Ray's own helpers linger
                process.kill()
