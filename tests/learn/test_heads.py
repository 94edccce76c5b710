"""Heads as Keras models: the solved one computes what the solver said, the trained one starts neutral."""

import numpy as np
import pytest

from autotl.learn.config import TrialConfig
from autotl.learn.features import pooled_features, select_pooling
from autotl.learn.heads import build_head, initialise_hidden, set_linear, set_standardiser
from autotl.learn.linear import LinearHead, fit_standardiser
from autotl.learn.probe import fit_head, solve_linear
from autotl.learn.views import PLAIN

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("pooling", ["avg", "max", "both"])
def test_the_solved_head_in_keras_gives_the_solvers_logits(task, pooling):
    config = TrialConfig("vgg16", 32, weights="random", pooling=pooling, penalty=1e-2)
    features = select_pooling(pooled_features(task.sources, "vgg16", "random", 32, PLAIN), pooling)
    standardiser, linear = solve_linear(task, config, task.train, [features])
    head = fit_head(task, config, task.train, seed=0)
    expected = linear.logits(standardiser(features))
    assert np.ptp(expected) > 1.0
    np.testing.assert_allclose(np.asarray(head(features)), expected, atol=1e-4 * np.abs(expected).max())


def test_features_on_any_scale_are_standardised_inside_the_head():
    generator = np.random.default_rng(0)
    features = generator.normal(1e3, 1.0, (200, 8)).astype(np.float32) * 10.0 ** np.arange(-3, 5, dtype=np.float32)
    standardiser = fit_standardiser(features)
    linear = LinearHead(generator.normal(size=(8, 3)).astype(np.float32), np.array([1, 2, 3], np.float32))
    head = build_head(TrialConfig("none", 1), 8, 3)
    set_standardiser(head, standardiser)
    set_linear(head, linear)
    np.testing.assert_allclose(np.asarray(head(features)), linear.logits(standardiser(features)), atol=2e-2)


@pytest.mark.parametrize("depth", [1, 3])
def test_an_mlp_starts_with_all_classes_equal_and_units_of_unit_variance(depth):
    features = np.random.default_rng(0).normal(3.0, 2.0, (500, 40)).astype(np.float32)
    head = build_head(TrialConfig("none", 1, head="mlp", width=64, depth=depth, dropout=0.0), 40, 5)
    set_standardiser(head, fit_standardiser(features))
    initialise_hidden(head, seed=1)
    np.testing.assert_array_equal(np.asarray(head(features)), np.zeros((500, 5)))
    import keras

    hidden = [layer for layer in head.layers if layer.name.startswith("hidden")]
    assert len(hidden) == depth
    last = keras.Model(head.input, hidden[-1].output)
    assert 0.3 < float(np.square(np.asarray(last(features))).mean()) < 3.0  # mean square of a ReLU after He


def test_the_first_weights_of_an_mlp_depend_on_the_seed_alone():
    head = build_head(TrialConfig("none", 1, head="mlp", width=8), 4, 3)

    def weights(seed):
        initialise_hidden(head, seed)
        return [np.array(value) for value in head.get_weights()]

    first = weights(1)
    other = weights(2)
    again = weights(1)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))


def test_only_what_should_train_is_trainable():
    head = build_head(TrialConfig("none", 1, head="mlp", width=8, depth=2), 4, 3)
    assert len(head.trainable_variables) == 6  # kernel and bias of two hidden layers and the output
