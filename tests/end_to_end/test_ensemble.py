"""`--ensemble` on two backbones, chosen by `--metric auroc` over repeated folds; and what a result says of its cost."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import autotl
from autotl.data.manifest import Manifest
from autotl.runs.directory import open_run
from autotl.runs.events import read_events
from autotl.runs.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.keras, pytest.mark.process]
METRICS = {"accuracy", "balanced_accuracy", "macro_f1", "log_loss", "auroc"}
SPACE = """
[[stage]]
name = "screen"
recipe = "probe"
trials = 2
evaluation = "cross_validation"
folds = 3
repeats = 2
[stage.parameters]
backbone = { choice = ["vgg16", "mobilenet-v2"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
resize = { choice = ["trim"] }
penalty = { choice = ["best"] }
[[stage.first]]
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, draw_noise: Callable[..., Path]) -> Path:
    """Three classes of fifteen pictures of coloured noise."""
    return draw_noise(tmp_path_factory.mktemp("ensemble") / "images", (15, 15, 15), tint=40)


@pytest.fixture(scope="module")
def found(images: Path, workplace: Path) -> SimpleNamespace:
    space = images.parent / "two.toml"
    space.write_text(SPACE)
    told: list[dict[str, Any]] = []
    result = autotl.search(
        images,
        space=space,
        ensemble=True,
        metric="auroc",
        executor="inline",
        out=images.parent / "run",
        cache_dir=workplace / "noise-cache",
        on_event=told.append,
    )
    run = open_run(result.run)
    trials = [event for event in read_events(run) if event["kind"] == "trial"]
    return SimpleNamespace(result=result, told=told, run=run, trials=trials)


def test_the_ensemble_is_one_model_or_the_search_says_why_there_is_none(found, images):
    description = read_json(found.result.model / "autotl.json")
    messages = [event["message"] for event in found.told if event["event"] == "note" and "ensemble" in event["message"]]
    assert len(messages) == 1
    if "is kept" in messages[0]:
        backbones = [member["backbone"] for member in description["members"]]
        assert sorted(backbones) == ["mobilenet-v2", "vgg16"]
        assert found.result.values["members"] == description["members"]
    else:
        assert "is not worth its price" in messages[0] or "no second backbone helps" in messages[0]
        assert "members" not in description
    assert description["parity"]["passed"] and description["resize"]["mode"] == "trim"
    (answer,) = autotl.predict(found.run.path, images / "red" / "00.png", top_k=3)
    assert sum(item["probability"] for item in answer["top"]) == pytest.approx(1.0, abs=1e-5)


def test_the_best_trial_is_the_best_by_the_metric_that_was_asked_for(found):
    assert {trial["config"]["backbone"] for trial in found.trials} == {"vgg16", "mobilenet-v2"}
    assert [trial["score"] for trial in found.trials] == [trial["scores"]["auroc"] for trial in found.trials]
    assert found.result.values["metric"] == "auroc"
    assert autotl.status(found.run.path)["best"]["score"] == max(trial["score"] for trial in found.trials)


def test_the_best_penalty_is_a_number_in_the_record(found):
    penalties = [trial["config"]["penalty"] for trial in found.trials]
    assert all(isinstance(penalty, float) and penalty > 0.0 for penalty in penalties)
    assert found.result.best["penalty"] in penalties


def test_repeated_folds_score_every_image_once_for_each_repeat(found):
    rows = len(Manifest.read(found.run.manifest_path).rows("train", "val"))
    for trial in found.trials:
        with np.load(found.run.trial_dir(trial["number"]) / "attempt-1" / "validation.npz") as saved:
            np.testing.assert_array_equal(saved["rows"], np.repeat(np.arange(rows), 2))


def test_the_result_says_what_was_computed_in_units_of_the_least_that_would_do(found):
    work, counts = found.result.values["work"], found.result.values["counts"]
    images = len(Manifest.read(found.run.manifest_path).rows("train", "val"))
    assert work["cost_units"] >= work["lower_bound_units"] > 0.0
    assert work["rho_alg"] == pytest.approx(work["cost_units"] / work["lower_bound_units"], abs=2e-3)
    assert work["rho_idle"] >= 1.0
    assert {"check", "screen", "final"} <= set(work["stages"])
    spent = sum(stage["cost_units"] for stage in work["stages"].values())
    assert spent == pytest.approx(work["cost_units"], abs=2e-3)
    assert counts["forwarded/pooled"] == counts["images_forwarded"] == 2 * images  # one pass of each backbone
    assert counts["multiply_adds_forwarded"] > 0
    assert "images_trained" not in counts  # linear heads on frozen features are solved


def test_the_result_says_how_long_it_would_take_and_how_far_validation_flattered(found):
    values = found.result.values
    assert values["expected_seconds"] > 0.0
    assert set(values["optimism"]) == METRICS
    best = max(found.trials, key=lambda trial: trial["score"])
    for name, sign in (("auroc", 1), ("log_loss", -1)):
        assert values["optimism"][name] == pytest.approx(sign * (best["scores"][name] - values["test"][name]), abs=1e-4)
