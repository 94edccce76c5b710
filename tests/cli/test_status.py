"""`autotl status --watch` and `autotl stop`, on run directories written by hand."""

import os
from contextlib import contextmanager

import pytest

from autotl.cli.status_view import progress_line
from autotl.runs.directory import create_run
from autotl.runs.events import append_event
from autotl.runs.files import read_json, write_json
from autotl.runs.locking import lock_run


@contextmanager
def driven_elsewhere(run):
    """A driver on another machine: no signal reaches it."""
    with lock_run(run):
        write_json(run.lock_holder_path, {**read_json(run.lock_holder_path), "host": "elsewhere"})
        yield


def begin(run):
    append_event(run, "search", elapsed=0.0, slots=2)
    append_event(run, "plan", trials={"probe": 6})
    append_event(run, "phase", phase="probe", detail="6 trials over vgg16")
    append_event(run, "asked", job="trial-3", number=3, attempt=1, stage="probe", digest="")
    append_event(run, "submitted", job="trial-3", attempt=1, slot="gpu-0.1")
    append_event(run, "report", job="trial-3", step=4, value=0.5)
    append_event(run, "eta", seconds=600.0)


def test_a_running_search_is_shown_with_what_runs_and_how_long_it_will_take(autotl, autotl_json, unfinished_run):
    begin(unfinished_run)
    with lock_run(unfinished_run):
        answer = autotl("status", unfinished_run.path)
        found, code = autotl_json("status", unfinished_run.path)
    assert (answer.code, code) == (0, 0)
    for words in (
        "running in probe (6 trials over vgg16)", "trials: 2 of 6 planned: 2 complete, 0 pruned, 0 failed",
        "to go", "running: 1 on 2 slots", "gpu-0.1", "0.5000",
    ):  # fmt: skip
        assert words in answer.out
    assert "Next:" not in answer.out
    (running,) = found["running"]
    assert (running["number"], running["slot"], running["step"]) == (3, "gpu-0.1", 4)


def test_watching_writes_a_line_for_what_is_new_and_ends_with_the_search(autotl, unfinished_run, monkeypatch):
    begin(unfinished_run)
    steps = iter(
        [
            lambda: append_event(unfinished_run, "report", job="trial-3", step=5, value=0.4),
            lambda: append_event(unfinished_run, "phase", phase="final", detail="fitting"),
            lambda: (append_event(unfinished_run, "interrupted"), lock.__exit__(None, None, None)),
        ]
    )
    monkeypatch.setattr("time.sleep", lambda seconds: next(steps)())
    lock = lock_run(unfinished_run)
    lock.__enter__()
    answer = autotl("status", unfinished_run.path, "--watch")
    assert answer.code == 0
    assert answer.err.splitlines() == [
        "probe: 2 of 6 planned: 2 complete, 0 pruned, 0 failed; best: trial 2, score 0.8000",
        "final: 2 of 6 planned: 2 complete, 0 pruned, 0 failed; best: trial 2, score 0.8000",
        "interrupted: 2 of 6 planned: 2 complete, 0 pruned, 0 failed; best: trial 2, score 0.8000",
    ]
    assert f"Next:  autotl resume {unfinished_run.path}" in answer.out


def test_watching_can_be_left_and_harms_nothing(autotl_json, unfinished_run, monkeypatch):
    begin(unfinished_run)

    def leave(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", leave)
    with lock_run(unfinished_run):
        found, code = autotl_json("status", unfinished_run.path, "--watch")
    assert (found["state"], code) == ("running", 0)


def test_a_finished_search_that_is_watched_shows_its_result(autotl, finished_run):
    answer = autotl("status", finished_run.path, "--watch")
    assert answer.code == 0 and "0.700 (95 % interval 0.620 to 0.780), 120 images" in answer.out


def test_what_failed_is_said(autotl, unfinished_run):
    begin(unfinished_run)
    append_event(unfinished_run, "given_up", error="runtime", message="no room on [the] disk")
    answer = autotl("status", unfinished_run.path)
    assert "given up" in answer.out and "error: no room on [the] disk" in answer.out


def test_a_line_of_a_run_that_has_only_begun():
    nothing = {"complete": 0, "pruned": 0, "failed": 0}
    found = {
        "state": "unfinished", "phase": None, "best": None, "trials": nothing, "planned": None,
        "attempts": {"started": 0, "retried": 2},
    }  # fmt: skip
    assert progress_line(found) == "unfinished: 0: 0 complete, 0 pruned, 0 failed; 2 tried again"


@pytest.mark.parametrize(
    ("option", "how", "says"),
    [
        ([], "orderly", "was asked to stop. What has finished is saved"),
        (["--now"], "now", "was asked to stop at once"),
        (["--finish"], "finish", "runs no further trial, and delivers the best of what is known"),
    ],
)
def test_a_driver_is_asked_to_stop(autotl, autotl_json, unfinished_run, option, how, says):
    with driven_elsewhere(unfinished_run):
        answer = autotl("stop", unfinished_run.path, *option)
        told, code = autotl_json("stop", unfinished_run.path, *option)
    assert (answer.code, code) == (0, 0)
    assert f"Process {os.getpid()} on elsewhere {says}" in answer.out
    assert told == {
        "run": str(unfinished_run.path), "command": "search", "how": how, "asked": True,
        "driver": {"pid": os.getpid(), "host": "elsewhere"},
    }  # fmt: skip
    assert read_json(unfinished_run.stop_path) == {"how": how}


def test_a_study_that_is_asked_to_stop_is_gone_on_with_by_its_own_command(autotl, tmp_path):
    run = create_run(tmp_path / "run", {"study": "gain", "dataset": "photos", "seed": 0})
    with driven_elsewhere(run):
        answer = autotl("stop", run.path)
    assert f"go on with:  the same autotl gain command, with --out {run.path}\n" in answer.out


def test_where_nobody_drives_there_is_nothing_to_stop(autotl, autotl_json, unfinished_run):
    answer = autotl("stop", unfinished_run.path)
    assert (answer.code, answer.out) == (
        0, f"No process drives {unfinished_run.path}: there is nothing to stop.\n"
    )  # fmt: skip
    assert autotl_json("stop", unfinished_run.path)[0]["asked"] is False


def test_the_pareto_table_says_which_trials_are_worth_their_price_and_what_is_missing(
    autotl, autotl_json, finished_run
):
    for number, accuracy, state in ((1, 0.6, "complete"), (3, 0.7, "complete"), (4, 0.9, "pruned")):
        trial = {"number": number, "stage": "probe", "state": state, "score": 1 - accuracy, "images": None}
        config = {"backbone": "[bold]net", "image_size": 32 * number, "recipe": "probe"}
        append_event(finished_run, "trial", **trial, scores={"accuracy": accuracy}, config=config)
    answer = autotl("status", finished_run.path, "--pareto")
    assert answer.code == 0
    for words in (
        "0.700",
        "delivered",
        "[bold]net 96",
        "Not measured: [bold]net at 32 px, [bold]net at 96 px",
        "--trial N",
    ):
        assert words in answer.out
    assert "0.900" not in answer.out
    found, code = autotl_json("status", finished_run.path, "--pareto")
    assert (code, [row["number"] for row in found["front"]], found["delivered"]) == (0, [3, 1], 3)


def test_the_pareto_table_of_a_run_without_a_finished_trial_says_so(autotl, unfinished_run):
    answer = autotl("status", unfinished_run.path, "--pareto")  # its trials are of an autotl that kept no scores
    assert answer.code == 0 and "No trial is finished yet." in answer.out


@pytest.mark.parametrize("options", [["--measure"], ["--pareto", "--watch"]])
def test_options_that_say_nothing_together_are_refused(autotl, unfinished_run, options):
    assert autotl("status", unfinished_run.path, *options).code == 2


def test_the_run_of_a_study_is_shown_for_what_it_is_and_other_commands_refuse_it(autotl, autotl_json, tmp_path):
    run = create_run(tmp_path / "run", {"study": "gain", "dataset": "photos", "seed": 0})
    append_event(run, "search", elapsed=0.0, slots=1)
    append_event(run, "phase", phase="scratch", detail="10 images per class")
    append_event(run, "interrupted")
    answer = autotl("status", run.path)
    assert (answer.code, f"Next:  the same autotl gain command, with --out {run.path}" in answer.out) == (0, True)
    assert "(autotl gain): interrupted in scratch (10 images per class)" in answer.out
    write_json(run.result_path, {"study": "gain"})
    found, code = autotl_json("status", run.path)
    assert (code, found["command"], found["state"], found["result"]) == (0, "gain", "finished", {"study": "gain"})
    assert f"See:   {run.path}/result.json" in autotl("status", run.path).out
    for arguments in (
        ("resume", run.path),
        ("report", run.path),
        ("export", run.path, "--format", "onnx", "--trial", 1),
    ):
        refused = autotl(*arguments)
        assert (refused.code, "is that of `autotl gain`" in refused.err) == (2, True), arguments
