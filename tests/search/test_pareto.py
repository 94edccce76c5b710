"""Which trials are worth their price, on run directories written by hand."""

import pytest

from autotl.errors import UsageError
from autotl.runs.directory import create_run
from autotl.runs.events import append_event
from autotl.runs.files import write_json
from autotl.search.model_budget import EVENT, Measured
from autotl.search.pareto import pick, read_pareto

NETWORKS = {"small": (32, 5.0, 4_000_000), "middle": (32, 10.0, 9_000_000), "large": (64, 40.0, 8_000_000)}


def ignore(event):
    """Nobody watches."""


@pytest.fixture
def run(tmp_path):
    run = create_run(tmp_path / "run", {"dataset": "photos", "metric": "log_loss"})
    write_json(run.result_path, {"best": {"trial": 5}})
    return run


def add(run, number, backbone, accuracy, loss, state="complete", images=None, **config):
    config = {"backbone": backbone, "image_size": NETWORKS[backbone][0], "recipe": "probe", **config}
    scores = {"accuracy": accuracy, "log_loss": loss}
    record = {"number": number, "stage": "probe", "state": state, "score": loss, "scores": scores, "images": images}
    append_event(run, "trial", **record, config=config, temperature=1.0, multiply_adds=1)


@pytest.fixture
def trials(run):
    """Five that are complete; the fourth is beaten in all, the sixth was stopped early."""
    add(run, 1, "small", 0.80, 0.9, images=500)
    add(run, 2, "small", 0.80, 0.8)
    add(run, 3, "middle", 0.815, 0.7)
    add(run, 4, "middle", 0.79, 0.95)
    add(run, 5, "large", 0.82, 0.5)
    add(run, 6, "large", 0.99, 0.1, state="pruned")
    return run


@pytest.fixture
def measured(trials):
    for name, (size, milliseconds, count) in NETWORKS.items():
        found = Measured(name, size, None, milliseconds, milliseconds, count, count // 4, (8, 8), 3)
        append_event(trials, EVENT, **found.to_json())
    return trials


def test_the_front_is_what_no_other_trial_beats(measured):
    found = read_pareto(measured.path)
    assert [row["number"] for row in found["front"]] == [5, 3, 2]
    assert [row["delivered"] for row in found["front"]] == [True, False, False]
    assert [row["p50_milliseconds"] for row in found["front"]] == [40.0, 10.0, 5.0]
    assert [row["bytes"] for row in found["front"]] == [8_000_000, 9_000_000, 4_000_000]
    assert (found["dominated"], found["delivered"], found["missing"], found["deploy"]) == (2, 5, [], None)


def test_a_larger_head_costs_bytes_and_so_a_plain_one_stays(measured):
    add(measured, 7, "small", 0.805, 0.75, pooling="both", taps="all")
    rows = {row["number"]: row for row in read_pareto(measured.path)["front"]}
    assert {2, 7} <= set(rows)
    assert rows[7]["bytes"] > rows[2]["bytes"]


def test_without_figures_only_heads_on_one_network_are_compared(trials):
    found = read_pareto(trials.path)
    assert [row["number"] for row in found["front"]] == [5, 3, 2]
    assert all(row["p50_milliseconds"] is None and row["bytes"] is None for row in found["front"])
    assert [one["backbone"] for one in found["missing"]] == ["large", "middle", "small"]


def test_the_delivered_model_of_an_old_run_was_measured(trials):
    trials.model_path.mkdir()
    latency = {"p50_milliseconds": 41.0, "p95_milliseconds": 45.0}
    write_json(trials.model_path / "autotl.json", {"trial": 5, "latency": latency, "model": {"bytes": 8_500_000}})
    found = read_pareto(trials.path)
    assert next((row["p50_milliseconds"], row["bytes"]) for row in found["front"]) == (41.0, 8_500_000)
    assert [one["backbone"] for one in found["missing"]] == ["middle", "small"]


def test_a_run_without_a_finished_trial_has_no_front(run):
    add(run, 1, "small", 0.8, 0.9, state="pruned")
    assert read_pareto(run.path)["front"] == []
    with pytest.raises(UsageError, match="has none yet"):
        pick(run.path, "best", ignore)


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("best", 5),
        ("fastest-within 1pp", 3),
        ("Fastest-within 2 points", 2),
        ("smallest-within 1pp", 5),
        ("smallest-within 2pp", 2),
        ("fastest-within 0pp", 5),
        ("fastest-within 0.5pp", 3),
    ],
)
def test_a_trial_is_picked_by_what_matters(measured, how, number):
    assert pick(measured.path, how, ignore) == number


def test_where_all_that_are_good_share_a_network_nothing_must_be_measured(trials):
    assert pick(trials.path, "fastest-within 0pp", ignore) == 5


@pytest.mark.parametrize(
    "how", ["", "fastest", "fastest-within", "fastest-within 1%", "slowest-within 1pp", "5", "best 1pp"]
)
def test_another_rule_is_refused_with_those_there_are(measured, how):
    with pytest.raises(UsageError, match="fastest-within 1pp or smallest-within 2pp"):
        pick(measured.path, how, ignore)


def test_networks_of_a_search_that_is_not_finished_are_not_measured(trials):
    trials.result_path.unlink()
    for look in (lambda: read_pareto(trials.path, ignore), lambda: pick(trials.path, "fastest-within 1pp", ignore)):
        with pytest.raises(UsageError, match="autotl resume"):
            look()
