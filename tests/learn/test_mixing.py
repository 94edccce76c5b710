"""Mixup: inputs, targets and weights are mixed in one proportion, and the loss with them."""

import numpy as np
import pytest

from autotl.learn.mixing import mix


def batch(count=6, dtype=np.float32):
    generator = np.random.default_rng(0)
    inputs = generator.integers(0, 256, (count, 2, 2, 3)).astype(dtype)
    targets = np.eye(count, dtype=np.float32)
    return inputs, targets, np.ones(count, np.float32)


def test_targets_say_of_which_inputs_a_mixture_is_made():
    inputs, targets, weights = batch()
    mixed, blended, total = mix(inputs, targets, weights, 1.0, np.random.default_rng(1))
    np.testing.assert_allclose(mixed, np.tensordot(blended, inputs, axes=1), rtol=1e-4)
    np.testing.assert_allclose(blended.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)
    assert (blended > 0).sum(axis=1).max() == 2
    assert (mixed.dtype, blended.dtype, total.dtype) == (np.float32, np.float32, np.float32)


def test_images_stay_bytes():
    inputs, targets, weights = batch(dtype=np.uint8)
    mixed, blended, _ = mix(inputs, targets, weights, 1.0, np.random.default_rng(1))
    assert mixed.dtype == np.uint8
    np.testing.assert_allclose(mixed, np.tensordot(blended, inputs.astype(float), axes=1), atol=0.51)


def test_the_loss_of_a_mixture_is_the_mixture_of_the_losses():
    inputs, targets, _ = batch()
    weights = np.array([1, 2, 3, 4, 5, 6], np.float32)
    _, even, _ = mix(inputs, targets, np.ones(6, np.float32), 1.0, np.random.default_rng(1))
    _, blended, total = mix(inputs, targets, weights, 1.0, np.random.default_rng(1))
    log_probabilities = np.log(np.random.default_rng(2).dirichlet(np.ones(6), size=6))
    expected = (even * weights * log_probabilities).sum(axis=1)
    np.testing.assert_allclose(total * (blended * log_probabilities).sum(axis=1), expected, rtol=1e-5)


def test_a_small_alpha_mixes_little_and_a_seed_repeats_itself():
    def largest(alpha, seed):
        _, blended, _ = mix(*batch(), alpha, np.random.default_rng(seed))
        return float(blended.max())

    shares = [[largest(alpha, seed) for seed in range(200)] for alpha in (0.1, 8.0)]
    assert np.mean(shares[0]) > np.mean(shares[1]) + 0.1
    assert largest(0.4, 3) == largest(0.4, 3)


@pytest.mark.parametrize("count", [1, 2])
def test_the_smallest_batches_can_be_mixed(count):
    inputs, targets, weights = batch(count)
    mixed, _, _ = mix(inputs, targets, weights, 0.2, np.random.default_rng(0))
    assert mixed.shape == inputs.shape
    assert np.isfinite(mixed).all()
