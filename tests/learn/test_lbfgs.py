"""The minimiser against scipy's."""

from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from autotl.learn.lbfgs import minimise


def ill_conditioned_logistic():
    generator = np.random.default_rng(0)
    features = (generator.normal(size=(200, 30)) * np.geomspace(1, 0.05, 30)).astype(np.float32)
    labels = np.where(generator.random(200) < 0.5, 1.0, -1.0).astype(np.float32)

    def function(weights):
        margins = labels * (features @ weights)
        value = float(np.logaddexp(0.0, -margins).mean(dtype=np.float64) + 0.005 * float(weights @ weights))
        slope = -labels / (1.0 + np.exp(margins)) / len(labels)
        return value, (features.T @ slope + 0.01 * weights).astype(np.float32)

    return function


def test_it_finds_scipys_minimum():
    function = ill_conditioned_logistic()
    ours = minimise(function, np.zeros(30, np.float32), tolerance=1e-9)
    theirs = minimize(lambda x: (function(x.astype(np.float32))[0], function(x.astype(np.float32))[1].astype(float)),
                      np.zeros(30), jac=True, method="L-BFGS-B", options={"ftol": 1e-12, "gtol": 1e-8}).x  # fmt: skip
    assert abs(function(ours)[0] - function(theirs.astype(np.float32))[0]) < 1e-6
    np.testing.assert_allclose(ours, theirs, atol=5e-3)


def test_a_quadratic_is_solved_from_afar():
    curvatures = np.geomspace(0.01, 1.0, 20).astype(np.float32)
    target = np.arange(20, dtype=np.float32)

    def function(point):
        return float(0.5 * curvatures @ (point - target) ** 2), curvatures * (point - target)

    found = minimise(function, np.full(20, 100.0, np.float32), tolerance=1e-10)
    np.testing.assert_allclose(found, target, atol=1e-2)


def test_more_iterations_never_give_a_larger_value():
    function = ill_conditioned_logistic()
    values = [function(minimise(function, np.zeros(30, np.float32), iterations=n))[0] for n in range(1, 12)]
    assert all(later <= earlier for earlier, later in pairwise(values))


def test_at_the_minimum_it_stays():
    zero = np.zeros(5, np.float32)
    np.testing.assert_array_equal(minimise(lambda point: (float(point @ point), 2 * point), zero), zero)
