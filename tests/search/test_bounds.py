"""The ratio of a search's cost to the least possible, worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotl.search.bounds import cost_units, lower_bound_units, rho_idle, screening_multiply_adds, summarise
from autotl.search.costs import Costs

IMAGES = 100
SMALL, LARGE = 10, 30  # multiplications of one image


def trial(stage, backbone, **fields):
    return {"stage": stage, "config": {"backbone": backbone}, "state": "complete", **fields}


RESULTS = [
    trial("screen", "small", multiply_adds=SMALL),
    trial("screen", "large", multiply_adds=LARGE),
    trial("screen", "broken", state="failed"),
    trial("probe", "small", multiply_adds=2 * SMALL),  # at a larger size
]


def counts(forwarded=0, trained=0):
    return {"multiply_adds_forwarded": forwarded, "multiply_adds_trained": trained, "images_forwarded": 1}


def searched():
    costs = Costs()
    costs.add_job({"seconds": {}, "counts": counts(forwarded=IMAGES * (SMALL + LARGE))}, 4.0, "screen")
    costs.add_job({"seconds": {}, "counts": counts(trained=8000)}, 10.0, "fine-tune")
    costs.add_job({"seconds": {}, "counts": counts(forwarded=1000, trained=3000)}, 6.0, "final")
    return costs


def test_every_backbone_counts_once_at_the_size_it_was_screened_at():
    assert screening_multiply_adds(RESULTS) == {"small": SMALL, "large": LARGE}
    assert screening_multiply_adds([]) == {}


def test_of_several_screened_sizes_the_cheapest_is_enough():
    again = trial("screen", "large", multiply_adds=LARGE // 2)
    assert screening_multiply_adds([*RESULTS[:2], again])["large"] == LARGE // 2


def test_the_bound_is_a_look_at_each_backbone_and_one_run_of_the_best():
    screened = {"small": SMALL, "large": LARGE}
    unit = IMAGES * LARGE
    assert lower_bound_units(screened, IMAGES, counts(), unit) == pytest.approx(4 / 3)
    assert lower_bound_units(screened, IMAGES, counts(1000, 3000), unit) == pytest.approx(8 / 3)


def test_a_result_says_what_the_search_cost_and_where():
    found = summarise(
        searched(), RESULTS, counts(1000, 3000), images=IMAGES, multiply_adds=LARGE, slot_seconds=2 * 20.0
    )
    assert found == {
        "unit_multiply_adds": 3000,
        "cost_units": 5.3333,  # 16 000 / 3000
        "lower_bound_units": 2.6667,  # (4000 + 4000) / 3000
        "rho_alg": 2.0,
        "rho_idle": 2.0,
        "stages": {
            "screen": {"cost_units": 1.3333, "seconds": 4.0},
            "fine-tune": {"cost_units": 2.6667, "seconds": 10.0},
            "final": {"cost_units": 1.3333, "seconds": 6.0},
        },
    }


def test_a_search_that_does_no_more_than_it_must_has_ratio_one():
    costs = Costs()
    costs.add_job({"seconds": {}, "counts": counts(forwarded=IMAGES * (SMALL + LARGE))}, 1.0, "screen")
    costs.add_job({"seconds": {}, "counts": counts(trained=700)}, 1.0, "final")
    found = summarise(costs, RESULTS, counts(trained=700), images=IMAGES, multiply_adds=SMALL, slot_seconds=2.0)
    assert found["rho_alg"] == 1.0
    assert found["rho_idle"] == 1.0


def test_what_is_unknown_is_none_and_no_division_by_zero():
    found = summarise(Costs(), [], {}, images=IMAGES, multiply_adds=0, slot_seconds=3.0)
    assert {found[name] for name in ("cost_units", "lower_bound_units", "rho_alg", "rho_idle")} == {None}
    assert cost_units(counts(5), 0) is None
    assert rho_idle(3.0, 0.0) is None


@given(st.integers(1, 10**6), st.integers(1, 10**9), st.integers(0, 10**12), st.integers(1, 1000))
def test_the_unit_cancels_out_of_the_ratio(images, multiply_adds, work, scale):
    costs = Costs()
    costs.add_job({"seconds": {}, "counts": counts(forwarded=work)}, 1.0)
    bound = lower_bound_units({"one": multiply_adds}, images, {}, images * multiply_adds)
    rescaled = lower_bound_units({"one": multiply_adds}, images, {}, scale * images * multiply_adds)
    assert bound == pytest.approx(1.0)
    ratio = cost_units(costs.counts, images * multiply_adds) / bound
    again = cost_units(costs.counts, scale * images * multiply_adds) / rescaled
    assert ratio == pytest.approx(again)
