"""Heads on frozen features: they learn, and what is held out stays out."""

from dataclasses import replace

import numpy as np
import pytest

from autotl.data.folds import make_folds, make_repeated_folds
from autotl.learn.config import BEST, TrialConfig
from autotl.learn.metrics import accuracy, fit_temperature, log_loss, softmax
from autotl.learn.prepared import pooled_views
from autotl.learn.probe import (
    cross_validate_linear,
    fit_head,
    fit_probe,
    network_multiply_adds,
    solve_linear,
)

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
    logits, penalty = cross_validate_linear(task, CONFIG, [folds])
    assert logits.shape == (1, len(task.labels), 3)
    assert penalty == CONFIG.penalty
    assert accuracy(logits[0], task.labels) >= 0.8
    assert task.ledger.counts["heads_solved"] == len(folds)
    wrong = task.labels.copy()
    wrong[folds[0]] = (wrong[folds[0]] + 1) % 3
    changed, _ = cross_validate_linear(replace(task, labels=wrong), CONFIG, [folds])
    np.testing.assert_allclose(softmax(changed[0][folds[0]]), softmax(logits[0][folds[0]]), atol=0.02)
    elsewhere = np.concatenate(folds[1:])
    assert np.abs(softmax(changed[0][elsewhere]) - softmax(logits[0][elsewhere])).max() > 0.1


@pytest.mark.parametrize("change", [{}, {"augmentation": "flip"}, {"balance": "weights"}])
def test_all_folds_at_once_are_one_after_the_other(task, change):
    config = replace(CONFIG, **change)
    folds = make_folds(task.labels, task.groups, 5, seed=0)
    together, _ = cross_validate_linear(task, config, [folds])
    alone = fit_probe(task, config, np.setdiff1d(task.everything, folds[0]), folds[0], seed=0)
    np.testing.assert_allclose(softmax(together[0][folds[0]]), softmax(alone), atol=0.05)


def test_repeats_are_the_same_partitions_solved_alone(task):
    partitions = make_repeated_folds(task.labels, task.groups, 4, 3, seed=0)
    logits, _ = cross_validate_linear(task, CONFIG, partitions)
    assert task.ledger.counts["heads_solved"] == 12
    for repeat, partition in zip(logits, partitions, strict=True):
        alone, _ = cross_validate_linear(task, CONFIG, [partition])
        np.testing.assert_allclose(softmax(repeat), softmax(alone[0]), atol=5e-3)


def test_the_best_penalty_is_as_good_as_the_best_of_a_grid_and_is_told(task):
    partitions = make_repeated_folds(task.labels, task.groups, 5, 2, seed=1)

    def measure(penalty):
        logits, used = cross_validate_linear(task, replace(CONFIG, penalty=penalty), partitions)
        temperature = fit_temperature(logits[0], task.labels)
        return log_loss(softmax(logits[0] / temperature), task.labels), used

    loss, used = measure(BEST)
    assert loss < min(measure(penalty)[0] for penalty in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)) + 5e-3
    again, told = measure(used)
    assert again == pytest.approx(loss, abs=2e-3)
    assert told == used


def test_a_single_fit_finds_the_best_penalty_by_folds_of_its_own_rows(task):
    best = replace(CONFIG, penalty=BEST)
    standardiser, linear, penalty = solve_linear(task, best, task.train, seed=3)
    _, numeric, same = solve_linear(task, replace(CONFIG, penalty=penalty), task.train, seed=3)
    assert penalty == same
    np.testing.assert_allclose(linear.kernel, numeric.kernel, atol=0.05 * np.abs(numeric.kernel).max())
    wrong = task.labels.copy()
    wrong[task.validation] = (wrong[task.validation] + 1) % 3
    assert solve_linear(replace(task, labels=wrong), best, task.train, seed=3)[2] == penalty
    logits = fit_probe(task, best, task.train, task.validation, seed=3)
    plain = standardiser(pooled_views(task, best)[0][task.validation])
    np.testing.assert_array_equal(logits, linear.logits(plain))
    np.testing.assert_allclose(fit_head(task, best, task.train, seed=3)(pooled_views(task, best)[0][task.validation]),
                               logits, atol=1e-3)  # fmt: skip


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_balanced_heads_find_more_of_the_rare_class(task, balance):
    rare = np.flatnonzero(task.labels == 2)
    uneven = np.sort(np.concatenate([np.flatnonzero(task.labels != 2), rare[:4]]))
    config = replace(CONFIG, penalty=1.0)  # so heavy that frequencies decide
    for chosen, least, most in (("none", 0, 4), (balance, 14, 18)):
        logits = fit_probe(task, replace(config, balance=chosen), uneven, rare[4:], seed=0)
        assert least <= (logits.argmax(axis=1) == 2).sum() <= most


def test_the_cost_of_a_network_is_known_from_its_features_and_grows_with_the_image(task):
    small = network_multiply_adds(task, CONFIG)
    # 3x3 convolutions of VGG16: at 32 pixels 313 million multiplications (Simonyan and Zisserman, table 1)
    assert small == pytest.approx(313.2e6, rel=0.01)
    assert network_multiply_adds(task, replace(CONFIG, image_size=48)) == 2.25 * small
