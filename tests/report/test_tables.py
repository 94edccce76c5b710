import json

import pytest

from autotl.report import tables
from autotl.report.record import read_record


@pytest.mark.parametrize(("metric", "first"), [("log_loss", min), ("accuracy", max)])
def test_the_leaderboard_starts_with_the_best_complete_trial(make_run, metric, first):
    record = read_record(make_run(metric=metric))
    rows = tables.leaderboard(record)
    complete = [trial.score for trial in record.trials if trial.state == "complete"]
    assert rows[0]["score"] == first(complete)
    assert [row["state"] for row in rows] == sorted(
        (row["state"] for row in rows), key=["complete", "pruned", "failed"].index
    )
    assert rows[-1]["error"] == "out of memory in y.py"


def test_the_last_event_of_a_trial_holds(make_run):
    run = make_run()
    with (run / "events.jsonl").open("a") as file:
        file.write(
            "\n" + json.dumps({"kind": "trial", "number": 3, "stage": "probe", "state": "complete", "score": 0.01})
        )
    assert tables.leaderboard(read_record(run))[0]["number"] == 3


def test_costs_are_those_of_the_result_or_else_the_sum_over_trials(make_run):
    rows = tables.cost(read_record(make_run()))
    assert [row["phase"] for row in rows] == ["decode", "forward", "solve", "trace", "train", "idle"]
    assert sum(row["share"] for row in rows) == pytest.approx(1.0)
    assert {row["phase"]: row["seconds"] for row in rows}["solve"] == 12.0
    summed = {row["phase"]: row["seconds"] for row in tables.cost(read_record(make_run(without=["result.json"])))}
    assert summed["forward"] == 27.0


def test_a_run_of_the_previous_second_without_costs_has_none(make_run):
    run = make_run(without=["events.jsonl"])
    (run / "result.json").unlink()
    assert tables.cost(read_record(run)) == []


def test_scores_that_are_no_numbers_are_no_scores(make_run):
    run = make_run(without=["events.jsonl"])
    event = {
        "kind": "trial",
        "number": 0,
        "state": "complete",
        "score": "NaN",
        "curve": [1, "NaN", None, True],
        "config": 3,
    }
    (run / "events.jsonl").write_text(json.dumps(event))
    (trial,) = read_record(run).trials
    assert trial.score is None
    assert trial.curve == (1.0,)
    assert trial.config == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/me/data/x.zip is bad", "x.zip is bad"),
        ("at ~/photos/cats/", "at cats"),
        (r"at C:\Users\me\x.png", "at x.png"),
        ("https://arxiv.org/abs/1905.11946", "https://arxiv.org/abs/1905.11946"),
        ("cats/one.jpg and/or 3/4", "cats/one.jpg and/or 3/4"),
        ("'/a/b c'", "'b c'"),
    ],
)
def test_absolute_paths_are_shortened_and_nothing_else(text, shown):
    assert tables.hide_paths(text) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, ""), (3.14, "3.1 s"), (75.2, "1 min 15 s"), (59.99, "60.0 s"), (4000, "1 h 06 min")]
)
def test_durations_are_written_as_one_would_say_them(seconds, shown):
    assert tables.duration(seconds) == shown
