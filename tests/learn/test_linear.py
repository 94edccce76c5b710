"""The convex head against scikit-learn's solver, on the same problem."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from autotl.learn import linear
from autotl.learn.balance import class_weights
from autotl.learn.linear import (
    Basis,
    fit_basis,
    fit_linear,
    fit_standardiser,
    make_heads,
    share_rows,
    solve_heads,
)
from autotl.learn.metrics import softmax
from autotl.learn.tables import ROOM, Room


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(4, size=240)
    centres = generator.normal(size=(4, 30))
    features = (centres[labels] + generator.normal(scale=2.0, size=(240, 30))) @ generator.normal(size=(30, 30))
    return fit_standardiser(features)(features.astype(np.float32)), labels


def one_hot(labels):
    return np.eye(labels.max() + 1, dtype=np.float32)[labels]


def everything(labels):
    return share_rows(np.ones((1, len(labels)), bool))


def plain_basis(features):
    """Coordinates as they are: no change of variables."""
    size = features.shape[1]
    rows = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
    return Basis(np.eye(size, dtype=np.float32), np.full(size, (features**2).mean(), np.float32), rows)


def assert_same_predictions(one, other, features, tolerance):
    np.testing.assert_allclose(softmax(one.logits(features)), softmax(other.logits(features)), atol=tolerance)


def test_the_solution_is_scikit_learns(problem):
    features, labels = problem
    penalty = 1e-3
    ours = fit_linear(features, one_hot(labels), penalty)
    # scikit-learn minimises C * sum of losses + ||W||^2 / 2
    theirs = LogisticRegression(C=1.0 / (penalty * len(labels)), tol=1e-8, max_iter=5000).fit(features, labels)
    np.testing.assert_allclose(softmax(ours.logits(features)), theirs.predict_proba(features), atol=5e-3)


def test_the_basis_changes_the_way_but_not_the_optimum(problem):
    features, labels = problem
    plain = plain_basis(features)
    first = fit_linear(features, one_hot(labels), 1e-3)
    second = make_heads(plain, solve_heads(plain, one_hot(labels), everything(labels), 1e-3))[0]
    assert_same_predictions(first, second, features, 1e-2)


def test_standardised_features_have_about_unit_length_and_dead_features_stay_small():
    features = np.random.default_rng(1).normal(3.0, 2.0, size=(500, 64)).astype(np.float32)
    features[:, 5] = 7.0
    standardised = fit_standardiser(features)(features)
    assert np.linalg.norm(standardised, axis=1).mean() == pytest.approx(0.9, abs=0.1)
    assert np.abs(standardised[:, 5]).max() < 1e-5


def test_a_heavier_penalty_gives_a_smaller_kernel(problem):
    features, labels = problem
    norms = [np.linalg.norm(fit_linear(features, one_hot(labels), penalty).kernel) for penalty in (1e-4, 1e-2, 1.0)]
    assert norms[0] > norms[1] > norms[2]


def test_with_fewer_rows_than_features_the_smaller_problem_has_the_same_solution():
    generator = np.random.default_rng(2)
    labels = generator.integers(3, size=40)
    features = (generator.normal(size=(3, 120))[labels] + generator.normal(size=(40, 120))).astype(np.float32)
    standardised = fit_standardiser(features)(features)
    basis = fit_basis(standardised)
    assert basis.vectors.shape[1] < 40  # centred rows span one dimension less
    np.testing.assert_allclose(basis.rows[:, :-1], standardised @ basis.vectors, atol=1e-4)
    whole = plain_basis(standardised)
    small = fit_linear(standardised, one_hot(labels), 1e-3)
    large = make_heads(whole, solve_heads(whole, one_hot(labels), everything(labels), 1e-3))[0]
    assert_same_predictions(small, large, standardised, 1e-2)


def test_heads_of_subsets_are_those_of_their_own_fits(problem):
    features, labels = problem
    subsets = np.random.default_rng(3).random((3, len(labels))) < 0.7
    basis = fit_basis(features)
    together = make_heads(basis, solve_heads(basis, one_hot(labels), share_rows(subsets), 1e-3))
    for head, rows in zip(together, subsets, strict=True):
        alone = fit_linear(features[rows], one_hot(labels)[rows], 1e-3)
        assert_same_predictions(head, alone, features, 2e-2)


@pytest.mark.parametrize("origin", [1e-1, 1e-2, 1e-5])
def test_from_the_solution_of_another_penalty_the_same_optimum_is_reached(problem, origin):
    features, labels = problem
    basis = fit_basis(features)
    shares = share_rows(np.random.default_rng(3).random((3, len(labels))) < 0.7)

    def solve(penalty, start=None):
        return solve_heads(basis, one_hot(labels), shares, penalty, start, tolerance=1e-8)

    cold, warm = make_heads(basis, solve(1e-3)), make_heads(basis, solve(1e-3, solve(origin)))
    for one, other in zip(cold, warm, strict=True):
        assert_same_predictions(one, other, features, 1e-3)


def test_a_weight_of_two_is_the_row_twice(problem):
    features, labels = problem
    twice = np.random.default_rng(4).random(len(labels)) < 0.3
    weighted = fit_linear(features, one_hot(labels), 1e-3, np.where(twice, 2.0, 1.0))
    repeated = np.repeat(np.arange(len(labels)), np.where(twice, 2, 1))
    duplicated = fit_linear(features[repeated], one_hot(labels)[repeated], 1e-3)
    assert_same_predictions(weighted, duplicated, features, 5e-3)


def test_balanced_weights_are_scikit_learns(problem):
    features, labels = problem
    kept = (labels > 0) | (np.arange(len(labels)) % 5 == 0)
    features, labels = features[kept], labels[kept]
    ours = fit_linear(features, one_hot(labels), 1e-3, class_weights(labels, 4)[labels])
    theirs = LogisticRegression(C=1.0 / (1e-3 * len(labels)), class_weight="balanced", tol=1e-8, max_iter=5000)
    expected = theirs.fit(features, labels).predict_proba(features)
    np.testing.assert_allclose(softmax(ours.logits(features)), expected, atol=5e-3)


def test_rows_are_taken_in_blocks_without_changing_the_solution(problem, monkeypatch):
    features, labels = problem
    whole = fit_linear(features, one_hot(labels), 1e-3)
    monkeypatch.setattr(linear, "BLOCK_CELLS", 4 * 70)  # blocks of 70 rows, the last of 30
    assert_same_predictions(whole, fit_linear(features, one_hot(labels), 1e-3), features, 2e-3)


@given(st.integers(1, 2000), st.floats(-1e4, 1e4), st.integers(2, 60))
def test_the_statistics_of_blocks_are_those_of_the_whole(block, offset, count):
    features = (np.random.default_rng(count).normal(size=(count, 3)) + offset).astype(np.float32)
    expected = features.astype(np.float64)
    found = fit_standardiser(features, Room(block=block))
    deviation = expected.std(axis=0)
    floored = deviation + 0.1 * np.sqrt(np.mean(deviation**2)) + 1e-6
    np.testing.assert_allclose(found.mean, expected.mean(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.scale, 1.0 / (floored * np.sqrt(3)), rtol=2e-3)


@given(st.sampled_from([(90, 20), (40, 60)]), st.integers(1, 9000))
@settings(deadline=None, max_examples=20)
def test_rows_in_a_file_have_the_solution_of_rows_in_memory(shape, block):
    generator = np.random.default_rng(5)
    labels = generator.integers(3, size=shape[0])
    features = (generator.normal(size=(3, shape[1]))[labels] + generator.normal(size=shape)).astype(np.float32)
    shares = share_rows(generator.random((2, shape[0])) < 0.7)
    found = []
    for room in (ROOM, Room(memory=0, block=block)):
        standardiser = fit_standardiser(features, room)
        basis = fit_basis(standardiser(features), room)
        rough = solve_heads(basis, one_hot(labels), shares, 1e-2)
        weights = solve_heads(basis, one_hot(labels), shares, 1e-3, rough, tolerance=1e-8)
        found.append([head.logits(standardiser(features)) for head in make_heads(basis, weights)])
    assert isinstance(basis.rows, np.memmap) == (shape[0] > shape[1])
    np.testing.assert_allclose(softmax(found[1]), softmax(found[0]), atol=2e-3)
