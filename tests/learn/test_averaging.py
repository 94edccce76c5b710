"""Averages of weights: which fits are taken into a soup, and that weights can be put back into a model."""

import numpy as np
import pytest

from autotl.learn.averaging import averaged, greedy_soup, set_trainable_weights, trainable_weights, use_averages


def points(*values):
    return [[np.array([value], np.float32), np.array([[value]], np.float32)] for value in values]


def distance_to(target):
    return lambda weights: float(abs(weights[0][0] - target))


def test_a_candidate_joins_only_if_the_average_with_it_scores_lower():
    soup, members = greedy_soup(points(4.0, 9.0, -2.0, 1.0), distance_to(1.0))
    assert members == [0, 2]  # 4 alone is off by 3, with 9 by 5.5, with -2 by 0; nothing is better than that
    assert [float(array.ravel()[0]) for array in soup] == [1.0, 1.0]


def test_members_count_the_same_whenever_they_joined():
    soup, members = greedy_soup(points(1.0, 2.0, 6.0), distance_to(3.0))
    assert members == [0, 1, 2]
    assert float(soup[0][0]) == pytest.approx(3.0)


def test_equal_scores_add_nobody():
    _, members = greedy_soup(points(1.0, 1.0, 1.0), distance_to(0.0))
    assert members == [0]


def test_the_candidates_stay_as_they_were():
    candidates = points(4.0, -2.0)
    greedy_soup(candidates, distance_to(1.0))
    assert [float(candidate[0][0]) for candidate in candidates] == [4.0, -2.0]


@pytest.fixture
def trainable():
    import keras

    from autotl.learn.training import compile_trainable

    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    return compile_trainable(model, list(model.trainable_variables))


@pytest.mark.keras
def test_weights_taken_from_a_fit_are_copies_and_can_be_put_back(trainable):
    inputs = np.ones((1, 3), np.float32)
    before = np.asarray(trainable.model.predict_on_batch(inputs))
    kept = trainable_weights(trainable)
    set_trainable_weights(trainable, [array + 1.0 for array in kept])
    np.testing.assert_allclose(np.asarray(trainable.model.predict_on_batch(inputs)), before + 4.0, rtol=1e-5)
    set_trainable_weights(trainable, kept)
    np.testing.assert_array_equal(np.asarray(trainable.model.predict_on_batch(inputs)), before)


@pytest.mark.keras
def test_averages_are_lent_to_the_model_and_taken_back(trainable):
    for number, average in enumerate(trainable.model.optimizer.averages):
        average.assign(np.full(average.shape, number + 5.0, np.float32))
    raw = trainable_weights(trainable)
    with averaged(trainable):
        assert [float(array.ravel()[0]) for array in trainable_weights(trainable)] == [5.0, 6.0]
    for have, want in zip(trainable_weights(trainable), raw, strict=True):
        np.testing.assert_array_equal(have, want)
    use_averages(trainable)
    assert [float(array.ravel()[0]) for array in trainable_weights(trainable)] == [5.0, 6.0]
