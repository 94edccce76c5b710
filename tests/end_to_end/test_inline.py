"""The same search without worker processes, from the command line."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from autotl.runs.directory import open_run
from autotl.runs.events import read_events

pytestmark = [pytest.mark.slow, pytest.mark.keras]
DEADLINE_SECONDS = 300
COMPARED = ("number", "stage", "state", "config", "score", "curve")


def trials_of(run: Path) -> list[dict[str, object]]:
    events = [event for event in read_events(open_run(run)) if event["kind"] == "trial"]
    return [{name: event.get(name) for name in COMPARED} for event in events]


def test_jobs_in_the_driver_s_process_come_to_the_same_result(first: SimpleNamespace, workplace: Path) -> None:
    options = ["--space", "tiny.toml", "--seed", "1", "--out", "inline", "--cache-dir", "cache"]
    done = subprocess.run(
        [sys.executable, "-m", "autotl", "search", "sample:clipart", *options, "--executor", "inline", "--json", "-q"],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert trials_of(Path(result["run"])) == trials_of(first.result.run)
    assert result["test"] == first.result.test
    slots = {event["slot"] for event in read_events(open_run(Path(result["run"]))) if event["kind"] == "submitted"}
    assert slots == {"inline-0"}
