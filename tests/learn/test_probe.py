"""Heads on frozen features: they learn, and what is held out stays out."""

from dataclasses import replace

import numpy as np
import pytest

from autotl.learn.config import TrialConfig
from autotl.learn.folds import make_folds
from autotl.learn.metrics import accuracy, softmax
from autotl.learn.probe import cross_validate_linear, fit_probe, network_multiply_adds

pytestmark = pytest.mark.keras
CONFIG = TrialConfig("vgg16", 32, weights="random", penalty=1e-2)
MLP = replace(CONFIG, head="mlp", width=32, epochs=12, head_rate=1e-2, batch_size=16)


@pytest.mark.parametrize("pooling", ["avg", "max", "both"])
@pytest.mark.parametrize("augmentation", ["none", "flip"])
def test_a_linear_head_learns_the_colours(task, pooling, augmentation):
    config = replace(CONFIG, pooling=pooling, augmentation=augmentation)
    logits = fit_probe(task, config, task.train, task.validation, seed=0)
    assert logits.shape == (len(task.validation), 3)
    assert accuracy(logits, task.labels[task.validation]) >= 0.8


@pytest.mark.parametrize("change", [{}, {"head": "cosine"}, {"pooling": "attention"}, {"taps": "all"}])
def test_a_trained_head_learns_the_colours_and_repeats_itself(task, change):
    config = replace(MLP, **change)
    one, other, two = (fit_probe(task, config, task.train, task.validation, seed=seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    assert accuracy(one, task.labels[task.validation]) >= 0.8


def test_out_of_fold_logits_are_those_of_a_head_that_never_saw_the_fold(task):
    folds = make_folds(task.labels, task.groups, 5, seed=0)
    logits = cross_validate_linear(task, CONFIG, folds)
    assert accuracy(logits, task.labels) >= 0.8
    assert task.ledger.counts["heads_solved"] == len(folds)
    wrong = task.labels.copy()
    wrong[folds[0]] = (wrong[folds[0]] + 1) % 3
    changed = cross_validate_linear(replace(task, labels=wrong), CONFIG, folds)
    np.testing.assert_allclose(softmax(changed[folds[0]]), softmax(logits[folds[0]]), atol=0.02)
    elsewhere = np.concatenate(folds[1:])
    assert np.abs(softmax(changed[elsewhere]) - softmax(logits[elsewhere])).max() > 0.1


def test_all_folds_at_once_are_one_after_the_other(task):
    folds = make_folds(task.labels, task.groups, 5, seed=0)
    together = cross_validate_linear(task, CONFIG, folds)
    alone = fit_probe(task, CONFIG, np.setdiff1d(task.everything, folds[0]), folds[0], seed=0)
    np.testing.assert_allclose(softmax(together[folds[0]]), softmax(alone), atol=0.05)


def test_the_cost_of_a_network_is_known_from_its_features_and_grows_with_the_image(task):
    small = network_multiply_adds(task, CONFIG)
    # 3x3 convolutions of VGG16: at 32 pixels 313 million multiplications (Simonyan and Zisserman, table 1)
    assert small == pytest.approx(313.2e6, rel=0.01)
    assert network_multiply_adds(task, replace(CONFIG, image_size=48)) == 2.25 * small
