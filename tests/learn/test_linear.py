"""The convex head against scikit-learn's solver, on the same problem."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from autotl.learn.linear import Basis, fit_basis, fit_linear, fit_linear_subsets, fit_standardiser
from autotl.learn.metrics import softmax


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(4, size=240)
    centres = generator.normal(size=(4, 30))
    features = (centres[labels] + generator.normal(scale=2.0, size=(240, 30))) @ generator.normal(size=(30, 30))
    return features.astype(np.float32), labels


def test_the_solution_is_scikit_learns(problem):
    features, labels = problem
    standardised = fit_standardiser(features)(features)
    penalty = 1e-3
    ours = fit_linear(standardised, np.eye(4, dtype=np.float32)[labels], penalty)
    # scikit-learn minimises C * sum of losses + ||W||^2 / 2
    theirs = LogisticRegression(C=1.0 / (penalty * len(labels)), tol=1e-8, max_iter=5000).fit(standardised, labels)
    np.testing.assert_allclose(softmax(ours.logits(standardised)), theirs.predict_proba(standardised), atol=5e-3)


def test_the_basis_changes_the_way_but_not_the_optimum(problem):
    features, labels = problem
    standardised = fit_standardiser(features)(features)
    targets = np.eye(4, dtype=np.float32)[labels]
    plain = Basis(np.eye(30, dtype=np.float32), np.full(30, float((standardised**2).mean()), np.float32))
    everything = np.ones((1, len(labels)), bool)
    first = fit_linear(standardised, targets, 1e-3)
    second = fit_linear_subsets(standardised, targets, everything, 1e-3, plain)[0]
    np.testing.assert_allclose(softmax(first.logits(standardised)), softmax(second.logits(standardised)), atol=1e-2)


def test_standardised_features_have_about_unit_length_and_dead_features_stay_small():
    features = np.random.default_rng(1).normal(3.0, 2.0, size=(500, 64)).astype(np.float32)
    features[:, 5] = 7.0
    standardised = fit_standardiser(features)(features)
    assert np.linalg.norm(standardised, axis=1).mean() == pytest.approx(0.9, abs=0.1)
    assert np.abs(standardised[:, 5]).max() < 1e-5


def test_a_heavier_penalty_gives_a_smaller_kernel(problem):
    features, labels = problem
    standardised = fit_standardiser(features)(features)
    norms = [
        np.linalg.norm(fit_linear(standardised, np.eye(4, dtype=np.float32)[labels], penalty).kernel)
        for penalty in (1e-4, 1e-2, 1.0)
    ]
    assert norms[0] > norms[1] > norms[2]


def test_with_fewer_rows_than_features_the_smaller_problem_has_the_same_solution():
    generator = np.random.default_rng(2)
    labels = generator.integers(3, size=40)
    features = (generator.normal(size=(3, 120))[labels] + generator.normal(size=(40, 120))).astype(np.float32)
    standardised, targets = fit_standardiser(features)(features), np.eye(3, dtype=np.float32)[labels]
    basis = fit_basis(standardised)
    assert basis.vectors.shape[1] < 40  # centred rows span one dimension less
    whole = Basis(np.eye(120, dtype=np.float32), np.full(120, 1 / 120, np.float32))
    small = fit_linear(standardised, targets, 1e-3)
    large = fit_linear_subsets(standardised, targets, np.ones((1, 40), bool), 1e-3, whole)[0]
    np.testing.assert_allclose(softmax(small.logits(standardised)), softmax(large.logits(standardised)), atol=1e-2)


def test_heads_of_subsets_are_those_of_their_own_fits(problem):
    features, labels = problem
    standardised, targets = fit_standardiser(features)(features), np.eye(4, dtype=np.float32)[labels]
    subsets = np.random.default_rng(3).random((3, len(labels))) < 0.7
    together = fit_linear_subsets(standardised, targets, subsets, 1e-3, fit_basis(standardised))
    for head, rows in zip(together, subsets, strict=True):
        alone = fit_linear(standardised[rows], targets[rows], 1e-3)
        np.testing.assert_allclose(softmax(head.logits(standardised)), softmax(alone.logits(standardised)), atol=2e-2)
