"""Fine-tuning: what is frozen stays, the head starts where the probe ended, and no trial leaves traces in the next."""

from dataclasses import replace

import numpy as np
import pytest

from autotl.data.images import open_images
from autotl.data.store import Cache
from autotl.learn.assemble import assemble
from autotl.learn.averaging import set_trainable_weights, trainable_weights
from autotl.learn.config import TrialConfig
from autotl.learn.features import pooled_features
from autotl.learn.finetune import HEAD_EPOCHS, HEAD_RATE, fit_finetune, stages_of
from autotl.learn.ledger import Ledger
from autotl.learn.metrics import softmax
from autotl.learn.networks import borrow_network, cut_network, multiply_adds
from autotl.learn.probe import fit_head, fit_probe
from autotl.learn.training import predict_logits
from autotl.learn.views import PLAIN

pytestmark = pytest.mark.keras
# Four of five stages of VGG16 frozen: the tail is small, and all tests with this architecture share one traced graph.
CONFIG = TrialConfig(
    "vgg16", 32, recipe="finetune", weights="random", freeze_depth=0.8, penalty=1e-2, epochs=2, batch_size=16,
    head_rate=1e-3, tail_rate=1e-3,
)  # fmt: skip


def fit(task, config, seed=1, rows=None):
    """Logits of the validation rows after training, the network, and the cut."""
    rows = task.train if rows is None else rows
    trainable, examples, network, cut = fit_finetune(task, config, rows, seed)
    return predict_logits(trainable, examples, task.validation, task.ledger), network, cut


def difference(network, variables):
    """The largest change of each of some variables of a network since it was built."""
    original = {id(variable): value for variable, value in zip(network.model.variables, network.originals, strict=True)}
    return [float(np.abs(variable.numpy() - original[id(variable)]).max()) for variable in variables]


def test_frozen_stages_stay_as_they_were_and_the_others_train(task):
    _, network, cut = fit(task, CONFIG)
    _, prefix, tail = cut_network(network, CONFIG.freeze_depth)
    assert cut.name == "block4_pool"
    assert max(difference(network, prefix.variables)) == 0.0
    kernels = [variable for variable in tail.trainable_variables if len(variable.shape) > 1]
    assert len(kernels) == 3
    assert min(difference(network, kernels)) > 1e-4


def test_batch_normalisation_keeps_its_statistics(problem):
    config = replace(CONFIG, backbone="efficientnet-lite0", weights="pretrained", epochs=1)
    _, network, _ = fit(problem.task(), config)
    names = ("moving_mean", "moving_variance")
    statistics = [variable for variable in network.model.variables if variable.path.endswith(names)]
    assert len(statistics) > 50
    assert max(difference(network, statistics)) == 0.0
    _, _, tail = cut_network(network, config.freeze_depth)
    assert max(difference(network, tail.trainable_variables)) > 1e-4


def test_depthwise_kernels_stay_unless_nothing_is_frozen(problem):
    config = replace(CONFIG, backbone="efficientnet-lite0", weights="pretrained", epochs=1)
    _, network, _ = fit(problem.task(), config)
    depthwise = [layer.kernel for layer in network.model.layers if "Depthwise" in type(layer).__name__]
    assert len(depthwise) == 16
    assert max(difference(network, depthwise)) == 0.0
    _, network, _ = fit(problem.task(), replace(config, freeze_depth=0.0))
    assert min(difference(network, depthwise)) > 0.0


@pytest.mark.parametrize("head", ["linear", "mlp", "cosine"])
def test_the_head_starts_where_the_probe_ended(task, head):
    config = replace(CONFIG, head=head, width=32)
    trained = replace(config, recipe="probe", head_rate=HEAD_RATE, epochs=HEAD_EPOCHS)
    probe = fit_probe(task, trained, task.train, task.validation, seed=1)
    still = {"head_rate": 1e-12, "tail_rate": 0.0, "epochs": 1}
    started, _, _ = fit(task, replace(config, **still))
    assert np.ptp(probe) > 0.5
    np.testing.assert_allclose(started, probe, atol=5e-3 * np.abs(probe).max())


def test_a_trial_repeats_itself_also_after_another_one(task):
    first, _, _ = fit(task, CONFIG, seed=1)
    other, _, _ = fit(task, replace(CONFIG, augmentation="flip", tail_rate=1e-4, label_smoothing=0.1), seed=2)
    again, network, _ = fit(task, CONFIG, seed=1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    borrow_network("vgg16", 32, "random", Ledger())
    assert max(difference(network, network.model.variables)) == 0.0


def test_a_trained_tail_does_not_leak_into_a_store(problem, task, tmp_path):
    before = np.array(pooled_features(task.sources, "vgg16", "random", 32, PLAIN))
    fit(task, CONFIG)
    anew = pooled_features(problem.task(Cache(tmp_path, 10**9)).sources, "vgg16", "random", 32, PLAIN)
    np.testing.assert_array_equal(anew, before)


def test_with_a_cut_the_frozen_part_runs_once_for_each_view(problem):
    config = replace(CONFIG, augmentation="flip")
    fit(problem.task(), config)
    second = problem.task()
    fit(second, config)
    assert "images_forwarded" not in second.ledger.counts
    assert "forward" not in second.ledger.seconds
    assert "traces" not in second.ledger.counts


def test_one_pass_gives_what_head_and_tail_read(problem, tmp_path):
    cold = problem.task(Cache(tmp_path, 10**9))
    fit(cold, replace(CONFIG, augmentation="flip"))
    assert cold.ledger.counts["images_forwarded"] == 2 * len(cold.labels)  # the plain view and the mirrored one


def test_with_nothing_frozen_images_are_augmented_live_and_everything_trains(task):
    config = replace(CONFIG, freeze_depth=0.0, augmentation="light", epochs=1, tail_rate=1e-4)
    rows = task.train[:32]
    trainable, examples, network, cut = fit_finetune(task, config, rows, seed=1)
    first = predict_logits(trainable, examples, task.validation, task.ledger)
    assert cut is None
    assert examples.views[0].dtype == np.uint8
    assert min(difference(network, network.model.trainable_variables)) > 0.0
    fit(task, CONFIG)
    again, _, _ = fit(task, config, rows=rows)
    np.testing.assert_array_equal(first, again)


def test_with_everything_frozen_the_head_alone_is_trained(task):
    logits, network, cut = fit(task, replace(CONFIG, freeze_depth=1.0, epochs=1))
    assert logits.shape == (len(task.validation), 3)
    assert cut == network.cuts[-1]
    assert max(difference(network, network.model.variables)) == 0.0


@pytest.mark.parametrize(
    ("head", "pooling", "taps"),
    [("linear", "both", "all"), ("cosine", "gem", "last2"), ("linear", "attention", "last")],
)
def test_a_tail_trained_on_cached_features_is_the_whole_model_on_images(problem, task, head, pooling, taps):
    size = 64 if pooling == "attention" else 32  # at 32 the last map has one position
    config = replace(CONFIG, head=head, pooling=pooling, taps=taps, image_size=size, epochs=1)
    trainable, examples, network, cut = fit_finetune(task, config, task.train, 1)
    logits = predict_logits(trainable, examples, task.validation, task.ledger)
    assert cut.name == "block4_pool"
    _, _, tail = cut_network(network, config.freeze_depth, pooling, taps)
    assert min(difference(network, [v for v in tail.trainable_variables if len(v.shape) > 1])) > 1e-5
    model = assemble(network.model, trainable.model.get_layer("head"), pooling, 1.0, "autotl", taps)
    images = open_images(problem.manifest, size, problem.cache)[np.asarray(task.sources.rows)[task.validation]]
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(images)), softmax(logits), atol=5e-3)
    assert np.ptp(logits) > 0.1


def test_attention_learns_where_to_look(task):
    config = replace(CONFIG, recipe="probe", pooling="attention", image_size=64, head_rate=1e-2, epochs=4)
    probe = fit_head(task, config, task.train, seed=0)
    query = probe.trainable_variables[0]
    assert query.shape == (512, 1)
    assert np.abs(query.numpy()).max() > 0.0


def test_training_ends_where_the_callback_says_so(task):
    epochs = []

    def on_epoch(trainable, examples, epoch):
        epochs.append(epoch)
        return epoch == 1

    fit_finetune(task, CONFIG, task.train, 1, on_epoch)
    assert epochs == [1]


def test_the_stages_of_a_network_are_counted_from_the_head():
    network = borrow_network("vgg16", 32, "random", Ledger())
    stages = stages_of(network)
    found = {}
    for variable in network.model.trainable_variables:
        found.setdefault(variable.path.split("_")[0], set()).add(stages[id(variable)])
    assert found == {"block1": {5}, "block2": {4}, "block3": {3}, "block4": {2}, "block5": {1}}


def test_stages_far_from_the_head_train_at_lower_rates(task):
    config = replace(CONFIG, freeze_depth=0.6, layer_decay=1e-3, weight_decay=0.0, epochs=1)
    _, network, _ = fit(task, config)
    moved = {variable.path.split("/")[0]: difference(network, [variable])[0] for variable in kernels(network)}
    assert moved["block3_conv3"] == 0.0
    assert 0.0 < moved["block4_conv3"] < 0.01 * moved["block5_conv1"]


def kernels(network):
    return [variable for variable in network.model.trainable_variables if len(variable.shape) > 1]


def test_a_trial_that_differs_in_numbers_alone_compiles_nothing(problem, task):
    fit(task, CONFIG)
    first = fit(task, CONFIG)[0]
    others = {"tail_rate": 1e-4, "layer_decay": 0.7, "weight_decay": 0.01, "label_smoothing": 0.1, "mixup": 0.2,
              "ema": "on", "balance": "weights", "epochs": 1, "freeze_depth": 0.75}  # fmt: skip
    again = problem.task()
    logits = fit(again, replace(CONFIG, **others), seed=2)[0]
    assert "traces" not in again.ledger.counts
    assert np.abs(logits - first).max() > 1e-3


def test_the_ledger_has_what_a_fit_cost(problem):
    fresh = problem.task()
    _, network, cut = fit(fresh, CONFIG)
    _, _, tail = cut_network(network, CONFIG.freeze_depth)
    images = 2 * 48  # two epochs
    assert fresh.ledger.counts[f"trained/{cut.name}"] == fresh.ledger.counts["images_trained"] == images
    assert fresh.ledger.counts["multiply_adds_trained"] == images * 3 * multiply_adds(tail)


def test_fresh_images_are_augmented_in_every_step_and_the_frozen_part_stays(problem):
    config = replace(CONFIG, augmentation="light", epochs=1)
    task = problem.task()
    trainable, examples, network, cut = fit_finetune(task, config, task.train, 1, fresh=True)
    _, prefix, tail = cut_network(network, config.freeze_depth)
    assert examples.views[0].dtype == np.uint8
    assert cut.name == "block4_pool"
    assert "images_forwarded" not in task.ledger.counts  # no views are computed
    assert max(difference(network, prefix.variables)) == 0.0
    assert min(difference(network, [v for v in tail.trainable_variables if len(v.shape) > 1])) > 1e-4
    head = trainable.model.get_layer("head")
    assert len(trainable.model.trainable_variables) == len(tail.trainable_variables) + len(head.trainable_variables)
    assert task.ledger.counts["multiply_adds_trained"] == 48 * (3 * multiply_adds(tail) + multiply_adds(prefix))
    logits = predict_logits(trainable, examples, task.validation, task.ledger)
    assert all(variable.trainable for variable in prefix.variables)  # whoever trains everything next can
    again = problem.task()
    trainable, examples, _, _ = fit_finetune(again, config, again.train, 1, fresh=True)
    np.testing.assert_array_equal(predict_logits(trainable, examples, again.validation, again.ledger), logits)
    assert "traces" not in again.ledger.counts


def test_without_augmentation_fresh_images_are_the_cached_ones(task):
    config = replace(CONFIG, epochs=1)
    cached, _, _ = fit(task, config)
    trainable, examples, _, _ = fit_finetune(task, config, task.train, 1, fresh=True)
    np.testing.assert_array_equal(predict_logits(trainable, examples, task.validation, task.ledger), cached)


def test_a_soup_of_two_fits_lies_between_them(task):
    fits = []
    for seed in (1, 2):  # at low rates: both stay near the point that they started from
        config = replace(CONFIG, head_rate=1e-4, tail_rate=1e-5)
        trainable, examples, _, _ = fit_finetune(task, config, task.train, seed)
        fits.append(trainable_weights(trainable))
    logits = [logits_with(trainable, examples, weights, task) for weights in fits]
    middle = logits_with(trainable, examples, [(one + two) / 2 for one, two in zip(*fits, strict=True)], task)
    assert np.abs(logits[0] - logits[1]).max() > 1e-4
    assert all(0.0 < np.abs(middle - one).mean() < np.abs(logits[0] - logits[1]).mean() for one in logits)


def logits_with(trainable, examples, weights, task):
    set_trainable_weights(trainable, weights)
    return predict_logits(trainable, examples, task.validation, task.ledger)


def test_a_fit_can_be_stopped_within_its_first_epoch(problem):
    task = problem.task()
    config = replace(CONFIG, batch_size=4)
    epochs = []

    def on_epoch(trainable, examples, epoch):
        epochs.append(epoch)
        return False

    fit_finetune(task, config, task.train, 1, on_epoch, should_stop=lambda: True)
    assert epochs == [1]
    assert task.ledger.counts["images_trained"] == 8 * 4
