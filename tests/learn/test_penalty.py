"""The walk to the best penalty against a fine grid of cold solves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.data.folds import make_folds
from autotl.learn.linear import fit_basis, fit_standardiser, share_rows, solve_heads
from autotl.learn.metrics import fit_temperature, log_loss, softmax
from autotl.learn.penalty import HIGHEST, LOWEST, best_penalty, guess_penalty, held_out_logits
from autotl.learn.ridge import best_ridge
from autotl.learn.tables import ROOM, Room


def make_problem(noise):
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(4), 40)
    features = generator.normal(size=(4, 80))[labels] + noise * generator.normal(size=(160, 80))
    standardised = fit_standardiser(features)(features.astype(np.float32))
    folds = make_folds(labels, np.arange(160), 5, seed=0)
    seen = np.ones((5, 160), bool)
    for number, held_out in enumerate(folds):
        seen[number, held_out] = False
    return fit_basis(standardised), np.eye(4, dtype=np.float32)[labels], share_rows(seen), labels, folds


def measure(problem, penalty):
    basis, targets, shares, labels, folds = problem
    logits = held_out_logits(basis, solve_heads(basis, targets, shares, penalty), folds)
    return log_loss(softmax(logits / fit_temperature(logits, labels)), labels)


@pytest.mark.parametrize("noise", [1.0, 3.0])
@pytest.mark.parametrize("guess", [1e-6, 1e-4, 1e-2])
def test_wherever_the_walk_begins_it_ends_close_to_the_best_of_a_grid(noise, guess):
    problem = make_problem(noise)
    best, weights = best_penalty(*problem, guess)
    assert LOWEST <= best <= HIGHEST * 1.001
    grid = min(measure(problem, penalty) for penalty in np.geomspace(LOWEST, HIGHEST, 9))
    assert measure(problem, best) < grid + 4e-3
    logits = held_out_logits(problem[0], weights, problem[4])
    cold = held_out_logits(problem[0], solve_heads(*problem[:3], best), problem[4])
    np.testing.assert_allclose(softmax(logits), softmax(cold), atol=0.03)


@pytest.mark.parametrize("noise", [1.0, 2.0, 3.0])
def test_ridge_regression_guesses_a_penalty_that_is_nearly_as_good(noise):
    problem = make_problem(noise)
    guess = guess_penalty(best_ridge(problem[0], problem[3], np.arange(160), classes=4))
    assert measure(problem, guess) < measure(problem, best_penalty(*problem, guess)[0]) + 0.03


@given(st.integers(1, 60_000))
@settings(deadline=None, max_examples=10)
def test_held_out_logits_come_block_by_block_from_a_file(block):
    features, weights, folds = held_out_problem()
    whole, blockwise = (
        held_out_logits(fit_basis(features, room), weights, folds) for room in (ROOM, Room(memory=0, block=block))
    )
    np.testing.assert_allclose(blockwise, whole, atol=1e-4)


def held_out_problem():
    generator = np.random.default_rng(2)
    features = generator.normal(size=(90, 20)).astype(np.float32)
    return features, generator.normal(size=(4, 3, 21)).astype(np.float32), np.split(generator.permutation(90), 3)
