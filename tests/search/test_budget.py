"""Trials and time divided among stages."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autotl.search.budget import (
    FINISH_SHARE,
    FROZEN_SHARE,
    TRAINED_SHARE,
    affordable_finalists,
    stage_deadline,
    stage_trials,
)
from autotl.search.forecast import Forecast, Speed
from autotl.space.schema import SearchSpace, Stage

STAGES = st.lists(st.integers(1, 60), min_size=1, max_size=5)


def space_of(counts):
    stages = [Stage(name=f"s{index}", recipe="probe", trials=count) for index, count in enumerate(counts)]
    return SearchSpace(stages=tuple(stages))


@given(STAGES)
def test_without_a_total_every_stage_has_its_own_number(counts):
    assert list(stage_trials(space_of(counts), None).values()) == counts


@given(STAGES, st.integers(1, 200))
@example([100, 1, 1, 1, 1], 5)
@example([3, 10, 8, 4], 2)
def test_a_total_is_kept_and_no_stage_has_a_trial_before_those_in_front_of_it(counts, total):
    shares = stage_trials(space_of(counts), total)
    assert list(shares) == [f"s{index}" for index in range(len(counts))]
    assert sum(shares.values()) == total
    assert [share >= 1 for share in shares.values()] == [place < total for place in range(len(counts))]


def test_a_total_is_divided_in_the_proportion_of_the_space():
    assert stage_trials(space_of([10, 30]), 20) == {"s0": 5, "s1": 15}
    assert stage_trials(space_of([10, 30]), 400) == {"s0": 100, "s1": 300}


def test_a_portfolio_is_tried_once_for_every_backbone_that_competes(make_space):
    space = make_space("""
[[stage]]
name = "screen"
recipe = "probe"
trials = 1
[stage.parameters]
backbone = { choice = ["installed"] }
[[stage.first]]
[[stage.first]]
backbone = "vgg16"

[[stage]]
name = "probe"
recipe = "probe"
trials = 1
keep_backbones = 2
[stage.parameters]
backbone = { choice = ["installed"] }
[[stage.first]]

[[stage]]
name = "finetune"
recipe = "finetune"
trials = 1
[[stage.first]]
[[stage.first]]
""")
    assert stage_trials(space, None, ["lite0", "lite1", "vgg16"]) == {"screen": 4, "probe": 2, "finetune": 2}


def test_without_a_budget_there_is_no_deadline(make_context):
    context = make_context(space_of([1, 1]))
    assert stage_deadline(context, 0, None) is stage_deadline(context, 1, None) is None


def test_time_is_kept_for_later_stages_and_for_the_finish(make_context):
    context = make_context(space_of([1, 1]), budget=100.0)
    deadlines = [stage_deadline(context, index, None) for index in (0, 1)]
    assert deadlines == pytest.approx([100 * (1 - FINISH_SHARE) * FROZEN_SHARE, 100 * (1 - FINISH_SHARE)])


def test_stages_that_train_have_more_than_those_on_frozen_features(make_context):
    recipes = ["probe", "finetune", "finetune"]
    stages = [Stage(name=f"s{index}", recipe=recipe, trials=1) for index, recipe in enumerate(recipes)]
    context = make_context(SearchSpace(stages=tuple(stages)), budget=100.0)
    deadlines = [stage_deadline(context, index, None) for index in range(3)]
    assert deadlines == pytest.approx([75 * FROZEN_SHARE, 75 * TRAINED_SHARE, 75])


def test_after_a_sample_the_next_stage_may_use_all_that_there_is(make_context):
    context = make_context(space_of([1, 1, 1]), budget=100.0)
    best = {"config": {"backbone": "b", "recipe": "probe", "image_size": 32}, "seconds": 1.0}
    shared = stage_deadline(context, 1, best)
    assert stage_deadline(context, 1, {**best, "images": 500}) == pytest.approx(shared / FROZEN_SHARE)


def test_a_single_stage_may_use_all_but_the_finish(make_context):
    context = make_context(space_of([1]), budget=100.0)
    assert stage_deadline(context, 0, None) == pytest.approx(100 * (1 - FINISH_SHARE))


def trial_of(seconds, **config):
    return {"seconds": seconds, "config": {"backbone": "net", "image_size": 100, "recipe": "probe", **config}}


@pytest.fixture
def timed(make_context):
    """A budget of 1000 s, a network that takes 10 ms an image, 1000 images and 500 to test."""
    context = make_context(space_of([1]), budget=1000.0)
    context.forecast = Forecast({"net": Speed(0.01, 100, (0.8, 0.2, 0.0))}, 1000, 500)
    return context


def test_what_is_kept_is_what_confirming_and_finishing_the_best_will_take(timed):
    cheap = stage_deadline(timed, 0, trial_of(1.0))
    dear = stage_deadline(timed, 0, trial_of(60.0, recipe="finetune", freeze_depth=0.67, epochs=10))
    assert 900 < cheap < 1000
    assert 750 <= dear < cheap


def test_a_final_fit_that_takes_long_is_kept_in_full(timed):
    long = trial_of(400.0, recipe="finetune", freeze_depth=0.0, epochs=10)
    assert stage_deadline(timed, 0, long) < 1000 - timed.forecast.finish_seconds(long["config"])


def test_only_finalists_that_can_be_paid_for_are_fitted_again(timed):
    candidates = [trial_of(300.0), trial_of(300.0), trial_of(300.0), trial_of(300.0)]
    assert affordable_finalists(timed, candidates) == 2
    assert affordable_finalists(timed, [trial_of(3000.0)]) == 0


def test_without_a_budget_all_finalists_are_fitted_again(make_context):
    assert affordable_finalists(make_context(space_of([1])), [trial_of(9e9)] * 3) == 3
