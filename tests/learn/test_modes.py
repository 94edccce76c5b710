"""Parts of a network that keep their mode, whatever the network around them does."""

import numpy as np
import pytest

from autotl.learn.modes import in_mode

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("always", [True, False])
def test_a_part_keeps_its_mode_in_training_and_in_inference(always):
    import keras

    inner = keras.Input((500,))
    part = keras.Model(inner, keras.layers.Dropout(0.5)(inner))
    inputs = keras.Input((500,))
    model = keras.Model(inputs, in_mode(part, always, "part")(inputs))
    ones = np.ones((2, 500), np.float32)
    drops = [bool((np.asarray(model(ones, training=training)) == 0).any()) for training in (True, False)]
    assert drops == [always, always]


def test_a_part_shares_its_variables():
    import keras

    inner = keras.Input((3,))
    part = keras.Model(inner, keras.layers.Dense(2)(inner))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, in_mode(part, False, "part")(inputs))
    assert [id(variable) for variable in model.variables] == [id(variable) for variable in part.variables]
