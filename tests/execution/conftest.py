import contextlib
import os
import select
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import psutil
import pytest

from autotl.execution.board import Pace
from autotl.execution.devices import SlotPlan
from autotl.execution.executors import Slots
from autotl.execution.inline import InlineExecutor
from autotl.execution.local import LocalExecutor
from autotl.execution.protocol import Terminal
from autotl.execution.ray_executor import open_ray
from autotl.execution.ray_seats import Patience
from autotl.execution.shared_executor import open_shared
from autotl.execution.shared_worker import Service, serve

HERE = Path(__file__).parent
IMPORT_PATH = os.pathsep.join([str(HERE), str(HERE.parents[1])])
DEADLINE_SECONDS = 20
QUICK_PACE = Pace(look_seconds=0.03, beat_seconds=1, grace_seconds=30)
RAY_STORE_BYTES = 80 * 2**20
RAY_SETTINGS = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@pytest.fixture(autouse=True)
def targets_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def make_local(tmp_path):
    """Makes local executors whose workers find `targets`; all are shut down, and must leave no process."""
    made = []

    def make(slots=1, extra_env=None, **options):
        plans = [SlotPlan(f"cpu-{index}", "cpu", threads=1) for index in range(slots)]
        environment = {"PYTHONPATH": IMPORT_PATH, **({} if extra_env is None else extra_env)}
        executor = LocalExecutor(plans, log_dir=tmp_path / "logs", extra_env=environment, **options)
        made.append(executor)
        return executor

    yield make
    for executor in made:
        executor.shutdown(0)


@pytest.fixture
def make_inline():
    """Makes executors that run jobs in this process."""
    made = []

    def make():
        made.append(InlineExecutor())
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(0)


@pytest.fixture(scope="module")
def start_ray(tmp_path_factory):
    """Starts a Ray of the given nodes, all of them here and on loopback, and connects this process to it: once for a
    file of tests, since it takes ten seconds. Nothing of it is left behind."""
    home = str(tmp_path_factory.mktemp("home"))
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in {**RAY_SETTINGS, "HOME": home, "PYTHONPATH": IMPORT_PATH}.items():
            patch.setenv(name, value)
        ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'autotl[ray]'")
        from ray.cluster_utils import Cluster

        def start(*nodes):
            cluster = Cluster()
            stack.callback(end_ray, ray, cluster)
            for node in nodes:
                cluster.add_node(object_store_memory=RAY_STORE_BYTES, include_dashboard=False, **node)
            ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
            return cluster

        yield start


def end_ray(ray, cluster):
    """Some of Ray's own helpers outlive it by many seconds."""
    started = psutil.Process().children(recursive=True)
    sessions = Path(cluster.head_node.get_session_dir_path())
    ray.shutdown()
    cluster.shutdown()
    _, alive = psutil.wait_procs(started, timeout=5)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=5)
    shutil.rmtree(sessions, ignore_errors=True)


@pytest.fixture(scope="module")
def make_ray(start_ray):
    """An executor on a Ray of one node: the one of the test before, if that has left it alive and free."""
    address = start_ray({"num_cpus": 1}).address
    made = []

    def make():
        if not made or any(slot.busy is not None or slot.pid is None for slot in made[-1].slots()):
            for executor in made:
                executor.shutdown(0)
            made.append(open_ray(Slots(address=address)))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(0)


@pytest.fixture
def fake_ray(monkeypatch, tmp_path):
    """A stand-in for the library, of one node; see its module."""
    from fake_ray import FakeRay

    ray = FakeRay(here={"CPU": 1})
    monkeypatch.setitem(sys.modules, "ray", ray)
    metadata = tmp_path / "site" / "ray-2.60.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: ray\nVersion: 2.60.0\n")
    monkeypatch.syspath_prepend(str(metadata.parents[1]))
    monkeypatch.setenv("PYTHONPATH", IMPORT_PATH)
    return ray


@pytest.fixture
def make_fake_ray(fake_ray):
    """Makes executors on the stand-in; all are shut down."""
    with contextlib.ExitStack() as stack:

        def make(jobs=None, **patience):
            quick = {"look_seconds": 0.05, "retry_seconds": 0.05, **patience}
            executor = open_ray(Slots(jobs), Patience(**quick))
            stack.callback(executor.shutdown, 0)
            return executor

        yield make


@pytest.fixture(scope="module")
def serve_in_thread():
    """Starts workers in threads of this process: the future of what `serve` returns. All have to end."""
    futures = []
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as threads:
        patch.setenv("PYTHONPATH", IMPORT_PATH)

        def start(url, study, pace=QUICK_PACE, look=lambda: None, wait_seconds=0, tell=print):
            plans = [SlotPlan("cpu-0", "cpu", threads=1)]
            futures.append(threads.submit(serve, Service(url, study, plans, wait_seconds, None, tell, look, pace)))
            return futures[-1]

        yield start
        wait(futures, DEADLINE_SECONDS)
        assert all(future.done() for future in futures)


@pytest.fixture(scope="module")
def await_slots():
    """Polls until an executor whose slots come by themselves has so many, and nothing else has happened."""

    def await_slots(executor, count=1):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(executor.slots()) < count:
            assert time.monotonic() < deadline, "too few workers came"
            assert executor.poll(0.2) == []

    return await_slots


@pytest.fixture(scope="session")
def quick_pace():
    """Of drivers and workers that notice things soon."""
    return QUICK_PACE


@pytest.fixture(scope="module")
def make_shared(tmp_path_factory, serve_in_thread, await_slots):
    """An executor with a worker in a thread; they meet in SQLite. It is the one of the test before, if that has left it
    open and free, since a worker needs a second to see that its driver is gone."""
    url = f"sqlite:///{tmp_path_factory.mktemp('board') / 'board.db'}"
    made = []

    def make():
        if not made or made[-1].is_closed() or any(slot.busy for slot in made[-1].slots()):
            for executor in made:
                executor.shutdown(0)
            study = f"study-{len(made)}"
            made.append(open_shared(Slots(address=url, study=study), QUICK_PACE))
            serve_in_thread(url, study)
            await_slots(made[-1])
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(0)


@pytest.fixture(
    params=[
        "inline",
        pytest.param("local", marks=pytest.mark.process),
        pytest.param("fake_ray", marks=pytest.mark.process),
        pytest.param("shared", marks=pytest.mark.process),
        pytest.param("ray", marks=[pytest.mark.process, pytest.mark.slow]),
    ]
)
def executor(request):
    """One of each kind, with a slot; a further kind is a parameter here and a fixture `make_KIND`."""
    return request.getfixturevalue(f"make_{request.param}")()


@pytest.fixture
def assert_goes_away():
    """Waits for the end of any process, also one that is not ours; a zombie has ended."""

    def assert_goes_away(pid, seconds=DEADLINE_SECONDS):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            assert select.select([descriptor], [], [], seconds)[0], psutil.Process(pid)
        finally:
            os.close(descriptor)

    return assert_goes_away


@pytest.fixture
def poll_until():
    """Polls until what has happened satisfies a condition; returns all of it."""

    def poll_until(executor, is_enough):
        events = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not is_enough(events):
            assert time.monotonic() < deadline, f"too late; so far: {events}"
            events += executor.poll(1.0)
        return events

    return poll_until


@pytest.fixture
def finish(poll_until):
    """Polls until so many jobs have ended; returns all events."""

    def finish(executor, jobs=1):
        return poll_until(executor, lambda events: sum(isinstance(event, Terminal) for event in events) >= jobs)

    return finish
