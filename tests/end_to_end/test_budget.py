"""A budget that is shorter than one trial, from the command line: there is a model all the same."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import autotl
from autotl.runs.directory import open_run
from autotl.runs.events import read_events

pytestmark = [pytest.mark.slow, pytest.mark.keras, pytest.mark.process]
DEADLINE_SECONDS = 300
SPACE = """
[[stage]]
name = "finetune"
recipe = "finetune"
trials = 3
evaluation = "cross_validation"
epochs = 2000
[stage.parameters]
backbone = { choice = ["vgg16"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
freeze_depth = { choice = [0.8] }
tail_rate = { log = [1e-5, 1e-4] }
"""


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory, draw_noise: Callable[..., Path]) -> SimpleNamespace:
    """A search that may take three seconds, of trials that would take an hour."""
    folder = tmp_path_factory.mktemp("hurried")
    (folder / "long.toml").write_text(SPACE)
    draw_noise(folder / "images", (16, 16, 16), tint=70)
    options = ["--space", "long.toml", "--budget", "3s", "--out", "run", "--cache-dir", "cache", "--json", "-q"]
    command = [sys.executable, "-m", "autotl", "search", "images", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert done.returncode == 0, done.stderr
    run = open_run(folder / "run")
    trials = [event for event in read_events(run) if event["kind"] == "trial"]
    return SimpleNamespace(result=json.loads(done.stdout), run=run, trials=trials, folder=folder)


def test_the_only_trial_is_cut_short_and_counts(hurried):
    assert [trial["state"] for trial in hurried.trials] == ["pruned"]
    assert hurried.result["trials"] == {"complete": 0, "pruned": 1, "failed": 0}
    assert hurried.result["best"]["trial"] == hurried.trials[0]["number"]


def test_the_model_that_there_was_time_for_is_delivered_and_reproduces(hurried):
    found = autotl.evaluate(hurried.run.path, hurried.folder / "images", cache_dir=hurried.folder / "cache")
    assert (found["same_data"], found["reproduced"]) == (True, True)
    assert found["n"] == hurried.result["test"]["n"]


def test_nothing_is_fitted_a_second_time_to_confirm_it(hurried):
    assert "confirm" not in hurried.result["work"]["stages"]
