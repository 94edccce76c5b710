"""Batches that go through in parts: the same steps as with whole ones, in less memory."""

from dataclasses import replace

import numpy as np
import pytest

from autotl.errors import TrialError
from autotl.learn.accumulation import part_size, parts_of
from autotl.learn.averaging import trainable_weights
from autotl.learn.checkpoints import Resume
from autotl.learn.config import TrialConfig
from autotl.learn.examples import Examples
from autotl.learn.jobs import run_job
from autotl.learn.ledger import Ledger
from autotl.learn.training import compile_trainable, predict_logits, train

CONFIG = TrialConfig(
    "none", 1, head_rate=1e-2, tail_rate=3e-3, layer_decay=0.5, weight_decay=0.1, batch_size=16, epochs=3, ema="on",
    mixup=0.3, balance="weights",
)  # fmt: skip
FINETUNE = {
    "recipe": "finetune", "freeze_depth": 0.8, "penalty": 1e-2, "epochs": 1, "batch_size": 16, "head_rate": 1e-3,
    "tail_rate": 1e-4,
}  # fmt: skip


@pytest.mark.parametrize("batch", [1, 2, 7, 16])
@pytest.mark.parametrize("most", [1, 3, 4, 16, 20])
def test_parts_have_one_shape_and_hold_every_row_once(batch, most):
    passes = -(-batch // most)
    inputs, targets, weights = np.arange(1, batch + 1), np.arange(batch) + 100, np.linspace(1, 2, batch)
    parts = list(parts_of((inputs, targets, weights), passes))
    assert len(parts) == passes
    assert {len(array) for part in parts for array in part} == {part_size(batch, passes)}
    assert part_size(batch, passes) <= most
    seen = [row for part in parts for row, weight in zip(part[0], part[2], strict=True) if weight > 0.0]
    np.testing.assert_array_equal(seen, inputs)
    values = np.random.default_rng(0).normal(size=batch + 1)  # gradients of rows, and of what fills up
    means = [np.mean(part[2] * values[part[0]]) for part in parts]
    assert np.mean(means) == pytest.approx(np.mean(weights * values[inputs]))


@pytest.fixture
def examples():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(64, 6)).astype(np.float32)
    return Examples([features], np.where(np.arange(64) % 3 == 0, 0, np.arange(64) % 2 + 1), 3)


@pytest.fixture
def trainable_of():
    """Makes a network of three stages with equal weights every time, whose steps are made of so many passes."""

    def make(passes, predict_batch=64):
        import keras

        keras.utils.set_random_seed(1)
        layers = [keras.layers.Dense(8, activation="gelu", name=name) for name in ("first", "second")]
        head = keras.layers.Dense(3)
        inputs = keras.Input((6,))
        model = keras.Model(inputs, head(layers[1](layers[0](inputs))))
        stages = {id(variable): 2 for variable in layers[0].trainable_variables}
        return compile_trainable(
            model, list(head.trainable_variables), stages, passes=passes, predict_batch=predict_batch
        )

    return make


def everything(trainable):
    """Weights, moments and averages."""
    return [*trainable_weights(trainable), *(variable.numpy() for variable in trainable.model.optimizer.moments)]


@pytest.mark.keras
@pytest.mark.parametrize(("passes", "shape"), [(2, 8), (3, 6), (16, 1)])
@pytest.mark.parametrize("scale", [1.0, 1e3], ids=["plain", "clipped"])
def test_steps_in_parts_are_the_steps_of_whole_batches(examples, trainable_of, passes, shape, scale):
    loud = replace(examples, views=[examples.views[0] * np.float32(scale)])  # so that gradients are longer than 1
    whole, parted = trainable_of(1), trainable_of(passes)
    ledger = Ledger()
    train(whole, loud, np.arange(52), CONFIG, 5, Ledger())
    train(parted, loud, np.arange(52), CONFIG, 5, ledger)
    for one, two in zip(everything(parted), everything(whole), strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-5, atol=2e-5 * np.abs(two).max())
    assert parted.traced == {("train", shape)}
    assert ledger.counts == {"traces": 1, "images_trained": 3 * 48}


@pytest.mark.keras
def test_a_network_in_parts_repeats_itself_after_another_trial(examples, trainable_of):
    trainable = trainable_of(3)
    start = trainable.model.get_weights()
    train(trainable, examples, np.arange(52), CONFIG, 5, Ledger())
    first = everything(trainable)
    train(trainable, examples, np.arange(52), replace(CONFIG, head_rate=0.1), 6, Ledger())
    trainable.model.set_weights(start)
    train(trainable, examples, np.arange(52), CONFIG, 5, Ledger())
    for one, two in zip(everything(trainable), first, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.keras
def test_training_may_go_on_in_parts_from_where_whole_batches_came(examples, trainable_of):
    states = []
    whole = trainable_of(1)
    train(whole, examples, np.arange(52), CONFIG, 5, Ledger(), resume=Resume(keep=lambda copy: states.append(copy())))
    assert [state.epoch for state in states] == [1, 2]
    for state in states:
        parted = trainable_of(4)
        ledger = Ledger()
        train(parted, examples, np.arange(52), CONFIG, 5, ledger, resume=Resume(state))
        assert ledger.counts["images_trained"] == (3 - state.epoch) * 48
        for one, two in zip(everything(parted), everything(whole), strict=True):
            np.testing.assert_allclose(one, two, rtol=2e-5, atol=2e-5 * np.abs(two).max())


@pytest.mark.keras
def test_predictions_do_not_depend_on_how_many_are_made_at_a_time(examples, trainable_of):
    few, many = (predict_logits(trainable_of(1, size), examples, np.arange(50), Ledger()) for size in (7, 64))
    np.testing.assert_allclose(few, many, rtol=1e-5, atol=1e-6)


@pytest.mark.keras
def test_a_trial_with_a_micro_batch_says_so_and_comes_to_the_same(problem, tmp_path, go_on):
    results, probabilities = [], []
    for name, fields in (("whole", {}), ("parts", {"micro_batch": 6}), ("roomy", {"micro_batch": 64})):
        payload = problem.payload(tmp_path / name, FINETUNE, evaluation="holdout", **fields)
        results.append(run_job(payload, go_on))
        with np.load(tmp_path / name / "validation.npz", allow_pickle=False) as saved:
            probabilities.append(saved["probabilities"])
    whole, parts, roomy = results
    assert parts["micro_batch"] == 6
    assert "micro_batch" not in whole
    assert "micro_batch" not in roomy  # a batch fits into it
    np.testing.assert_allclose(probabilities[1], probabilities[0], atol=1e-4)
    np.testing.assert_array_equal(probabilities[2], probabilities[0])
    assert parts["ledger"]["counts"]["images_trained"] == whole["ledger"]["counts"]["images_trained"]


@pytest.mark.parametrize("micro_batch", [0, -1, 2.5, "8"])
def test_a_micro_batch_is_a_number_of_images(problem, tmp_path, go_on, micro_batch):
    payload = problem.payload(tmp_path, FINETUNE, evaluation="holdout", micro_batch=micro_batch)
    with pytest.raises(TrialError, match="micro_batch"):
        run_job(payload, go_on)
