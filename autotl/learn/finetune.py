"""Fine-tuning: tail and head trained together from activations at a cached cut.

The head starts at the probe's solution and the tail at its pretrained weights (LP-FT: Kumar et al.,
https://arxiv.org/abs/2202.10054), so the first steps do not spoil features for the sake of a random head. Batch
normalisation stays in inference mode; what else behaves differently in training (dropout, stochastic depth) does so in
the tail alone. Depthwise kernels stay as they are too, unless nothing is frozen: they are a hundredth of the weights,
and their gradient a third of a step (`docs/architecture.md`). With a cut, every epoch reads cached views and the prefix
never runs again; without one (nothing frozen), and where a last fit can afford it, images are augmented afresh in every
step.
"""

import math
from bisect import bisect_left
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from autotl.backbones.cuts import Cut
from autotl.backbones.graph import calls, flatten, weights_of
from autotl.learn.checkpoints import FROM_THE_START, Resume
from autotl.learn.config import TrialConfig
from autotl.learn.examples import Examples
from autotl.learn.features import cut_features, prepare_features
from autotl.learn.forward import as_float
from autotl.learn.heads import build_head
from autotl.learn.modes import in_mode
from autotl.learn.networks import Network, borrow_network, cut_network, multiply_adds
from autotl.learn.pooling import pool
from autotl.learn.probe import architecture, fit_head
from autotl.learn.seeding import seed_building
from autotl.learn.task import Task
from autotl.learn.training import PREDICT_BATCH, OnEpoch, ShouldStop, Trainable, compile_trainable, train
from autotl.learn.views import PLAIN, live_layers, policy_views

FRESH = ("light", "strong")  # augmentations that a last fit draws anew in every epoch, not from cached views
HEAD_RATE = 5e-3  # for a head that is trained: a linear one is solved and has no rate
HEAD_EPOCHS = 20
BACKWARD = 2  # passes that the gradients of a layer cost: those of its input and those of its kernel


def fit_finetune(
    task: Task,
    config: TrialConfig,
    rows: np.ndarray,
    seed: int,
    on_epoch: Any = None,
    *,
    should_stop: ShouldStop | None = None,
    fresh: bool = False,
    resume: Resume = FROM_THE_START,
) -> tuple[Trainable, Examples, Network, Cut | None]:
    """Fine-tune on `rows`.

    Args:
        on_epoch: called as `on_epoch(trainable, examples, epoch)`; training ends when it answers True.
        should_stop: asked within epochs too; training ends when it answers True.
        fresh: augment images anew in every step, and run the frozen part on them, instead of reading cached views. It
            costs a forward pass of the frozen part for each image and step. Without augmentation it changes nothing.
        resume: where training begins, and who keeps its state; see `autotl.learn.training.train`.

    Returns:
        The trained tail with its head, the examples that it reads, the backbone (whose own variables were trained) and
        the cut.
    """
    trainable, examples, network, cut = open_tail(task, config, rows, seed, fresh)

    def after_epoch(epoch: int) -> bool:
        return bool(on_epoch(trainable, examples, epoch))

    callback: OnEpoch | None = None if on_epoch is None else after_epoch
    train(trainable, examples, rows, config, seed, task.ledger, callback, should_stop, resume)
    return trainable, examples, network, cut


def open_tail(
    task: Task, config: TrialConfig, rows: np.ndarray, seed: int, fresh: bool = False
) -> tuple[Trainable, Examples, Network, Cut | None]:
    """What `fit_finetune` begins with and returns, before any training: the head fitted, the network as it came."""
    ledger, place = task.ledger, (config.backbone, config.weights, config.image_size)
    network = borrow_network(config.backbone, config.image_size, config.weights, ledger)
    cut, _, _ = cut_network(network, config.freeze_depth)
    live = config.augmentation if fresh or cut is None else "none"
    if cut is not None and live == "none" and config.taps == "last":  # one pass for what the head and the tail read
        prepare_features(task.sources, *place, PLAIN, [cut.name], pooled=True)
    head = fit_head(task, _probe_of(config), rows, seed)
    examples = _examples(task, config, None if live != "none" else cut)
    network.restore()  # computing a store may have borrowed the network, and memory may hold another trial's tail
    with ledger.phase("build"):
        seed_building(seed)
        stages_frozen = 0 if cut is None else 1 + network.cuts.index(cut)
        batch = min(config.batch_size, len(rows))
        passes = math.ceil(batch / task.sources.at_most(batch))
        predicted = task.sources.at_most(PREDICT_BATCH)
        shape, classes = architecture(config), len(task.classes)
        trainable = _compiled_tail(network, stages_frozen, shape, classes, live, passes, predicted)
        trainable.model.get_layer("head").set_weights(head.get_weights())
    return trainable, examples, network, cut


def _probe_of(config: TrialConfig) -> TrialConfig:
    """The probe whose solution the head starts from: of the plain view, which every search has cached by now."""
    plain = replace(config, augmentation="none", mixup=0.0, ema="off")
    return replace(plain, recipe="probe", head_rate=HEAD_RATE, epochs=HEAD_EPOCHS)


def _examples(task: Task, config: TrialConfig, cut: Cut | None) -> Examples:
    sources, classes = task.sources, len(task.classes)
    if cut is None:
        return Examples([sources.images(config.image_size)], task.labels, classes, index=np.asarray(sources.rows))
    place = (config.backbone, config.weights, config.image_size, config.freeze_depth, cut.name)
    views = [
        cut_features(sources, *place, view, config.pooling, config.taps) for view in policy_views(config.augmentation)
    ]
    return Examples(views, task.labels, classes, sources.index)


@lru_cache(maxsize=3)
def _compiled_tail(
    network: Network, stages_frozen: int, shape: TrialConfig, classes: int, live: str, passes: int, predicted: int
) -> Trainable:
    """The trained part with its head: on images where nothing is frozen or images are augmented, else on activations.

    It is the same for all freeze depths that come to one cut.
    """
    import keras

    depth = stages_frozen / len(network.cuts)
    cut, prefix, tail = cut_network(network, depth, shape.pooling, shape.taps)
    cost = 0 if tail is None else (1 + BACKWARD) * multiply_adds(tail)
    frozen: list[Any] = []
    if prefix is not None and live == "none":
        inputs = seen = keras.Input(prefix.output_shape[1:])
    else:
        inputs = keras.Input(network.model.input_shape[1:], dtype="uint8")
        layers = live_layers(live, seed=0)
        seen = as_float(inputs if layers is None else layers(inputs))
        if prefix is not None:
            seen = keras.ops.stop_gradient(in_mode(prefix, training=False, name="frozen")(seen))
            frozen = prefix.variables
            cost += multiply_adds(prefix)
    if cut is not None and tail is not None:
        frozen = [*frozen, *_depthwise_kernels(tail)]
    features = seen if tail is None else tail(seen)
    pooled = pool(features, shape.pooling) if shape.taps == "last" else features
    head = build_head(shape, pooled.shape[1:], classes)
    model = _model_with_frozen(inputs, head(pooled), frozen)
    place = "input" if cut is None else cut.name
    trained = list(head.trainable_variables)
    return compile_trainable(model, trained, stages_of(network), place, cost, passes, predicted)


def _depthwise_kernels(tail: Any) -> list[Any]:
    import keras

    kinds = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
    return [layer.kernel for layer in tail._flatten_layers(include_self=False) if isinstance(layer, kinds)]


def _model_with_frozen(inputs: Any, outputs: Any, frozen: list[Any]) -> Any:
    """A Functional model in which some variables do not train.

    They are not marked, for other models train them: a layer has one mark in all models that share it.
    """
    import keras

    ids = {id(variable) for variable in frozen}
    if not ids:
        return keras.Model(inputs, outputs)

    class PartlyFrozen(keras.Model):  # type: ignore[misc]
        @property
        def trainable_variables(self) -> list[Any]:
            return [variable for variable in super().trainable_variables if id(variable) not in ids]

        @property
        def trainable_weights(self) -> list[Any]:
            return self.trainable_variables

        @property
        def non_trainable_variables(self) -> list[Any]:
            trained = {id(variable) for variable in self.trainable_variables}
            return [variable for variable in self.variables if id(variable) not in trained]

    return PartlyFrozen(inputs, outputs)


def stages_of(network: Network) -> dict[int, int]:
    """The stage of every variable of a network, by its `id`, counted from the head: 1 is the last one.

    A stage has the operations up to its cut, in the order of the graph; a layer that is called in several is in the
    first of them.
    """
    ends = [cut.index for cut in network.cuts]
    stages: dict[int, int] = {}
    for position, node in enumerate(calls(flatten(network.model))):
        for variable in weights_of(node.operation):
            stages.setdefault(id(variable), len(ends) - min(bisect_left(ends, position), len(ends) - 1))
    return stages
