"""Ensembles of backbones: which members help, and that the one model computes their average."""

import numpy as np
import pytest

from autotl.backbones.registry import list_backbones
from autotl.data.images import open_images
from autotl.errors import TrialError
from autotl.learn.config import read_config
from autotl.learn.metrics import log_loss, softmax
from autotl.learn.probe import fit_head
from autotl.learn.stack import score_stack

LABELS = np.arange(60) % 3
LITES = ("efficientnet-lite0", "efficientnet-lite1")


def write(folder, logits, rows=None):
    folder.mkdir()
    rows = np.arange(len(logits)) if rows is None else rows
    np.savez(folder / "validation.npz", probabilities=softmax(logits), rows=rows, labels=LABELS)
    return str(folder)


def noisy(seed, spread):
    return 2.0 * np.eye(3)[LABELS] + np.random.default_rng(seed).normal(0.0, spread, (60, 3))


@pytest.fixture
def payload(tmp_path):
    def make(*members):
        (tmp_path / "stack").mkdir(exist_ok=True)
        return {"members": list(members), "folder": str(tmp_path / "stack"), "metric": "log_loss"}

    return make


def test_members_with_errors_of_their_own_help_each_other(tmp_path, payload):
    members = [write(tmp_path / "a", noisy(1, 2.0)), write(tmp_path / "b", noisy(2, 2.0))]
    found = score_stack(payload(*members))
    assert found["members"] == [0, 1]
    with np.load(tmp_path / "stack" / "validation.npz") as saved:
        assert log_loss(saved["probabilities"], saved["labels"]) == pytest.approx(found["score"])
    alone = score_stack(payload(members[0]))
    assert found["score"] < alone["score"]


def test_a_member_that_knows_nothing_is_left_out(tmp_path, payload):
    members = [write(tmp_path / "a", noisy(1, 1.0)), write(tmp_path / "b", noisy(2, 40.0))]
    assert score_stack(payload(*members))["members"] == [0]


def test_members_that_were_scored_on_other_images_are_refused(tmp_path, payload):
    members = [write(tmp_path / "a", noisy(1, 1.0)), write(tmp_path / "b", noisy(2, 1.0), np.arange(60)[::-1])]
    with pytest.raises(TrialError, match="same images"):
        score_stack(payload(*members))


@pytest.mark.keras
def test_the_one_model_computes_the_average_of_its_members(task):
    from autotl.learn.assemble import assemble
    from autotl.learn.networks import borrow_network
    from autotl.learn.stack import fit_stack

    values = {"weights": "random", "image_size": 32, "penalty": 1e-3}
    configs = [
        read_config({"backbone": "vgg16", **values}),
        read_config({"backbone": "mobilenet-v2", "taps": "all", "pooling": "both", **values}),
    ]
    stack = fit_stack(task, configs, [1.5, 0.7], 1.2, seed=0)
    pictures = open_images(task.sources.manifest, 32, task.sources.cache)[:4]
    alone = []
    for config, temperature in zip(configs, (1.5, 0.7), strict=True):
        network = borrow_network(config.backbone, 32, "random", task.ledger)
        head = fit_head(task, config, task.everything, 0)
        model = assemble(network.model, head, config.pooling, temperature, "alone", config.taps)
        alone.append(np.log(model.predict_on_batch(pictures)))
    np.testing.assert_allclose(stack.predict_on_batch(pictures), softmax(np.mean(alone, axis=0) / 1.2), atol=1e-5)


@pytest.mark.keras
@pytest.mark.skipif(not {*LITES} <= {each.name for each in list_backbones()}, reason="needs pretrained networks")
def test_a_member_that_was_fine_tuned_has_the_weights_of_its_own_fit(task):
    from autotl.learn.assemble import assemble
    from autotl.learn.finetune import fit_finetune
    from autotl.learn.networks import borrow_network
    from autotl.learn.stack import fit_stack

    values = {"image_size": 32, "penalty": 1e-3}
    values |= {"recipe": "finetune", "freeze_depth": 0.8, "epochs": 2, "batch_size": 16, "tail_rate": 1e-3}
    configs = [read_config({"backbone": name, **values}) for name in LITES]
    pictures = open_images(task.sources.manifest, 32, task.sources.cache)[:4]
    alone = []
    for config in configs:
        trainable, _, network, _ = fit_finetune(task, config, task.everything, 0)
        model = assemble(network.model, trainable.model.get_layer("head"), config.pooling, 1.0, "alone", config.taps)
        alone.append(np.log(model.predict_on_batch(pictures)))
        frozen = borrow_network(config.backbone, 32, config.weights, task.ledger)
        untuned = assemble(frozen.model, fit_head(task, config, task.everything, 0), config.pooling, 1.0, "untuned")
        assert not np.allclose(alone[-1], np.log(untuned.predict_on_batch(pictures)), atol=1e-4)
    stack = fit_stack(task, configs, [1.0, 1.0], 1.0, seed=0)
    np.testing.assert_allclose(stack.predict_on_batch(pictures), softmax(np.mean(alone, axis=0)), atol=1e-5)
