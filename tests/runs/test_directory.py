import json
import os
import select
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from autotl.errors import UsageError
from autotl.runs.directory import create_run, lock_run, open_run

REPOSITORY = Path(__file__).parents[2]
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
    with pytest.raises(UsageError, match="already a run"):
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


def test_a_lock_is_held_by_one_and_free_afterwards(tmp_path):
    run = create_run(tmp_path / "run", {})
    with lock_run(run), pytest.raises(UsageError, match=f"driven by process {os.getpid()} "), lock_run(run):
        pass
    with lock_run(run):
        pass


def test_a_lock_is_free_after_an_error_in_its_block(tmp_path):
    run = create_run(tmp_path / "run", {})
    with pytest.raises(KeyError), lock_run(run):
        raise KeyError
    with lock_run(run):
        pass


HOLDER = """
import sys
from pathlib import Path
from autotl.runs.directory import lock_run, open_run
with lock_run(open_run(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.process
def test_another_process_s_lock_names_it_and_dies_with_it(tmp_path):
    run = create_run(tmp_path / "run", {})
    command = [sys.executable, "-c", HOLDER, str(run.path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert select.select([holder.stdout], [], [], 20)[0]
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match=f"driven by process {holder.pid} "), lock_run(run):
            pass
        holder.kill()
    with lock_run(run):
        pass
