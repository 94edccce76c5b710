import json
from types import SimpleNamespace

import pytest

from autotl.cli.main import main
from autotl.runs.directory import create_run
from autotl.runs.events import append_event
from autotl.runs.files import write_json

CONFIG = {
    "recipe": "probe", "backbone": "efficientnet-lite0", "image_size": 224, "freeze_depth": 1.0, "pooling": "avg",
    "head": "linear", "penalty": 5e-05, "augmentation": "flip",
}  # fmt: skip
SCORES = {"accuracy": 0.7, "balanced_accuracy": 0.6, "macro_f1": 0.61, "log_loss": 0.9}


@pytest.fixture
def autotl(capsys):
    """Runs a command line in this process: its exit code, stdout and stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=caught.value.code, out=out, err=err)

    return run


@pytest.fixture
def autotl_json(autotl):
    """The one object that a command line with --json prints, and its exit code."""

    def run(*arguments):
        answer = autotl(*arguments, "--json")
        return json.loads(answer.out), answer.code

    return run


@pytest.fixture
def result(tmp_path):
    """The JSON object of a finished search."""
    intervals = {"accuracy_ci95": [0.62, 0.78], "balanced_accuracy_ci95": [0.5, 0.7]}
    return {
        "run": str(tmp_path / "run"), "model": str(tmp_path / "run" / "model"), "best": {**CONFIG, "trial": 3},
        "trials": {"complete": 3, "pruned": 1, "failed": 0}, "validation": SCORES,
        "test": {"n": 120, **SCORES, **intervals}, "seconds": 75.2,
        "cost": {"forward": 30.0, "idle": 20.0, "decode": 5.25}, "metric": "log_loss",
    }  # fmt: skip


@pytest.fixture
def unfinished_run(tmp_path):
    """A run directory with two trials and no result."""
    run = create_run(tmp_path / "run", {"dataset": "photos", "metric": "log_loss"})
    for number, score in ((1, 0.9), (2, 0.8)):
        trial = {"number": number, "stage": "probe", "state": "complete", "score": score, "config": CONFIG}
        append_event(run, "trial", **trial, seconds=1.5, error=None)
    append_event(run, "interrupted")
    return run


@pytest.fixture
def finished_run(unfinished_run, result):
    write_json(unfinished_run.path / "result.json", result)
    return unfinished_run
