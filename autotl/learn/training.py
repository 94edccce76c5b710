"""Train a compiled network on cached arrays: one loop for heads on pooled features and tails on a cached cut.

The loop steps with `train_on_batch`, so that it can stop between epochs, time the first trace apart from the rest, and
set the learning rate as a variable. A compiled network is kept and reset between trials, never rebuilt: the graph of an
architecture is traced once per worker.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.errors import TrialError
from autotl.learn.config import TrialConfig
from autotl.learn.ledger import Ledger
from autotl.learn.optimizer import make_optimizer, reset_optimizer

WARM_UP = 0.1
PREDICT_BATCH = 64


@dataclass(frozen=True)
class Trainable:
    """A compiled model from cached inputs to logits, and the set of input shapes it has been traced for."""

    model: Any
    traced: set[tuple[str, int]]


def compile_trainable(model: Any, head_variables: list[Any]) -> Trainable:
    """Compile a model whose `head_variables` train at the head's rate and whose others train at the tail's."""
    import keras

    model.compile(
        optimizer=make_optimizer(list(model.trainable_variables), head_variables),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    return Trainable(model, set())


@dataclass(frozen=True)
class Examples:
    """Inputs in one array per view (memory-mapped or not, all in the same row order), and their labels."""

    views: Sequence[np.ndarray]
    labels: np.ndarray  # [N]
    classes: int
    index: np.ndarray | None = None  # where each row lies in the arrays, when they hold other images too

    def batch(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Gather inputs `[B, ...]`, each row from its own view; float16 stores become float32, images stay uint8."""
        first = self.views[0]
        rows = rows if self.index is None else self.index[rows]
        dtype = np.uint8 if first.dtype == np.uint8 else np.float32
        gathered = np.empty((len(rows), *first.shape[1:]), dtype)
        for view in np.unique(views):
            chosen = views == view
            gathered[chosen] = self.views[view][rows[chosen]]
        return gathered


OnEpoch = Callable[[int], bool]


def train(
    trainable: Trainable,
    examples: Examples,
    rows: np.ndarray,
    config: TrialConfig,
    seed: int,
    ledger: Ledger,
    on_epoch: OnEpoch | None = None,
) -> int:
    """Fit the network to the given rows: warm-up and cosine schedule over `config.epochs`, a random view per visit.

    Args:
        on_epoch: called with the number of epochs done; training ends when it answers True.

    Returns:
        The number of epochs done.

    Raises:
        TrialError: the loss is no longer finite.
    """
    generator = np.random.default_rng(seed)
    batch = min(config.batch_size, len(rows))
    steps = len(rows) // batch
    total = steps * config.epochs
    reset_optimizer(trainable.model.optimizer, config.head_rate, config.tail_rate, config.weight_decay)
    _reseed(trainable.model, seed)
    trainable.model.reset_metrics()
    for epoch in range(config.epochs):
        order = generator.permutation(rows)
        views = generator.integers(len(examples.views), size=len(rows))
        for step in range(steps):
            position = slice(step * batch, (step + 1) * batch)
            trainable.model.optimizer.learning_rate = config.head_rate * schedule(epoch * steps + step, total)
            loss = _step(trainable, examples, order[position], views[position], config, ledger)
            if not math.isfinite(loss):
                raise TrialError(
                    f"The loss must stay finite, it became {loss} in epoch {epoch + 1}: the rates are too high."
                )
        ledger.count("images_trained", steps * batch)
        if on_epoch is not None and on_epoch(epoch + 1):
            return epoch + 1
    return config.epochs


def _reseed(model: Any, seed: int) -> None:
    """Restart dropout and augmentation, whose random states live on in a model that serves many trials."""
    states = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    for number, state in enumerate(states):
        state.assign(np.array([seed, number], dtype="uint32"))


def schedule(step: int, total: int) -> float:
    """The share of the full rate at a step: linear warm-up over a tenth of training, then a cosine to zero."""
    warm_up = max(1, round(WARM_UP * total))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))


def _step(
    trainable: Trainable,
    examples: Examples,
    rows: np.ndarray,
    views: np.ndarray,
    config: TrialConfig,
    ledger: Ledger,
) -> float:
    targets = smooth_targets(examples.labels[rows], examples.classes, config.label_smoothing)
    kind = ("train", len(rows))
    phase = "train" if kind in trainable.traced else "trace"
    with ledger.phase(phase):
        loss = trainable.model.train_on_batch(examples.batch(rows, views), targets)
    if phase == "trace":
        trainable.traced.add(kind)
        ledger.count("traces")
    return float(loss)


def smooth_targets(labels: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """One-hot targets `[B, C]` mixed with the uniform distribution; on the host, so that it is no part of the graph."""
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1.0 - smoothing
    return targets


def predict_logits(trainable: Trainable, examples: Examples, rows: np.ndarray, ledger: Ledger) -> np.ndarray:
    """Logits `[len(rows), C]` of the plain view, in batches of one shape."""
    logits = np.empty((len(rows), examples.classes), np.float32)
    plain = np.zeros(PREDICT_BATCH, np.int64)
    kind = ("predict", PREDICT_BATCH)
    for start in range(0, len(rows), PREDICT_BATCH):
        chunk = rows[start : start + PREDICT_BATCH]
        padded = np.concatenate([chunk, np.full(PREDICT_BATCH - len(chunk), chunk[0])])
        phase = "evaluate" if kind in trainable.traced else "trace"
        with ledger.phase(phase):
            outputs = trainable.model.predict_on_batch(examples.batch(padded, plain))
        if phase == "trace":
            trainable.traced.add(kind)
            ledger.count("traces")
        logits[start : start + len(chunk)] = np.asarray(outputs)[: len(chunk)]
    return logits
