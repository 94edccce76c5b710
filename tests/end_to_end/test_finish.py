"""`autotl resume RUN --finish`: no further trial, the best model of what is known."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import autotl
from autotl.errors import Interrupted
from autotl.runs.directory import open_run
from autotl.runs.events import read_events

pytestmark = [pytest.mark.slow, pytest.mark.keras, pytest.mark.process]
DEADLINE_SECONDS = 300
SPACE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 4
evaluation = "cross_validation"
folds = 3
[stage.parameters]
backbone = { choice = ["vgg16"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
penalty = { log = [1e-3, 1e-1] }

[[stage]]
name = "finetune"
recipe = "finetune"
trials = 2
[stage.parameters]
freeze_depth = { choice = [0.8] }
"""


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, workplace: Path, draw_noise: Callable[..., Path]
) -> SimpleNamespace:
    """A search that is interrupted after its second trial and finished from the command line."""
    root = tmp_path_factory.mktemp("finish")
    draw_noise(root / "images", (15, 15, 15), tint=70)
    (root / "space.toml").write_text(SPACE)

    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "trial" and event["number"] == 2:
            raise KeyboardInterrupt

    options = {"space": root / "space.toml", "out": root / "run", "cache_dir": workplace / "noise-cache"}
    with pytest.raises(Interrupted):
        autotl.search(root / "images", on_event=interrupt, **options)
    before = trials_of(root / "run")
    done = subprocess.run(
        [sys.executable, "-m", "autotl", "resume", str(root / "run"), "--finish", "--json", "-q"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(result=json.loads(done.stdout), before=before, root=root, cache=options["cache_dir"])


def trials_of(run):
    return [event for event in read_events(open_run(run)) if event["kind"] == "trial"]


def test_no_further_trial_runs(finished):
    assert len(finished.before) == 2
    assert trials_of(finished.root / "run") == finished.before
    assert finished.result["trials"] == {"complete": 2, "pruned": 0, "failed": 0}
    assert "confirm" not in finished.result["work"]["stages"]


def test_the_best_of_what_is_known_is_delivered(finished):
    best = min(finished.before, key=lambda trial: trial["score"])
    assert finished.result["best"] == {**best["config"], "trial": best["number"]}
    assert finished.result["validation"]["log_loss"] == pytest.approx(best["score"])
    found = autotl.evaluate(finished.root / "run", finished.root / "images", cache_dir=finished.cache)
    assert found["reproduced"]
    assert autotl.status(finished.root / "run")["state"] == "finished"
