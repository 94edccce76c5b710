"""Trials and time divided among stages."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autotl.search.budget import EARLY_STAGES_SHARE, FINISH_SHARE, stage_deadline, stage_trials
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
def test_a_total_is_kept_where_every_stage_can_have_a_trial(counts, total):
    shares = stage_trials(space_of(counts), total)
    assert list(shares) == [f"s{index}" for index in range(len(counts))]
    assert min(shares.values()) >= 1
    assert sum(shares.values()) == max(total, len(counts))


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
    assert stage_deadline(context, 0) is stage_deadline(context, 1) is None


def test_time_is_kept_for_later_stages_and_for_the_finish(make_context):
    context = make_context(space_of([1, 1]), budget=100.0)
    deadlines = [stage_deadline(context, index) for index in (0, 1)]
    assert deadlines == pytest.approx([100 * (1 - FINISH_SHARE) * EARLY_STAGES_SHARE, 100 * (1 - FINISH_SHARE)])


def test_a_single_stage_may_use_all_but_the_finish(make_context):
    assert stage_deadline(make_context(space_of([1]), budget=100.0), 0) == pytest.approx(100 * (1 - FINISH_SHARE))
