"""Weights of classes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from autotl.learn.balance import class_weights


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_every_class_that_occurs_weighs_the_same_and_the_mean_over_rows_is_one(drawn):
    labels = np.array(drawn)
    weights = class_weights(labels, 6)
    assert weights.shape == (6,)
    np.testing.assert_allclose(weights[labels].mean(), 1.0, rtol=1e-5)
    sums = [weights[labels[labels == label]].sum() for label in np.unique(labels)]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)


def test_the_weights_are_scikit_learns():
    labels = np.array([0] * 30 + [1] * 6 + [2] * 3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights(labels, 3), expected, rtol=1e-6)


def test_a_class_without_rows_has_the_weight_one():
    np.testing.assert_array_equal(class_weights(np.array([0, 0, 2, 2]), 4), [1, 1, 1, 1])
