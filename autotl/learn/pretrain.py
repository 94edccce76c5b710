"""Train a whole network on a source data set, from random weights or going on from others, and keep it without a head.

Everything trains, batch normalisation too: by the statistics of each batch. What it uses in inference is measured anew
whenever the network is scored, on plain images and with the very weights that are scored: running averages would mix in
those of weights long gone, most of all in a short training, and know nothing of averaged weights. So they are no part
of the state that a training goes on from.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autotl.backbones.cuts import stage_cuts
from autotl.backbones.registry import load_backbone
from autotl.errors import TrialError
from autotl.learn.batch_statistics import SETTLE_BATCH, settle_statistics, spread
from autotl.learn.bootstrap import bootstrap_interval
from autotl.learn.checkpoints import Course, Report, open_course
from autotl.learn.config import TrialConfig
from autotl.learn.examples import Examples
from autotl.learn.forward import as_float
from autotl.learn.ledger import Ledger
from autotl.learn.metrics import scores, softmax
from autotl.learn.networks import multiply_adds
from autotl.learn.pooling import pool
from autotl.learn.precision import FLOAT32, MIXED_FLOAT16, computing_in, precision_of
from autotl.learn.seeding import seed_building
from autotl.learn.task import Task
from autotl.learn.training import PREDICT_BATCH, Trainable, compile_trainable, predict_logits, train
from autotl.learn.trials import make_alarm
from autotl.learn.views import live_layers

BACKWARD = 2  # passes that the gradients of a layer cost
SETTLE_EPOCH, SETTLE_END = 4, 32  # batches that the statistics are measured on, after an epoch and in the end
POINTS = 40  # of the curve, at most
EPOCHS_FILE, MODEL_FILE = "epochs.json", "backbone.keras"
SAME = 1e-4  # the largest difference between a saved network and the live one, as a share of the largest feature


def run_pretrain(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Train a network on the training rows, score it on the validation rows and save it without its head.

    Args:
        payload: see `autotl.learn.jobs.run_job`.

    Returns:
        model (path of `backbone.keras`: RGB 0..255 to features), output (the operation that makes them), scores (of
        the trained head on the validation rows, with `accuracy_ci95`), curve [{epoch, loss, accuracy, log_loss}],
        epochs (that were trained), precision (that it was trained in), parameters (without the head); `stopped` where
        it was told to stop, alone.

    Raises:
        TrialError: the loss is no longer finite, or the network cannot be saved.
    """
    examples = open_examples(task, config, task.labels, len(task.classes))
    network = open_network(config, payload["seed"], task.ledger)
    precision = precision_of(payload)
    trainable = _with_head(network, config, task, precision == MIXED_FLOAT16)

    def measure() -> dict[str, float]:
        logits = predict_logits(trainable, examples, task.validation, task.ledger)
        found = scores(softmax(logits), task.labels[task.validation])
        return {"accuracy": found["accuracy"], "log_loss": found["log_loss"]}

    def score() -> dict[str, Any]:
        probabilities = softmax(predict_logits(trainable, examples, task.validation, task.ledger))
        labels = task.labels[task.validation]
        return {**scores(probabilities, labels), "accuracy_ci95": bootstrap_interval(probabilities, labels)}

    parts = Parts(network, trainable, trainable.model, examples, measure, score)
    return train_and_save(parts, task, config, {**payload, "precision": precision}, report)


class Parts(NamedTuple):
    """What is trained and kept, and how it is measured on held-out images."""

    network: Any
    trainable: Trainable
    """The network with what is put on it to be trained."""
    predictor: Any
    """The model that it is measured with."""
    examples: Examples
    measure: Callable[[], dict[str, float]]
    """After an epoch, for the curve; the first value is what is reported."""
    score: Callable[[], dict[str, Any]]
    """In the end."""


def train_and_save(
    parts: Parts, task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report
) -> dict[str, Any]:
    """Train on the training rows, measure along the way, and save the network; see `run_pretrain`.

    It is trained in the payload's `precision`. What is scored in the end and saved computes in float32.
    """
    network, trainable, predictor, examples, measure, score = parts
    course, alarm, ledger = open_course(task, config, payload, report), make_alarm(payload), task.ledger
    some = spread(task.train, SETTLE_BATCH * SETTLE_EPOCH)
    resume, curve, stopped = course.resume(), _earlier_epochs(course), False
    every, value = math.ceil(config.epochs / POINTS), course.curve[-1] if course.curve else 0.0

    def after_epoch(epoch: int) -> bool:
        nonlocal stopped, value
        ends = alarm()
        point = {"epoch": epoch, "loss": _epoch_loss(trainable)}
        if epoch % every == 0 or epoch == config.epochs or ends:
            settle_statistics(network, examples, some, ledger)
            measured = measure()
            value = next(iter(measured.values()))
            _keep_epochs(payload, curve, point | measured)
        stopped = course.report(epoch, value)
        return stopped or ends

    with computing_in(payload["precision"], network):
        epochs = train(trainable, examples, task.train, config, payload["seed"], ledger, after_epoch, alarm, resume)
    if stopped:
        return {"stopped": True}
    if payload["precision"] != FLOAT32:
        predictor.make_predict_function(force=True)  # as it was traced it computes in that precision
    settle_statistics(network, examples, spread(task.train, SETTLE_BATCH * SETTLE_END), ledger)
    scored = score()
    saved = save_network(network, examples, task, payload)
    trained = {"epochs": epochs, "precision": payload["precision"], "stopped": False}
    return {**saved, "scores": scored, "curve": curve, **trained}


def open_examples(task: Task, config: TrialConfig, labels: np.ndarray, classes: int) -> Examples:
    """The images of the task, with these labels."""
    images = task.sources.images(config.image_size)
    return Examples([images], labels, classes, index=np.asarray(task.sources.rows))


def open_network(config: TrialConfig, seed: int, ledger: Ledger) -> Any:
    """A network of its own, with all of it in training: those that searches share keep their batch statistics.

    Random weights are those of the seed.
    """
    with ledger.phase("import"):
        import keras  # noqa: F401
    with ledger.phase("build"):
        seed_building(seed)
        network = load_backbone(config.backbone).build(config.image_size, config.weights)
        network.trainable = True
    return network


def _with_head(network: Any, config: TrialConfig, task: Task, scales_loss: bool) -> Trainable:
    """uint8 images to logits, by augmentation, the network, pooling and a linear head; compiled."""
    import keras

    with task.ledger.phase("build"):
        inputs = keras.Input(network.input_shape[1:], dtype="uint8")
        layers = live_layers(config.augmentation, seed=0)
        seen = as_float(inputs if layers is None else layers(inputs))
        head = keras.layers.Dense(len(task.classes), name="head")
        model = keras.Model(inputs, head(pool(network(seen), config.pooling)))
        batch = min(config.batch_size, len(task.train))
        passes = math.ceil(batch / task.sources.at_most(batch))
        cost = (1 + BACKWARD) * multiply_adds(network)
        predicted = task.sources.at_most(PREDICT_BATCH)
        return compile_trainable(model, head.trainable_variables, None, "input", cost, passes, predicted, scales_loss)


def _epoch_loss(trainable: Trainable) -> float:
    """The mean loss of the steps since this was asked last."""
    loss = float(trainable.model.get_metrics_result()["loss"])
    trainable.model.reset_metrics()
    return loss


def _earlier_epochs(course: Course) -> list[dict[str, Any]]:
    """The points of the curve that the attempt before this one has left, up to where it is gone on with."""
    path = None if course.before is None else course.before / EPOCHS_FILE
    if path is None or not path.is_file():
        return []
    done = course.reports[-1][0] if course.reports else 0
    return [point for point in json.loads(path.read_text()) if point["epoch"] <= done]


def _keep_epochs(payload: Mapping[str, Any], curve: list[dict[str, Any]], point: dict[str, Any]) -> None:
    """One more point of the curve, for who watches and for a later attempt."""
    curve.append(point)
    path = Path(payload["folder"]) / EPOCHS_FILE
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(curve))
    temporary.replace(path)


def save_network(network: Any, examples: Examples, task: Task, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Save a network as it is, and read it again.

    Raises:
        TrialError: it does not load in safe mode, or computes something else then.
    """
    import keras

    path = Path(payload["folder"]) / MODEL_FILE
    with task.ledger.phase("save"):
        network.save(path)
        images = examples.batch(task.train[:8], np.zeros(len(task.train[:8]), np.int64)).astype(np.float32)
        live = np.asarray(network(images, training=False))
        read = keras.saving.load_model(path, compile=False, safe_mode=True)
        difference = float(np.abs(live - np.asarray(read(images, training=False))).max())
    if not difference <= SAME * max(1.0, float(np.abs(live).max())):
        raise TrialError(f"A saved network must compute what the live one does; they differ by {difference}.")
    return {
        "model": str(path),
        "output": stage_cuts(network)[-1].name,
        "parameters": int(network.count_params()),
    }
