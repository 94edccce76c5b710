"""Ctrl-C in a search on the command line, a driver that is killed, and going on with the search.

`test_resume.py` has more ways to stop, without training.
"""

import json

import psutil
import pytest

import autotl
from autotl.runs.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.keras, pytest.mark.process]


def test_ctrl_c_exits_with_130_and_says_how_to_go_on(interrupted):
    assert interrupted.code == 130
    assert f"autotl resume {interrupted.folder}" in interrupted.err
    assert "Traceback" not in interrupted.err
    assert json.loads(interrupted.out)["error"]["kind"] == "interrupted"


def test_ctrl_c_leaves_no_worker_behind(interrupted):
    assert len(interrupted.workers) == 1
    gone, alive = psutil.wait_procs(interrupted.workers, timeout=5)
    assert (len(gone), alive) == (1, [])


def test_what_had_finished_is_saved(first, interrupted):
    assert 1 <= len(interrupted.trials) < 4
    assert interrupted.trials == first.trials[: len(interrupted.trials)]


def test_a_run_can_be_gone_on_with_from_any_folder(interrupted, workplace):
    request = read_json(interrupted.folder / "request.json")
    assert request["space"] == str(workplace / "tiny.toml")
    assert request["cache_dir"] == str(workplace / "cache")


def test_a_driver_that_is_killed_takes_its_workers_with_it(killed):
    assert len(killed.workers) == 1
    gone, alive = psutil.wait_procs(killed.workers, timeout=5)
    assert (len(gone), alive) == (1, [])


def test_a_search_that_was_interrupted_and_killed_ends_as_one_that_nobody_disturbed(first, resumed):
    """Digit by digit, training included."""
    assert resumed.code == 0, resumed.err
    assert resumed.trials == first.trials
    for name in ("best", "trials", "validation", "test", "optimism"):
        assert resumed.result[name] == first.result.values[name]
    # killed, and gone on with; one more where Ctrl-C came when it had begun already
    assert resumed.run.attempts(3) in ([1, 2], [1, 2, 3])


def test_a_resumed_search_ends_without_repeating_what_had_finished(interrupted, resumed):
    assert resumed.code == 0, resumed.err
    finished = len(interrupted.trials)
    assert resumed.trials[:finished] == interrupted.trials
    numbers = [trial["number"] for trial in resumed.trials]
    assert len(numbers) == len(set(numbers)) == 4
    assert [trial["stage"] for trial in resumed.trials] == ["probe", "probe", "finetune", "finetune"]
    assert resumed.result["trials"] == {"complete": 4, "pruned": 0, "failed": 0}
    assert resumed.result["run"] == str(interrupted.folder)


def test_a_resumed_search_delivers_a_model(resumed, workplace):
    found = autotl.evaluate(resumed.result["model"], "sample:clipart", cache_dir=workplace / "cache")
    assert found["reproduced"]
    assert found["accuracy"] == resumed.result["test"]["accuracy"]
    assert autotl.status(resumed.result["run"])["state"] == "finished"
