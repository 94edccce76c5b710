"""What is delivered under a budget of the model: the chosen finalist, or the next one that holds."""

from dataclasses import replace

import numpy as np
import pytest

from autotl.runs.events import read_events
from autotl.search.finalists import Finalist
from autotl.search.forecast import Forecast, Speed
from autotl.search.holding import fit_within_budget, holds
from autotl.search.model_budget import ModelBudget

SPACE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 3
[stage.parameters]
backbone = { choice = ["vgg16", "resnet50"] }
"""


class Retargeted:
    """An executor with other targets in the place of what it is given."""

    def __init__(self, executor):
        self.executor = executor

    def submit(self, job, slot_id):
        fake = "fit_finally" if job.id.startswith("final") else "cost_of_saved"
        self.executor.submit(replace(job, target=f"search_targets:{fake}"), slot_id)

    def __getattr__(self, name):
        return getattr(self.executor, name)


@pytest.fixture
def searched(make_context, make_space, targets_importable):
    def make(budget=None, **limits):
        context = make_context(make_space(SPACE), budget=budget)
        context.dispatcher.executor = Retargeted(context.dispatcher.executor)
        context.model_budget = ModelBudget(**limits)
        return context

    return make


def finalist(number, backbone, image_size):
    config = {"backbone": backbone, "image_size": image_size, "recipe": "probe"}
    return Finalist(config, number, np.zeros(0), np.zeros(0), {"log_loss": 0.5}, 1.0, 1)


CHOSEN, SAME, OTHER, FAST = (
    finalist(1, "vgg16", 64), finalist(2, "vgg16", 64), finalist(3, "vgg16", 32), finalist(4, "resnet50", 64)
)  # fmt: skip
ALL = [CHOSEN, SAME, OTHER, FAST]


def fits(context):
    return [event["number"] for event in read_events(context.run) if event["kind"] == "final"]


def test_without_a_budget_nothing_is_measured(searched):
    context = searched()
    chosen, fitted = fit_within_budget(context, CHOSEN, ALL)
    assert chosen is CHOSEN and "budgets" not in fitted


def test_a_model_that_holds_is_delivered_with_its_figures(searched):
    chosen, fitted = fit_within_budget(searched(most_milliseconds=64.0, most_bytes=40_000_000), CHOSEN, ALL)
    assert chosen is CHOSEN and holds(fitted["budgets"])
    assert fitted["budgets"] == {
        "format": "keras",
        "latency": {"budget": 64.0, "measured": 64.0, "unit": "milliseconds", "holds": True},
        "size": {"budget": 40_000_000, "measured": 40_000_000, "unit": "bytes", "holds": True},
    }


def test_where_it_does_not_hold_the_next_finalist_on_another_network_that_does_is_delivered(searched):
    context = searched(most_milliseconds=20.0)
    chosen, fitted = fit_within_budget(context, CHOSEN, ALL)
    assert chosen is FAST and fitted["budgets"]["latency"]["measured"] == 6.4
    assert fitted["model"].endswith("resnet50-64.keras")
    assert len(fits(context)) == 3  # the second one is on the network of the first


def test_where_none_holds_the_chosen_one_is_delivered_and_it_is_said(searched, told):
    chosen, fitted = fit_within_budget(searched(most_milliseconds=1.0), CHOSEN, ALL)
    assert chosen is CHOSEN and fitted["model"].endswith("vgg16-64.keras")
    assert not holds(fitted["budgets"])
    notes = [event["message"] for event in told if event["event"] == "note"]
    assert "trial 1 was fitted and takes 64 ms and 40.00 MB: over the budget" in notes
    assert notes[-1] == "no finalist holds 1 ms; the chosen one is delivered"


def test_another_fit_is_made_only_where_the_time_allows_it(searched):
    context = searched(budget=100.0, most_milliseconds=20.0)
    slow = Speed(1.0, 64, (0.0,))
    context.forecast = Forecast({"vgg16": slow, "resnet50": slow}, images=1000, test_images=1000)
    chosen, fitted = fit_within_budget(context, CHOSEN, ALL)
    assert chosen is CHOSEN and not holds(fitted["budgets"])
    assert len(fits(context)) == 1
