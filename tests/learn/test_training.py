"""The training loop: two rates, resets that reproduce a fresh trial, schedules."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from autotl.errors import TrialError
from autotl.learn.averaging import trainable_weights
from autotl.learn.config import TrialConfig
from autotl.learn.examples import Examples, smooth_targets
from autotl.learn.heads import build_head, set_standardiser
from autotl.learn.ledger import Ledger
from autotl.learn.linear import fit_standardiser
from autotl.learn.metrics import softmax
from autotl.learn.training import compile_trainable, predict_logits, schedule, train

pytestmark = pytest.mark.keras

CONFIG = TrialConfig(
    backbone="none", image_size=1, head="mlp", width=16, dropout=0.3, head_rate=1e-2, batch_size=16, epochs=3
)


@pytest.fixture(scope="module")
def examples() -> Examples:
    generator = np.random.default_rng(0)
    labels = generator.integers(3, size=96)
    features = (np.eye(3)[labels] @ generator.normal(size=(3, 20)) + generator.normal(size=(96, 20))).astype(np.float16)
    return Examples([features, features[:, ::-1].copy()], labels, 3)


def fit(trainable, examples, seed, config=CONFIG):
    import keras

    ledger = Ledger()
    keras.utils.set_random_seed(seed)
    trainable.model.set_weights(build_head(CONFIG, (20,), 3).get_weights())
    set_standardiser(trainable.model, fit_standardiser(examples.views[0].astype(np.float32)))
    train(trainable, examples, np.arange(64), config, seed, ledger)
    return predict_logits(trainable, examples, np.arange(64, 96), ledger), ledger


def new_trainable():
    head = build_head(CONFIG, (20,), 3)
    return compile_trainable(head, list(head.trainable_variables))


def test_a_reset_network_repeats_a_fresh_one_to_the_last_bit_and_traces_nothing(examples):
    trainable = new_trainable()
    first, first_ledger = fit(trainable, examples, seed=1)
    fit(trainable, examples, seed=2, config=replace(CONFIG, head_rate=1e-3, weight_decay=0.1, label_smoothing=0.1))
    again, again_ledger = fit(trainable, examples, seed=1)
    fresh, _ = fit(new_trainable(), examples, seed=1)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, fresh)
    assert first_ledger.counts["traces"] == 2
    assert "traces" not in again_ledger.counts


def test_variables_outside_the_head_move_at_the_tail_rate():
    import keras

    inputs = keras.Input((4,))
    tail, head = keras.layers.Dense(4, name="tail"), keras.layers.Dense(2, name="head")
    model = keras.Model(inputs, head(tail(inputs)))
    trainable = compile_trainable(model, list(head.trainable_variables))
    before = [layer.get_weights()[0] for layer in (tail, head)]
    generator = np.random.default_rng(0)
    examples = Examples([generator.normal(size=(32, 4)).astype(np.float32)], generator.integers(2, size=32), 2)
    still = replace(CONFIG, tail_rate=0.0, weight_decay=0.0, epochs=1)
    train(trainable, examples, np.arange(32), still, 0, Ledger())
    np.testing.assert_array_equal(tail.get_weights()[0], before[0])
    assert np.abs(head.get_weights()[0] - before[1]).max() > 1e-3


def watch(model):
    """The same model, and a list that grows when Python runs it: once for each trace, or in each step without any."""
    import keras

    runs: list[int] = []

    class Watch(keras.layers.Layer):
        def call(self, inputs):
            runs.append(1)
            return inputs

    inputs = keras.Input(model.input_shape[1:])
    watched = keras.Model(inputs, model(Watch()(inputs)))
    return compile_trainable(watched, list(watched.trainable_variables)), runs


def test_a_trial_that_differs_in_numbers_alone_is_not_traced_again(examples):
    trainable, runs = watch(build_head(CONFIG, (20,), 3))
    plain = replace(CONFIG, epochs=1)
    train(trainable, examples, np.arange(64), plain, 0, Ledger())
    before = len(runs)
    others = [
        {"head_rate": 1e-3, "tail_rate": 1e-5, "layer_decay": 0.5, "weight_decay": 0.1},
        {"label_smoothing": 0.1, "mixup": 0.4},
        {"ema": "on"},
        {"balance": "weights"},
        {"balance": "sampling"},
        {"epochs": 2},
    ]
    for number, other in enumerate(others):
        ledger = Ledger()
        train(trainable, examples, np.arange(64), replace(plain, **other), number, ledger)
        assert "traces" not in ledger.counts
    import keras

    if keras.backend.backend() != "torch":
        assert len(runs) == before


def test_a_third_batch_size_is_not_counted_as_a_trace_where_it_is_none(examples):
    import keras

    trainable, runs = watch(build_head(CONFIG, (20,), 3))
    counts, traces = [], []
    for size in (16, 8, 4, 16):
        ledger, before = Ledger(), len(runs)
        train(trainable, examples, np.arange(64), replace(CONFIG, epochs=1, batch_size=size), 0, ledger)
        counts.append(ledger.counts.get("traces", 0))
        traces.append(len(runs) - before)
    if keras.backend.backend() == "tensorflow":
        assert counts == traces == [1, 1, 0, 0]


@pytest.mark.parametrize("other", [{"ema": "on"}, {"mixup": 0.4}, {"balance": "weights"}, {"balance": "sampling"}])
def test_every_way_to_train_changes_the_result_and_repeats_itself(examples, other):
    uneven = replace_labels(examples)
    trainable = new_trainable()
    plain, _ = fit(trainable, uneven, seed=1)
    first, _ = fit(trainable, uneven, seed=1, config=replace(CONFIG, **other))
    again, _ = fit(new_trainable(), uneven, seed=1, config=replace(CONFIG, **other))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - plain).max() > 1e-4


def replace_labels(examples):
    """The same inputs with two of three labels of the second class."""
    labels = np.where(np.arange(96) % 3 == 0, examples.labels, 1)
    return replace(examples, labels=labels)


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_balance_makes_rare_classes_count(balance):
    """With features that say nothing the bias alone is learned: the frequencies of the classes, or equal ones."""
    import keras

    labels = np.repeat([0, 1, 2], [160, 32, 64])
    examples = Examples([np.ones((256, 1), np.float32)], labels, 3)
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="zeros")(inputs))
    trainable = compile_trainable(model, list(model.trainable_variables))
    start = model.get_weights()

    def learned(config):
        model.set_weights(start)
        train(trainable, examples, np.arange(256), config, 0, Ledger())
        return softmax(predict_logits(trainable, examples, np.arange(1), Ledger()))[0]

    config = replace(CONFIG, head_rate=0.05, weight_decay=0.0, epochs=40, batch_size=64)
    np.testing.assert_allclose(learned(config), [0.625, 0.125, 0.25], atol=0.03)
    np.testing.assert_allclose(learned(replace(config, balance=balance)), [1 / 3] * 3, atol=0.03)


def test_averages_are_what_is_seen_after_an_epoch_and_training_goes_on_from_the_raw_weights(examples):
    trainable = new_trainable()
    start, kernel = trainable.model.get_weights(), trainable_weights(trainable)[0]

    def run(ema):
        seen = []
        trainable.model.set_weights(start)

        def on_epoch(epoch):
            seen.append(trainable_weights(trainable)[0])
            return False

        config = replace(CONFIG, ema=ema)
        train(trainable, examples, np.arange(64), config, 0, Ledger(), on_epoch)
        return seen, trainable_weights(trainable)[0]

    raw, last_raw = run("off")
    means, last_mean = run("on")
    np.testing.assert_array_equal(raw[-1], last_raw)
    np.testing.assert_array_equal(means[-1], last_mean)
    # four steps of an epoch, and averages that reach back ten: after the second epoch they lag behind
    assert np.abs(means[1] - kernel).max() < np.abs(raw[1] - kernel).max()
    # had training gone on from the averages, the last raw weights would be others, and so their averages
    config = replace(CONFIG, ema="on")
    trainable.model.set_weights(start)
    train(trainable, examples, np.arange(64), config, 0, Ledger())
    np.testing.assert_array_equal(trainable_weights(trainable)[0], last_mean)


def test_training_stops_within_an_epoch_and_ends_as_after_it(examples):
    questions, epochs = [], []

    def should_stop():
        questions.append(True)
        return len(questions) == 2

    ledger = Ledger()
    config = replace(CONFIG, batch_size=4, epochs=3, ema="on")
    trainable = new_trainable()
    before = trainable_weights(trainable)[0]

    def on_epoch(epoch):
        epochs.append((epoch, trainable_weights(trainable)[0]))
        return False

    done = train(trainable, examples, np.arange(52), config, 0, ledger, on_epoch, should_stop)
    assert done == 2
    assert [epoch for epoch, _ in epochs] == [1, 2]
    assert ledger.counts["images_trained"] == 16 * 4  # 13 steps in the first epoch, three in the second
    np.testing.assert_array_equal(epochs[-1][1], trainable_weights(trainable)[0])
    assert np.abs(trainable_weights(trainable)[0] - before).max() > 0.0


def test_weight_decay_shrinks_kernels(examples):
    trainable = new_trainable()
    fit(trainable, examples, 0, replace(CONFIG, weight_decay=0.0))
    free = np.linalg.norm(trainable.model.trainable_variables[0])
    fit(trainable, examples, 0, replace(CONFIG, weight_decay=5.0))
    assert np.linalg.norm(trainable.model.trainable_variables[0]) < 0.9 * free


def test_a_diverging_loss_is_a_trial_error(examples):
    with pytest.raises(TrialError, match="finite"):
        train(new_trainable(), examples, np.arange(64), replace(CONFIG, head_rate=1e38), 0, Ledger())


def test_training_ends_when_the_callback_says_so(examples):
    done = train(new_trainable(), examples, np.arange(64), CONFIG, 0, Ledger(), on_epoch=lambda epoch: epoch == 2)
    assert done == 2


def test_the_schedule_warms_up_then_falls_to_nothing():
    shares = [schedule(step, 100) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == shares[9] == pytest.approx(1.0)
    assert all(one >= two for one, two in pairwise(shares[10:]))
    assert shares[-1] < 1e-3


def test_smoothed_targets_are_distributions():
    targets = smooth_targets(np.array([0, 2]), 4, 0.2)
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(targets[1], [0.05, 0.05, 0.85, 0.05], rtol=1e-6)


def test_the_random_layers_of_a_network_draw_apart_from_each_other():
    import keras

    inputs = keras.Input((200,))
    first, second = keras.layers.Dropout(0.5), keras.layers.Dropout(0.5)
    model = keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="zeros")(second(first(inputs))))
    trainable = compile_trainable(model, list(model.trainable_variables))
    examples = Examples([np.ones((32, 200), np.float32)], np.zeros(32, int), 2)
    train(trainable, examples, np.arange(32), replace(CONFIG, epochs=1), 0, Ledger())
    ones = np.ones((1, 200), np.float32)
    kept = [np.asarray(layer(ones, training=True)) > 0 for layer in (first, second)]
    assert not np.array_equal(*kept)
