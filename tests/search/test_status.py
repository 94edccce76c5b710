"""What a run has come to, read off a directory written by hand."""

import pytest

from autotl.errors import UsageError
from autotl.runs.events import append_event
from autotl.runs.files import write_json
from autotl.runs.locking import lock_run
from autotl.search.status import RECENT, follow_status, read_status


def add_trial(run, number, score, stage="probe", state="complete", seconds=1.5):
    append_event(run, "trial", number=number, stage=stage, state=state, score=score, seconds=seconds, config={})


def test_a_run_that_has_only_begun(run):
    found = read_status(run.path)
    assert found == {
        "run": str(run.path), "command": "search", "state": "unfinished", "phase": None, "stage": None,
        "best": None, "recent": [], "running": [], "trials": {"complete": 0, "pruned": 0, "failed": 0}, "planned": None,
        "slots": None, "attempts": {"started": 0, "retried": 0}, "seconds": 0, "budget": None, "eta_seconds": None,
        "error": None, "result": None,
    }  # fmt: skip


def test_a_run_on_its_way(run):
    append_event(run, "search", elapsed=7.0, slots=2)
    append_event(run, "plan", trials={"probe": 3, "finetune": 4})
    append_event(run, "phase", phase="probe", detail="3 trials over vgg16")
    add_trial(run, 1, 0.9)
    append_event(run, "retried", job="trial-2")
    add_trial(run, 2, 0.7, state="pruned")
    add_trial(run, 3, None, state="failed")
    add_trial(run, 4, 0.8)
    found = read_status(run.path)
    assert (found["state"], found["stage"], found["slots"], found["planned"]) == ("unfinished", "probe", 2, 7)
    assert found["phase"] == {"name": "probe", "detail": "3 trials over vgg16"}
    assert found["trials"] == {"complete": 2, "pruned": 1, "failed": 1}
    assert found["attempts"] == {"started": 0, "retried": 1}
    assert found["best"]["number"] == 4
    assert [trial["number"] for trial in found["recent"]] == [1, 2, 3, 4]
    assert 7.0 <= found["seconds"] < 60.0


def begin(run, *numbers):
    append_event(run, "search", elapsed=0.0, slots=2)
    for number in numbers:
        append_event(run, "asked", job=f"trial-{number}", number=number, attempt=1, stage="probe", digest="")
        append_event(run, "submitted", job=f"trial-{number}", attempt=1, slot=f"cpu-{number}")


def test_what_runs_is_told_while_somebody_drives_the_run(run):
    begin(run, 1, 2, 3)
    append_event(run, "started", job="trial-2", attempt=1, slot="cpu-2", pid=1)
    append_event(run, "report", job="trial-2", step=4, value=0.5)
    append_event(run, "ended", job="trial-1", attempt=1)
    append_event(run, "retried", job="trial-3", attempt=1)
    append_event(run, "submitted", job="trial-3", attempt=2, slot="cpu-1")
    append_event(run, "eta", seconds=1000.0)
    with lock_run(run):
        found = read_status(run.path)
    second, third = found["running"]
    seconds = [each.pop("seconds") for each in (second, third)]
    assert second == {
        "job": "trial-2", "number": 2, "stage": "probe", "slot": "cpu-2", "attempt": 1, "step": 4, "value": 0.5
    }  # fmt: skip
    assert (third["number"], third["slot"], third["attempt"], third["step"]) == (3, "cpu-1", 2, None)
    assert all(0.0 <= each < 60.0 for each in seconds)
    assert found["state"] == "running" and 900.0 < found["eta_seconds"] <= 1000.0
    found = read_status(run.path)
    assert (found["state"], found["running"], found["eta_seconds"]) == ("unfinished", [], None)


def test_what_an_earlier_driver_had_submitted_runs_no_more(run):
    begin(run, 1)
    append_event(run, "resumed", elapsed=3.0, slots=1)
    with lock_run(run):
        assert read_status(run.path)["running"] == []


def test_a_run_is_followed_until_nobody_drives_it(run):
    lock = lock_run(run)
    lock.__enter__()
    steps = iter(
        [
            lambda: begin(run, 1),
            lambda: append_event(run, "report", job="trial-1", step=1, value=0.5),
            lambda: append_event(run, "ended", job="trial-1", attempt=1),
            lambda: add_trial(run, 1, 0.5),
            lambda: (append_event(run, "interrupted"), lock.__exit__(None, None, None)),
        ]
    )
    seen = list(follow_status(run.path, lambda: next(steps)()))
    assert [status["state"] for status in seen] == [*(5 * ["running"]), "interrupted"]
    assert [[each["step"] for each in status["running"]] for status in seen] == [[], [None], [1], [], [], []]
    assert [status["trials"]["complete"] for status in seen] == [0, 0, 0, 0, 1, 1]


def test_a_run_that_nobody_drives_is_shown_once(run):
    assert [status["state"] for status in follow_status(run.path, pytest.fail)] == ["unfinished"]


def test_a_run_that_was_given_up_says_why_until_somebody_goes_on(run):
    begin(run, 1)
    append_event(run, "given_up", error="runtime", message="the disk is full")
    assert (read_status(run.path)["state"], read_status(run.path)["error"]) == ("given up", "the disk is full")
    append_event(run, "resumed", elapsed=1.0)
    assert (read_status(run.path)["state"], read_status(run.path)["error"]) == ("unfinished", None)


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
    append_event(run, "resumed")
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
