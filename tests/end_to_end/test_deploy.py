"""A search with budgets of its model, and another trial than the delivered one as a model: in one process."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import autotl
from autotl.api import pareto, refit
from autotl.runs.directory import open_run
from autotl.runs.events import read_events
from autotl.runs.files import read_json

pytestmark = pytest.mark.keras
SPACE = """
description = "Two image sizes of one network, on a hold-out."

[[stage]]
name = "probe"
recipe = "probe"
trials = 2
evaluation = "holdout"
[stage.parameters]
backbone = { choice = ["efficientnet-lite0"] }
image_size = { choice = [32, 64] }
penalty = { choice = [1e-3] }

[[stage.first]]
image_size = 32
penalty = 1e-3

[[stage.first]]
image_size = 64
penalty = 1e-3
"""


@pytest.fixture(scope="module")
def budgeted(tmp_path_factory: pytest.TempPathFactory, draw_noise: Callable[..., Path]) -> SimpleNamespace:
    """A finished search whose budgets hold, and what it told."""
    folder, told = tmp_path_factory.mktemp("deploy"), list[dict[str, Any]]()
    (folder / "space.toml").write_text(SPACE)
    result = autotl.search(
        draw_noise(folder / "images", (12, 12, 12), 30),
        space=folder / "space.toml",
        latency_budget="60s",
        max_size="20MB",
        executor="inline",
        out=folder / "run",
        cache_dir=folder / "cache",
        on_event=told.append,
    )
    return SimpleNamespace(result=result.values, run=result.run, told=told)


def test_each_network_is_measured_before_the_first_trial(budgeted: SimpleNamespace) -> None:
    events = read_events(open_run(budgeted.run))
    kinds = [event["kind"] for event in events]
    found = [event for event in events if event["kind"] == "measured"]
    assert [(event["image_size"], event["problem"]) for event in found] == [(32, None), (64, None)]
    assert kinds.index("measured") < kinds.index("asked")
    for event in found:
        assert 0.0 < event["p50_milliseconds"] <= event["p95_milliseconds"]
        assert 4 * event["parameters"] < event["bytes"] < 4 * event["parameters"] + 1_000_000
        assert event["channels"][-1] == 1280
    assert [each["image_size"] for each in budgeted.result["measured"]] == [32, 64]


def test_the_delivered_model_is_measured_again_and_holds(budgeted: SimpleNamespace) -> None:
    budgets = budgeted.result["budgets"]
    assert budgets["format"] == "keras"
    assert budgets["latency"]["holds"] and budgets["size"]["holds"]
    assert 0.0 < budgets["latency"]["measured"] < budgets["latency"]["budget"] == 60_000.0
    assert budgets["size"]["budget"] == 20_000_000
    assert budgets["size"]["measured"] == pytest.approx(
        (budgeted.run / "model" / "model.keras").stat().st_size, rel=1e-3
    )
    description = read_json(budgeted.run / "model" / "autotl.json")
    assert description["budgets"] == budgets
    assert "--latency-budget 60000ms --max-size 20000000bytes" in description["command"]


def test_another_trial_becomes_a_model_and_the_look_at_the_test_split_is_counted(budgeted: SimpleNamespace) -> None:
    found = pareto(budgeted.run)
    assert (found["missing"], found["delivered"]) == ([], budgeted.result["best"]["trial"])
    other = 3 - found["delivered"]
    told: list[dict[str, Any]] = []
    before = read_events(open_run(budgeted.run))
    # everything runs in this process, as the search did
    from autotl.search.refit import refit_trial

    folder = refit_trial(budgeted.run, other, told.append, executor="inline")
    assert folder == budgeted.run / "trials" / f"000{other}" / "model"
    assert any("for the second time" in event.get("detail", "") for event in told)
    description = read_json(folder / "autotl.json")
    assert (description["trial"], len(description["test_reads"])) == (other, 2)
    assert description["test_reads"][-1]["count"] == 2
    assert description["parity"]["passed"]
    assert read_events(open_run(budgeted.run)) == before
    assert not (folder.parent / "refit").exists()
    assert refit(budgeted.run, other) == folder  # it is there, and nothing is started
    assert refit(budgeted.run, pick="best") == budgeted.run / "model"
    image = next((budgeted.run.parent / "images" / "red").glob("*.png"))
    (prediction,) = autotl.predict(folder, image)
    assert prediction["label"] in ("red", "green", "blue")


def test_a_model_is_measured_as_it_will_be_deployed(budgeted: SimpleNamespace, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    from autotl.deliver.measure import run_job

    payload = {
        "model": str(budgeted.run / "model" / "model.keras"),
        "deploy": "litert:int8",
        "manifest": str(budgeted.run / "manifest.csv"),
        "cache": {"root": str(budgeted.run.parent / "cache"), "max_bytes": 10**9},
        "folder": str(tmp_path),
    }
    found = run_job(payload, lambda step, value, extra: False)
    assert 0.0 < found["p50_milliseconds"] <= found["p95_milliseconds"]
    assert found["parameters"] < found["bytes"] < 1.5 * found["parameters"]  # a byte for each, and what is around them
    assert list(tmp_path.iterdir()) == []
