"""First weights depend on a seed alone, and seeding leaves TensorFlow's graphs as they are."""

import numpy as np
import pytest

from autotl.learn.seeding import seed_building

pytestmark = pytest.mark.keras


def weights(seed):
    import keras

    seed_building(seed)
    stack = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(3, kernel_initializer="he_normal")])
    stack.build((None, 5))
    return np.concatenate([kernel.ravel() for kernel in stack.get_weights()])


def test_first_weights_are_those_of_the_seed_and_of_keras():
    import keras

    first, other, again = weights(1), weights(2), weights(1)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    keras.utils.set_random_seed(1)
    layer = keras.layers.Dense(4)
    layer.build((None, 5))
    np.testing.assert_array_equal(layer.get_weights()[0].ravel(), first[:20])


def test_tensorflows_own_seed_stays_for_setting_it_throws_away_what_was_made_of_graphs():
    import keras

    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends have no such seed")
    import tensorflow as tf

    tf.random.set_seed(11)
    expected = tf.random.uniform([3]).numpy()
    tf.random.set_seed(11)
    seed_building(5)
    np.testing.assert_array_equal(tf.random.uniform([3]).numpy(), expected)
