"""The convex head against scikit-learn's solver, on the same problem."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from autotl.learn.linear import Basis, fit_basis, fit_linear, fit_standardiser
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
    ours = fit_linear(standardised, np.eye(4, dtype=np.float32)[labels], penalty, fit_basis(standardised))
    # scikit-learn minimises C * sum of losses + ||W||^2 / 2
    theirs = LogisticRegression(C=1.0 / (penalty * len(labels)), tol=1e-8, max_iter=5000).fit(standardised, labels)
    np.testing.assert_allclose(softmax(ours.logits(standardised)), theirs.predict_proba(standardised), atol=5e-3)


def test_the_basis_changes_the_way_but_not_the_optimum(problem):
    features, labels = problem
    standardised = fit_standardiser(features)(features)
    targets = np.eye(4, dtype=np.float32)[labels]
    plain = Basis(np.eye(30, dtype=np.float32), np.full(30, float((standardised**2).mean()), np.float32))
    first = fit_linear(standardised, targets, 1e-3, fit_basis(standardised))
    second = fit_linear(standardised, targets, 1e-3, plain)
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
    basis = fit_basis(standardised)
    norms = [
        np.linalg.norm(fit_linear(standardised, np.eye(4, dtype=np.float32)[labels], penalty, basis).kernel)
        for penalty in (1e-4, 1e-2, 1.0)
    ]
    assert norms[0] > norms[1] > norms[2]
