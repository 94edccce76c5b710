"""The same small search on every backend of Keras that is installed: same probe, and a model that all of them load."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotl
from autotl.runs.directory import open_run
from autotl.runs.events import read_events

pytestmark = [pytest.mark.slow, pytest.mark.keras, pytest.mark.process]
DEADLINE_SECONDS = 600
SPACE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 1
evaluation = "cross_validation"
folds = 3
[stage.parameters]
backbone = { choice = ["efficientnet-lite0"] }
image_size = { choice = [32] }
penalty = { choice = ["best"] }

[[stage]]
name = "finetune"
recipe = "finetune"
trials = 1
epochs = 2
[stage.parameters]
freeze_depth = { choice = [0.8] }
layer_decay = { choice = [0.8] }
mixup = { choice = [0.2] }
ema = { choice = ["on"] }
balance = { choice = ["weights"] }
augmentation = { choice = ["light"] }
batch_size = { choice = [8] }
"""


def needs(name: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(name) is None
    return pytest.mark.skipif(missing, reason=f"{name} is not installed: pip install 'autotl[{name}]'")


@pytest.fixture(scope="module")
def search_on(
    tmp_path_factory: pytest.TempPathFactory, draw_noise: Callable[..., Path]
) -> Callable[[str], dict[str, Any]]:
    """Searches in a process of its own, with the backend in its environment; each backend once."""
    root = tmp_path_factory.mktemp("backends")
    draw_noise(root / "images", (14, 14, 14), tint=30)
    (root / "space.toml").write_text(SPACE)
    results: dict[str, dict[str, Any]] = {}

    def run(backend: str) -> dict[str, Any]:
        if backend not in results:
            options = ["--space", "space.toml", "--out", backend, "--cache-dir", f"cache-{backend}", "--json", "-q"]
            done = subprocess.run(
                [sys.executable, "-m", "autotl", "search", "images", *options],
                cwd=root,
                env={**os.environ, "KERAS_BACKEND": backend},
                capture_output=True,
                text=True,
                timeout=DEADLINE_SECONDS,
            )
            assert done.returncode == 0, done.stderr
            results[backend] = json.loads(done.stdout)
        return results[backend]

    return run


def trials_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for event in read_events(open_run(Path(result["run"]))) if event["kind"] == "trial"]


@pytest.mark.parametrize(
    "backend", [pytest.param("jax", marks=needs("jax")), pytest.param("torch", marks=needs("torch"))]
)
def test_a_search_comes_to_the_same_on_another_backend(search_on, backend):
    there, here = search_on(backend), search_on("tensorflow")
    assert there["trials"] == {"complete": 2, "pruned": 0, "failed": 0}
    assert there["parity"]["passed"]
    for mine, theirs in zip(trials_of(here), trials_of(there), strict=True):
        assert theirs["config"] == {**mine["config"], "penalty": pytest.approx(mine["config"]["penalty"], rel=0.1)}
        assert theirs["score"] == pytest.approx(mine["score"], abs=0.01 if mine["stage"] == "probe" else 0.3)


@pytest.mark.parametrize(
    "backend", [pytest.param("jax", marks=needs("jax")), pytest.param("torch", marks=needs("torch"))]
)
def test_the_model_of_another_backend_gives_the_same_scores_here(search_on, backend):
    result = search_on(backend)
    root = Path(result["run"]).parent
    found = autotl.evaluate(result["run"], root / "images", cache_dir=root / f"cache-{backend}")
    assert found["same_data"]
    assert found["log_loss"] == pytest.approx(result["test"]["log_loss"], abs=1e-3)
    assert found["accuracy"] == result["test"]["accuracy"]
