"""The optimizer: how far variables move, which of them decay, what their averages are, and that a reset forgets."""

import numpy as np
import pytest

from autotl.learn.optimizer import averaging_share, make_optimizer, reset_optimizer, set_step

pytestmark = pytest.mark.keras
STAGES = [3, 1, 2, 0, 0]


@pytest.fixture
def variables():
    """Four kernels in four stages, and a bias in the head."""
    import keras

    return [keras.Variable(np.ones((2, 2), np.float32)) for _ in range(4)] + [keras.Variable(np.ones(2, np.float32))]


def optimizer_of(variables, **numbers):
    optimizer = make_optimizer(STAGES)
    optimizer.build(variables)
    reset_optimizer(optimizer, 0.1, 0.01, **numbers)
    return optimizer


def step(optimizer, variables, gradient=0.5):
    """Apply equal gradients; how far the first entry of each variable has moved."""
    import keras

    before = [float(np.ravel(variable)[0]) for variable in variables]
    optimizer.apply([keras.ops.full(variable.shape, gradient) for variable in variables], variables)
    return np.array([float(np.ravel(variable)[0]) for variable in variables]) - before


def test_equal_gradients_move_variables_at_the_ratio_of_their_rates(variables):
    moved = step(optimizer_of(variables, layer_decay=0.5), variables)
    np.testing.assert_allclose(moved, [-0.0025, -0.01, -0.005, -0.1, -0.1], rtol=1e-3)


def test_without_layer_decay_the_whole_tail_has_one_rate_and_the_schedule_scales_all(variables):
    optimizer = optimizer_of(variables)
    set_step(optimizer, 0.5, 1.0)
    np.testing.assert_allclose(step(optimizer, variables), [-0.005, -0.005, -0.005, -0.05, -0.05], rtol=1e-3)


def test_kernels_decay_at_their_own_rate_and_vectors_do_not(variables):
    optimizer = optimizer_of(variables, layer_decay=0.5, weight_decay=2.0)
    np.testing.assert_allclose(
        step(optimizer, variables, gradient=0.0), [-0.005, -0.02, -0.01, -0.2, 0.0], rtol=1e-5, atol=1e-7
    )


def test_averages_are_unbiased_from_the_first_step_and_reach_back_as_far_as_told(variables):
    optimizer = optimizer_of(variables)
    values = []
    for number in range(60):
        set_step(optimizer, 1.0, averaging_share(number, 60))
        step(optimizer, variables)
        values.append(float(np.ravel(variables[3])[0]))
        mean = float(np.ravel(optimizer.averages[3])[0])
        kept = 1.0 - 1.0 / 12.0  # a fifth of 60 steps
        weights = kept ** np.arange(number, -1, -1)
        assert mean == pytest.approx(np.average(values, weights=weights), rel=1e-4, abs=1e-6)


def test_an_average_of_few_steps_still_reaches_back_ten():
    assert averaging_share(1000, 20) == pytest.approx(0.1)
    assert averaging_share(0, 20) == averaging_share(0, 1000) == 1.0


def test_a_reset_forgets_moments_averages_and_counts(variables):
    optimizer = optimizer_of(variables, layer_decay=0.5, weight_decay=0.1)
    first = step(optimizer, variables)
    for variable in variables:
        variable.assign(np.ones(variable.shape, np.float32))
    step(optimizer, variables, gradient=3.0)
    step(optimizer, variables, gradient=np.nan)  # a trial that diverged must not spoil those after it
    reset_optimizer(optimizer, 0.1, 0.01, layer_decay=0.5, weight_decay=0.1)
    for variable in variables:
        variable.assign(np.ones(variable.shape, np.float32))
    np.testing.assert_array_equal(step(optimizer, variables), first)


def test_all_numbers_are_variables_of_the_optimizer(variables):
    """So that backends which trace functions of state (JAX) see them change."""
    optimizer = optimizer_of(variables)
    known = {id(variable) for variable in optimizer.variables}
    assert {id(optimizer.rates), id(optimizer.decay), id(optimizer.new_share)} < known
    assert {id(average) for average in optimizer.averages} < known
    assert len(known) == len(optimizer.variables) == 2 + 3 + 3 * len(variables)
