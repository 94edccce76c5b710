import os
import time
from pathlib import Path

import pytest

from autotl.execution.devices import SlotPlan
from autotl.execution.inline import InlineExecutor
from autotl.execution.local import LocalExecutor
from autotl.execution.protocol import Terminal

HERE = Path(__file__).parent
IMPORT_PATH = os.pathsep.join([str(HERE), str(HERE.parents[1])])
DEADLINE_SECONDS = 20


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


@pytest.fixture(params=["inline", pytest.param("local", marks=pytest.mark.process)])
def executor(request):
    if request.param == "inline":
        made = InlineExecutor()
        yield made
        made.shutdown(0)
    else:
        yield request.getfixturevalue("make_local")()


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
