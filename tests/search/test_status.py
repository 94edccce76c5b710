"""What a run has come to, read off a directory written by hand."""

import pytest

from autotl.errors import UsageError
from autotl.runs.events import append_event
from autotl.runs.files import write_json
from autotl.search.status import RECENT, read_status


def add_trial(run, number, score, stage="probe", state="complete", seconds=1.5):
    append_event(run, "trial", number=number, stage=stage, state=state, score=score, seconds=seconds, config={})


def test_a_run_that_has_only_begun(run):
    found = read_status(run.path)
    assert found == {
        "run": str(run.path), "state": "unfinished", "stage": None, "best": None, "recent": [], "seconds": 0,
        "trials": {"complete": 0, "pruned": 0, "failed": 0}, "result": None,
    }  # fmt: skip


def test_a_run_on_its_way(run):
    append_event(run, "search")
    add_trial(run, 1, 0.9)
    append_event(run, "submitted", job="trial-2")
    add_trial(run, 2, 0.7, state="pruned")
    add_trial(run, 3, None, state="failed", seconds=0.5)
    add_trial(run, 4, 0.8)
    found = read_status(run.path)
    assert (found["state"], found["stage"], found["seconds"]) == ("unfinished", "probe", 5.0)
    assert found["trials"] == {"complete": 2, "pruned": 1, "failed": 1}
    assert found["best"]["number"] == 4
    assert [trial["number"] for trial in found["recent"]] == [1, 2, 3, 4]


def test_the_best_is_that_of_the_latest_stage_with_a_complete_trial(run):
    add_trial(run, 1, 0.2, stage="probe")
    add_trial(run, 2, 0.9, stage="finetune")
    add_trial(run, 3, 0.8, stage="finetune")
    add_trial(run, 4, None, stage="last", state="failed")
    found = read_status(run.path)
    assert (found["best"]["number"], found["stage"]) == (3, "last")


def test_the_best_is_the_largest_where_the_metric_says_so(run):
    write_json(run.request_path, {"dataset": "images", "metric": "accuracy"})
    add_trial(run, 1, 0.6)
    add_trial(run, 2, 0.8)
    assert read_status(run.path)["best"]["number"] == 2


def test_only_the_last_trials_are_recent(run):
    for number in range(1, RECENT + 4):
        add_trial(run, number, 0.5)
    assert [trial["number"] for trial in read_status(run.path)["recent"]] == list(range(4, RECENT + 4))


def test_an_interrupted_run_is_interrupted_until_somebody_goes_on(run):
    add_trial(run, 1, 0.9)
    append_event(run, "interrupted")
    assert read_status(run.path)["state"] == "interrupted"
    append_event(run, "search")
    assert read_status(run.path)["state"] == "unfinished"


def test_a_finished_run_has_its_result_and_its_seconds(run):
    add_trial(run, 1, 0.9)
    append_event(run, "interrupted")
    result = {"seconds": 75.2, "best": {"trial": 1}}
    write_json(run.path / "result.json", result)
    found = read_status(run.path)
    assert (found["state"], found["seconds"], found["result"]) == ("finished", 75.2, result)


def test_a_torn_last_line_is_passed_over(run):
    add_trial(run, 1, 0.9)
    with run.events_path.open("a") as log:
        log.write('{"kind": "trial", "number": 2, "sta')
    assert read_status(run.path)["trials"]["complete"] == 1


def test_reading_changes_nothing(run):
    add_trial(run, 1, 0.9)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    read_status(run.path)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"request\.json"):
        read_status(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        read_status(tmp_path / "nothing")
