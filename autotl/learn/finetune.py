"""Fine-tuning: tail and head trained together from activations at a cached cut.

The head starts at the probe's solution and the tail at its pretrained weights (LP-FT: Kumar et al.,
https://arxiv.org/abs/2202.10054), so the first steps do not spoil features for the sake of a random head. Batch
normalisation stays in inference mode. With a cut, every epoch reads cached views and the prefix never runs again;
without one (nothing frozen) images are augmented afresh.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from autotl.backbones.cuts import Cut
from autotl.data.images import open_images
from autotl.learn.config import TrialConfig
from autotl.learn.features import as_float, cut_features
from autotl.learn.heads import build_head
from autotl.learn.networks import Network, borrow_network, cut_network
from autotl.learn.pooling import pool
from autotl.learn.probe import architecture, fit_head
from autotl.learn.task import Task
from autotl.learn.training import Examples, OnEpoch, Trainable, compile_trainable, train
from autotl.learn.views import live_layers, policy_views

HEAD_RATE = 5e-3  # for a head that is trained: a linear one is solved and has no rate
HEAD_EPOCHS = 20


def fit_finetune(
    task: Task, config: TrialConfig, rows: np.ndarray, seed: int, on_epoch: Any = None
) -> tuple[Trainable, Examples, Network, Cut | None]:
    """Fine-tune on `rows`.

    Args:
        on_epoch: called as `on_epoch(trainable, examples, epoch)`; training ends when it answers True.

    Returns:
        The trained tail with its head, the examples that it reads, the backbone (whose own variables were trained) and
        the cut.
    """
    ledger = task.ledger
    head = fit_head(task, _probe_of(config), rows, seed)
    network = borrow_network(config.backbone, config.image_size, config.weights, ledger)
    cut, _, _ = cut_network(network, config.freeze_depth)
    examples = _examples(task, config, cut)
    network.restore()  # computing a store may have borrowed the network, and memory may hold another trial's tail
    with ledger.phase("build"):
        import keras

        keras.utils.set_random_seed(seed)
        live = config.augmentation if cut is None else "none"
        trainable = _compiled_tail(network, cut, config.freeze_depth, architecture(config), len(task.classes), live)
        trainable.model.get_layer("head").set_weights(head.get_weights())

    def after_epoch(epoch: int) -> bool:
        return bool(on_epoch(trainable, examples, epoch))

    callback: OnEpoch | None = None if on_epoch is None else after_epoch
    train(trainable, examples, rows, config, seed, ledger, callback)
    return trainable, examples, network, cut


def _probe_of(config: TrialConfig) -> TrialConfig:
    """The probe whose solution the head starts from: of the plain view, which every search has cached by now."""
    return replace(config, recipe="probe", augmentation="none", head_rate=HEAD_RATE, epochs=HEAD_EPOCHS)


def _examples(task: Task, config: TrialConfig, cut: Cut | None) -> Examples:
    sources, classes = task.sources, len(task.classes)
    if cut is None:
        with task.ledger.phase("decode"):
            images = open_images(sources.manifest, config.image_size, sources.cache)
        rows = np.asarray(sources.rows)
        return Examples([images], task.labels, classes, index=rows)
    place = (config.backbone, config.weights, config.image_size, config.freeze_depth, cut.name)
    views = [
        cut_features(sources, *place, view, config.pooling, config.taps) for view in policy_views(config.augmentation)
    ]
    return Examples(views, task.labels, classes)


@lru_cache(maxsize=3)
def _compiled_tail(
    network: Network, cut: Cut | None, freeze_depth: float, shape: TrialConfig, classes: int, live: str
) -> Trainable:
    import keras

    _, prefix, tail = cut_network(network, freeze_depth, shape.pooling, shape.taps)
    if prefix is None:
        inputs = keras.Input(tail.input_shape[1:], dtype="uint8")
        layers = live_layers(live, seed=0)
        seen = as_float(inputs if layers is None else layers(inputs))
    else:
        inputs = seen = keras.Input(prefix.output_shape[1:])
    features = seen if tail is None else tail(seen, training=False)
    pooled = pool(features, shape.pooling) if shape.taps == "last" else features
    head = build_head(shape, pooled.shape[1:], classes)
    model = keras.Model(inputs, head(pooled))
    return compile_trainable(model, list(head.trainable_variables))
