"""The cost ledger adds up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotl.search.costs import Costs

SECONDS = st.floats(0.0, 100.0)
PHASES = st.dictionaries(st.sampled_from(["forward", "train", "solve", "trace"]), SECONDS)


@given(st.lists(st.tuples(PHASES, SECONDS), max_size=5), SECONDS)
def test_phases_with_other_and_idle_add_up_to_the_time_of_the_slots(jobs, waited):
    costs, total = Costs(), waited
    for phases, unaccounted in jobs:
        wall = sum(phases.values()) + unaccounted
        costs.add_job({"seconds": phases, "counts": {}}, wall)
        total += wall
    summary = costs.summary(total)
    assert sum(summary.values()) == pytest.approx(total, abs=0.005)
    assert summary["idle"] == pytest.approx(waited, abs=0.002)
    assert min(summary.values()) >= 0.0


def test_what_a_job_does_not_account_for_is_other():
    costs = Costs()
    costs.add_job({"seconds": {"train": 2.0}, "counts": {}}, 5.0)
    costs.add_job({"seconds": {"train": 1.0, "solve": 1.0}, "counts": {}}, 2.0)
    assert costs.summary(10.0) == {"train": 3.0, "other": 3.0, "idle": 3.0, "solve": 1.0}


def test_counts_of_jobs_are_summed():
    costs = Costs()
    for counts in ({"traces": 2}, {"traces": 1, "images_forwarded": 50}):
        costs.add_job({"seconds": {}, "counts": counts}, 0.0)
    assert costs.counts == {"traces": 3, "images_forwarded": 50}


def test_the_largest_cost_comes_first():
    costs = Costs()
    costs.add_job({"seconds": {"solve": 1.0, "forward": 3.0, "train": 2.0}, "counts": {}}, 6.0)
    assert list(costs.summary(6.0))[:3] == ["forward", "train", "solve"]


def test_what_a_stage_costs_is_kept_apart():
    costs = Costs()
    costs.add_job({"seconds": {}, "counts": {"multiply_adds_forwarded": 7}}, 2.0, "screen")
    costs.add_job({"seconds": {}, "counts": {"multiply_adds_trained": 5, "images_trained": 9}}, 1.0, "fine-tune")
    costs.add_job({"seconds": {}, "counts": {"multiply_adds_forwarded": 1}}, 0.5, "screen")
    assert costs.stages == {
        "screen": {"seconds": 2.5, "multiply_adds": 8},
        "fine-tune": {"seconds": 1.0, "multiply_adds": 5},
    }
    assert list(costs.stages) == ["screen", "fine-tune"]
