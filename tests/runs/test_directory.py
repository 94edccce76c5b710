import json
from datetime import datetime
from pathlib import Path

import pytest

from autotl.errors import UsageError
from autotl.runs.directory import command_of, create_run, open_run, open_search

MOMENT = datetime(2026, 1, 2, 3, 4, 5)


def test_a_new_run_holds_its_request(tmp_path):
    run = create_run(tmp_path / "deep" / "run", {"dataset": "photos", "trials": 20})
    assert json.loads(run.request_path.read_text()) == {"dataset": "photos", "trials": 20}
    assert open_run(tmp_path / "deep" / "run") == run


def test_the_layout_is_the_documented_one(tmp_path):
    run = create_run(tmp_path / "run", {})
    paths = [
        run.request_path,
        run.manifest_path,
        run.study_path,
        run.events_path,
        run.model_path,
        run.report_path,
        run.result_path,
        run.attempt_dir(7, 1),
        run.trial_dir(12345),
    ]
    assert [path.relative_to(run.path).as_posix() for path in paths] == [
        "request.json",
        "manifest.csv",
        "study.db",
        "events.jsonl",
        "model",
        "report.html",
        "result.json",
        "trials/0007/attempt-1",
        "trials/12345",
    ]


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("photos", "photos"),
        ("photos/", "photos"),
        ("/data/my pets.zip", "my-pets"),
        ("labels.CSV", "labels"),
        ("flowers.v2", "flowers.v2"),
        ("sample:clipart", "clipart"),
        ("", "run"),
        ("日本/写真", "写真"),
        ("a/..", "here"),
    ],
)
def test_the_default_folder_is_named_after_the_data_and_the_time(tmp_path, monkeypatch, dataset, name):
    home = tmp_path / "here"
    home.mkdir()
    monkeypatch.chdir(home)
    run = create_run(None, {"dataset": dataset}, MOMENT)
    assert run.path == home / "runs" / f"{name}-20260102-030405"


def test_a_default_name_that_is_taken_gets_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [create_run(None, {"dataset": "photos"}, MOMENT).path.name for _ in range(3)]
    assert names == [f"photos-20260102-030405{suffix}" for suffix in ("", "-2", "-3")]


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = create_run(Path("~/run"), {})
    assert run.path == tmp_path / "run"
    assert open_run(Path("~/run")) == run


def test_an_empty_folder_can_become_a_run(tmp_path):
    (tmp_path / "run").mkdir()
    assert create_run(tmp_path / "run", {}).request_path.is_file()


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("do not lose")
    with pytest.raises(UsageError, match="starts empty"):
        create_run(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_is_never_overwritten(tmp_path):
    run = create_run(tmp_path / "run", {"seed": 1})
    with pytest.raises(UsageError, match=r"already a run\. See it with `autotl status"):
        create_run(tmp_path / "run", {"seed": 2})
    assert json.loads(run.request_path.read_text()) == {"seed": 1}


@pytest.mark.parametrize("below", ["file", "file/run"])
def test_a_file_cannot_be_a_run(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="A run is a folder"):
        create_run(tmp_path / below, {})


def test_what_is_no_run_cannot_be_opened(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"has none"):
        open_run(tmp_path)


def test_attempts_are_those_that_left_a_folder_in_their_order(tmp_path):
    run = create_run(tmp_path / "run", {})
    assert run.attempts(7) == []
    for attempt in (1, 2, 10):
        run.attempt_dir(7, attempt).mkdir(parents=True)
    (run.trial_dir(7) / "config.json").touch()
    (run.trial_dir(7) / "attempt-copy").mkdir()
    assert run.attempts(7) == [1, 2, 10]


def test_a_trial_that_has_ended_keeps_no_checkpoint_of_any_attempt(tmp_path):
    run = create_run(tmp_path / "run", {})
    for number, attempt in ((7, 1), (7, 2), (8, 1)):
        run.attempt_dir(number, attempt).mkdir(parents=True)
        for name in ("checkpoint.npz", "checkpoint.tmp", "result.json"):
            (run.attempt_dir(number, attempt) / name).touch()
    run.remove_checkpoints(7)
    run.remove_checkpoints(9)
    assert sorted(path.name for path in run.trial_dir(7).rglob("*.*")) == ["result.json", "result.json"]
    assert len(list(run.trial_dir(8).rglob("*.*"))) == 3


def test_what_takes_a_search_refuses_the_run_of_another_study(tmp_path):
    search = create_run(tmp_path / "search", {"space": "quick", "study": None})
    gain = create_run(tmp_path / "gain", {"study": "gain"})
    assert (command_of(search), command_of(gain)) == ("search", "gain")
    assert open_search(search.path) == search
    assert open_run(gain.path) == gain
    with pytest.raises(UsageError, match="is that of `autotl gain`"):
        open_search(gain.path)
