"""The gate before fine-tuning: paired losses of two configurations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotl.search.bootstrap import chance_of_less, resampled_means
from autotl.search.finalists import Finalist
from autotl.search.gate import WORTHWHILE, falls_behind, judge

NOISE = np.random.default_rng(0).normal(0.0, 0.3, 400)


def finalist(losses, rows=None):
    losses = np.asarray(losses, dtype=float)
    rows = np.arange(len(losses)) if rows is None else np.asarray(rows)
    return Finalist({}, 1, losses, rows, {"log_loss": float(losses.mean())}, 1.0, 1)


def test_a_clear_gain_passes():
    verdict = judge(finalist(1.0 + NOISE), finalist(0.8 + NOISE[::-1]), seed=0)
    assert verdict.passed
    assert verdict.low > 0.0
    assert verdict.gain == pytest.approx(0.2, abs=0.05)


def test_a_clear_loss_does_not():
    verdict = judge(finalist(0.8 + NOISE), finalist(1.0 + NOISE[::-1]), seed=0)
    assert not verdict.passed
    assert verdict.high < WORTHWHILE


def test_what_is_uncertain_passes():
    verdict = judge(finalist(1.0 + NOISE), finalist(1.0 + NOISE[::-1]), seed=0)
    assert verdict.passed
    assert verdict.low < 0.0 < verdict.high


def test_only_images_that_both_have_scored_are_compared():
    frozen = finalist(np.full(10, 1.0), rows=range(10))
    tuned = finalist([0.5, 0.5, 9.0], rows=[2, 7, 40])
    verdict = judge(frozen, tuned, seed=0)
    assert (verdict.images, verdict.gain) == (2, 0.5)
    assert judge(frozen, finalist([0.5], rows=[40]), seed=0) is None


def interval(seed):
    verdict = judge(finalist(NOISE), finalist(np.zeros(len(NOISE))), seed)
    return verdict.low, verdict.high


def test_the_same_seed_gives_the_same_interval():
    assert interval(3) == interval(3) != interval(4)


def test_the_interval_is_that_of_the_normal_theory():
    error = NOISE.std() / np.sqrt(len(NOISE))
    assert interval(0) == pytest.approx((NOISE.mean() - 1.96 * error, NOISE.mean() + 1.96 * error), abs=0.2 * error)


def test_a_stage_may_ask_for_better_odds():
    known, tuned = finalist(1.0 + NOISE), finalist(1.0 + NOISE[::-1])
    assert judge(known, tuned, seed=0).passed
    uncertain = judge(known, tuned, seed=0, least=0.5)
    assert not uncertain.passed
    assert 0.025 < uncertain.chance < 0.5
    assert judge(known, finalist(0.8 + NOISE[::-1]), seed=0, least=0.5).passed


RIVAL = {"config": {"epochs": 2}, "curve": [1.3, 1.2, 1.1, 1.0]}  # two epochs of the first fold, then two folds


@pytest.mark.parametrize(
    ("step", "value", "sign", "behind"),
    [
        (2, 9.0, 1, False),  # an epoch: deeper training begins worse
        (3, 1.2, 1, True),
        (3, 1.0, 1, False),
        (4, 9.0, 1, False),
        (3, 1.2, -1, False),  # of an accuracy, more is better
        (3, 1.0, -1, True),
    ],
)
def test_a_default_that_is_no_better_on_its_first_fold_is_stopped_there(step, value, sign, behind):
    assert falls_behind(RIVAL, {"epochs": 2}, step, value, sign) is behind


@pytest.mark.parametrize(
    "other", [{"config": {"epochs": 3}, "curve": [1.0] * 5}, {"config": {}}, {**RIVAL, "curve": [1.0]}]
)
def test_rivals_that_were_scored_in_other_steps_stop_nothing(other):
    assert not falls_behind(other, {"epochs": 2}, 3, 9.0, 1)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(0, 100))
def test_means_of_draws_lie_within_the_values_and_chances_within_zero_and_one(values, seed):
    differences = np.array(values)
    means = resampled_means(differences, seed, draws=50)
    assert differences.min() - 1e-9 <= means.min() <= means.max() <= differences.max() + 1e-9
    assert 0.0 <= chance_of_less(differences, seed) <= 1.0
