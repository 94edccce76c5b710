"""Mixed precision: who gets it, that it stays with one network, and that small gradients survive in float16."""

import numpy as np
import pytest

from autotl.errors import TrialError
from autotl.learn.precision import (
    FLOAT32,
    MIXED_BFLOAT16,
    MIXED_FLOAT16,
    computing_in,
    loss_scaling,
    precision_for,
    precision_of,
)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [(None, FLOAT32), ((6, 1), FLOAT32), ((7, 5), MIXED_FLOAT16), ((8, 0), MIXED_BFLOAT16), ((12, 0), MIXED_BFLOAT16)],
)
def test_a_gpu_gets_the_half_that_it_has_units_for(capability, precision):
    assert precision_for(capability) == precision


def test_what_a_job_asks_for_counts_and_must_be_known():
    assert precision_of({"precision": MIXED_FLOAT16}) == MIXED_FLOAT16
    with pytest.raises(TrialError, match="mixed_bfloat16, not 'half'"):
        precision_of({"precision": "half"})


@pytest.mark.keras
def test_the_policy_is_that_of_one_network_and_for_a_while():
    import keras

    def build():
        image = keras.Input((8, 8, 3))
        inner = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()])
        return keras.Model(image, keras.layers.ReLU()(inner(image)))

    network, images = build(), np.ones((2, 8, 8, 3), np.float32)
    before = network.get_config()
    exact = np.asarray(network(images))
    with computing_in(MIXED_BFLOAT16, network):
        assert keras.backend.standardize_dtype(network(images).dtype) == "bfloat16"
        assert {variable.dtype for variable in network.variables} == {"float32"}
        assert keras.backend.standardize_dtype(build()(images).dtype) == "float32"
    np.testing.assert_array_equal(np.asarray(network(images)), exact)
    assert network.get_config() == before


@pytest.mark.keras
def test_a_gradient_too_large_for_float16_makes_no_step_and_halves_the_scale():
    import keras

    variable = keras.Variable(np.ones(2, np.float32))
    optimizer = loss_scaling(keras.optimizers.SGD)(learning_rate=0.5)
    optimizer.build([variable])
    scale = float(optimizer.scale_loss(1.0))
    optimizer.apply([keras.ops.convert_to_tensor(np.array([np.inf, 1.0], np.float32))], [variable])
    np.testing.assert_array_equal(np.asarray(variable), [1.0, 1.0])
    assert float(optimizer.scale_loss(1.0)) == scale / 2
    gradient = np.array([1.0, 2.0], np.float32) * scale / 2
    optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    np.testing.assert_allclose(np.asarray(variable), [0.5, 0.0])
    assert scale / 2 < float(optimizer.scale_loss(1.0)) < scale / 1.99
