"""The same search twice, the second time from a warm cache and with a worker that is killed on the way."""

import psutil
import pytest

from autotl.runs.events import read_events
from autotl.runs.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.keras, pytest.mark.process]


def of_kind(run, kind):
    return [event for event in read_events(run) if event["kind"] == kind]


def test_a_search_whose_worker_is_killed_goes_on_and_ends(disturbed):
    assert len(disturbed.killed) == 1
    (retried,) = of_kind(disturbed.run, "retried")
    assert (retried["job"], retried["attempt"]) == ("trial-3", 1)
    assert sorted(path.name for path in disturbed.run.trial_dir(3).glob("attempt-*")) == ["attempt-1", "attempt-2"]
    started = [
        (event["attempt"], event["pid"]) for event in of_kind(disturbed.run, "started") if event["job"] == "trial-3"
    ]
    assert [attempt for attempt, _ in started] == [1, 2]
    assert started[0][1] == disturbed.killed[0] != started[1][1]
    assert disturbed.result.trials == {"complete": 4, "pruned": 0, "failed": 0}


def test_a_retried_trial_troubles_nobody_with_warnings_of_optuna(disturbed):
    assert [message for message in disturbed.warnings if "already reported" in message] == []


def test_the_same_seed_gives_the_same_trials(first, disturbed):
    assert [trial["config"] for trial in disturbed.trials] == [trial["config"] for trial in first.trials]
    assert disturbed.trials == first.trials


def test_the_same_seed_gives_the_same_answer(first, disturbed):
    assert disturbed.result.best == first.result.best
    assert disturbed.result.validation == first.result.validation
    assert disturbed.result.test == first.result.test
    labels = [read_json(result.model / "autotl.json")["temperature"] for result in (first.result, disturbed.result)]
    assert labels[0] == labels[1]


def test_from_a_warm_cache_nothing_is_decoded_and_no_frozen_network_runs(first, disturbed):
    assert first.result.values["counts"]["images_forwarded"] > 0
    assert "images_forwarded" not in disturbed.result.values["counts"]
    assert "forward" not in disturbed.result.cost
    assert read_json(disturbed.run.path / "data.json")["decoded"] == 0
    assert read_json(first.run.path / "data.json")["decoded"] > 400


def test_no_worker_outlives_a_search(first, disturbed):
    pids = {event["pid"] for run in (first.run, disturbed.run) for event in of_kind(run, "started")}
    assert len(pids) == 3
    assert not any(psutil.pid_exists(pid) for pid in pids)
