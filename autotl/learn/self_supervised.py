"""Train a network on images without labels: two random views of one image are to come out alike.

SimSiam (Chen and He, https://arxiv.org/abs/2011.10566): a predictor foretells the projection of the other view, through
which no gradient flows. VICReg (Bardes et al., https://arxiv.org/abs/2105.04906): the projections agree, each dimension
of them varies within the batch, and no two dimensions say the same. Both keep the network from giving all images the
same features; whether that worked is measured, on images that are held out.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autotl.errors import TrialError
from autotl.learn.batch_statistics import SETTLE_BATCH, spread
from autotl.learn.checkpoints import Report
from autotl.learn.config import TrialConfig
from autotl.learn.examples import Examples
from autotl.learn.forward import as_float
from autotl.learn.networks import multiply_adds
from autotl.learn.optimizer import HEAD, make_optimizer
from autotl.learn.pooling import pool
from autotl.learn.precision import MIXED_FLOAT16, precision_of
from autotl.learn.pretrain import BACKWARD, Parts, open_examples, open_network, train_and_save
from autotl.learn.self_supervised_views import two_views
from autotl.learn.task import Task
from autotl.learn.training import Trainable

WIDTH, BOTTLENECK = 512, 128  # of projector and predictor: a quarter of SimSiam's, for networks that are smaller
AGREE, VARY, DIFFER = 25.0, 25.0, 1.0  # VICReg's weights of its three terms
TINY = 1e-4
MATCHED = 512  # held-out images that are looked for, at most
MATCH_SEED = 1


def run_self_supervised(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Train a network on the training rows without their labels and save it.

    Args:
        payload: see `autotl.learn.jobs.run_job`; the configuration's `head` is "simsiam" or "vicreg".

    Returns:
        As `autotl.learn.pretrain.run_pretrain`; `scores` and the curve are those of `match`.

    Raises:
        TrialError: the loss is no longer finite, or the network cannot be saved.
    """
    unlabelled = np.zeros(len(task.labels), np.int64)  # what the labels say is not known here
    examples = open_examples(task, config, unlabelled, 1)
    network = open_network(config, payload["seed"], task.ledger)
    precision = precision_of(payload)
    with task.ledger.phase("build"):
        trainable = with_two_views(network, config, precision == MIXED_FLOAT16)
        embedder = _embedder(network, config)
        find = matcher(embedder, examples, spread(task.validation, MATCHED))

    def score() -> dict[str, Any]:
        return {**find(), "n": min(MATCHED, len(task.validation))}

    parts = Parts(network, trainable, embedder, examples, find, score)
    return train_and_save(parts, task, config, {**payload, "precision": precision}, report)


def with_two_views(network: Any, config: TrialConfig, scales_loss: bool = False) -> Trainable:
    """uint8 images to what the loss takes of both views, side by side, `[B, P]`; compiled.

    Raises:
        TrialError: there is no such loss.
    """
    import keras

    if config.head not in LOSSES:
        raise TrialError(f"Without labels the loss is one of {', '.join(LOSSES)}, not {config.head!r}.")
    inputs = keras.Input(network.input_shape[1:], dtype="uint8")
    first, second = two_views(as_float(inputs), seed=0)
    projector = _layers("projector", WIDTH, WIDTH, WIDTH)
    embedder = _embedder(network, config)
    projections = [projector(embedder(view)) for view in (first, second)]
    parts = list(projections)
    if config.head == "simsiam":
        predictor = _layers("predictor", BOTTLENECK, WIDTH)
        parts += [predictor(one) for one in projections]
    model = keras.Model(inputs, keras.ops.concatenate(parts, axis=1))
    model.compile(optimizer=make_optimizer(_stages(model, network), scales_loss=scales_loss), loss=LOSSES[config.head])
    model.optimizer.build(model.trainable_variables)
    return Trainable(model, set(), "input", 2 * (1 + BACKWARD) * multiply_adds(network))


def _embedder(network: Any, config: TrialConfig) -> Any:
    """Float images to pooled features."""
    import keras

    return keras.Model(network.input, pool(network.output, config.pooling), name="embedder")


def _stages(model: Any, network: Any) -> list[int]:
    """The network trains at the tail's rate, what is put on it at the head's."""
    inner = {id(variable) for variable in network.trainable_variables}
    return [HEAD + 1 if id(variable) in inner else HEAD for variable in model.trainable_variables]


def _layers(name: str, *widths: int) -> Any:
    """Dense layers, each but the last with batch normalisation and ReLU behind it."""
    import keras

    layers: list[Any] = []
    for width in widths[:-1]:
        layers += [keras.layers.Dense(width, use_bias=False), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    return keras.Sequential([*layers, keras.layers.Dense(widths[-1])], name=name)


def simsiam_loss(_: Any, outputs: Any) -> Any:
    """Of projections and predictions of two views `[B, 4 D]`, for each image `[B]`; from -1, all alike, to 1."""
    from keras import ops

    first, second, foretold_second, foretold_first = ops.split(outputs, 4, axis=1)

    def away(prediction: Any, target: Any) -> Any:
        target = ops.stop_gradient(target)
        return -ops.sum(ops.normalize(prediction, axis=1) * ops.normalize(target, axis=1), axis=1)

    return 0.5 * (away(foretold_second, second) + away(foretold_first, first))


def vicreg_loss(_: Any, outputs: Any) -> Any:
    """Of projections of two views `[B, 2 D]`; one number of the batch, for each of its images `[B]`."""
    from keras import ops

    views = ops.split(outputs, 2, axis=1)
    width, batch = views[0].shape[1], ops.cast(ops.shape(outputs)[0], outputs.dtype)
    loss = AGREE * ops.mean(ops.square(views[0] - views[1]))
    for view in views:
        centred = view - ops.mean(view, axis=0)
        covariance = ops.matmul(ops.transpose(centred), centred) / (batch - 1.0)
        variances = ops.diagonal(covariance)
        loss += 0.5 * VARY * ops.mean(ops.relu(1.0 - ops.sqrt(variances + TINY)))
        loss += DIFFER * (ops.sum(ops.square(covariance)) - ops.sum(ops.square(variances))) / width
    return ops.broadcast_to(loss, (ops.shape(outputs)[0],))


LOSSES: dict[str, Callable[[Any, Any], Any]] = {"simsiam": simsiam_loss, "vicreg": vicreg_loss}


def matcher(embedder: Any, examples: Examples, rows: np.ndarray) -> Callable[[], dict[str, float]]:
    """A function that measures how well features tell held-out images apart, by two fixed random views of each.

    It gives `match`: the share of images whose other view is the most alike of all by the cosine, which is 1/n by
    chance; and `spread`: of features on the unit sphere, 1 where they lie all around it, 0 where all are the same.
    """
    import keras

    plain = np.zeros(len(rows), np.int64)
    inputs = keras.Input(embedder.input_shape[1:], dtype="uint8")
    draw = keras.Model(inputs, two_views(as_float(inputs), seed=MATCH_SEED))
    parts = [rows[start : start + SETTLE_BATCH] for start in range(0, len(rows), SETTLE_BATCH)]
    drawn = [draw(examples.batch(part, plain[: len(part)]), training=True) for part in parts]
    views = [np.concatenate([np.asarray(pair[side]) for pair in drawn]) for side in (0, 1)]

    def find() -> dict[str, float]:
        first, second = (_unit(embedder.predict(view, batch_size=SETTLE_BATCH, verbose=0)) for view in views)
        nearest = (first @ second.T).argmax(axis=1)
        sphere = math.sqrt(first.shape[1]) * float(first.std(axis=0).mean())
        return {"match": float((nearest == np.arange(len(first))).mean()), "spread": round(sphere, 6)}

    return find


def _unit(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: np.ndarray = features / np.maximum(lengths, 1e-12)
    return unit
