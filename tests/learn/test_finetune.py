"""Fine-tuning: what is frozen stays, the head starts where the probe ended, and no trial leaves traces in the next."""

from dataclasses import replace

import numpy as np
import pytest

from autotl.data.images import open_images
from autotl.data.store import Cache
from autotl.learn.assemble import assemble
from autotl.learn.config import TrialConfig
from autotl.learn.features import pooled_features
from autotl.learn.finetune import HEAD_EPOCHS, HEAD_RATE, fit_finetune
from autotl.learn.ledger import Ledger
from autotl.learn.metrics import softmax
from autotl.learn.networks import borrow_network, cut_network
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
