"""Train a compiled network on cached arrays: one loop for heads on pooled features and tails on a cached cut.

The loop steps with `train_on_batch`, so that it can stop at any step, time the first trace apart from the rest, and
set what changes from step to step in variables. A compiled network is kept and reset between trials, never rebuilt: the
graph of an architecture is traced once per worker. Smoothing, mixup and the weights of rows are done to its inputs.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.data.arrays import release_pages
from autotl.errors import TrialError
from autotl.learn.averaging import averaged, use_averages
from autotl.learn.balance import class_weights
from autotl.learn.config import TrialConfig
from autotl.learn.ledger import Ledger
from autotl.learn.mixing import mix
from autotl.learn.optimizer import HEAD, averaging_share, make_optimizer, reset_optimizer, set_step
from autotl.learn.tables import Table

WARM_UP = 0.1
PREDICT_BATCH = 64
STOP_EVERY = 8
"""Steps from one question whether to stop to the next."""


@dataclass(frozen=True)
class Trainable:
    """A compiled model from cached inputs to logits, and the set of input shapes it has been traced for."""

    model: Any
    traced: set[tuple[str, int]]
    place: str | None = None
    """What its inputs are, in the ledger: the name of a cut, or "input"."""
    multiply_adds: int = 0
    """Of one image in a training step."""


def compile_trainable(
    model: Any,
    head_variables: list[Any],
    stages: Mapping[int, int] | None = None,
    place: str | None = None,
    multiply_adds: int = 0,
) -> Trainable:
    """Compile a model whose `head_variables` train at the head's rate and whose others train at their stage's.

    Args:
        stages: of the network's variables, by `id`, counted from the head; 1, the last one, where it is not said.
        place: what the model's inputs are, for the ledger.
        multiply_adds: of one image in a training step, for the ledger.
    """
    import keras

    variables = list(model.trainable_variables)
    stage_of = {**({} if stages is None else stages), **{id(variable): HEAD for variable in head_variables}}
    model.compile(
        optimizer=make_optimizer([stage_of.get(id(variable), HEAD + 1) for variable in variables]),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(variables)
    return Trainable(model, set(), place, multiply_adds)


@dataclass(frozen=True)
class Examples:
    """Inputs in one array per view (in memory, mapped or lazy, all in the same row order), and their labels."""

    views: Sequence[Table]
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
            release_pages(self.views[view])
        return gathered


OnEpoch = Callable[[int], bool]
ShouldStop = Callable[[], bool]


def train(
    trainable: Trainable,
    examples: Examples,
    rows: np.ndarray,
    config: TrialConfig,
    seed: int,
    ledger: Ledger,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
) -> int:
    """Fit the network to the given rows: warm-up and cosine schedule over `config.epochs`, a random view per visit.

    With `config.ema` the network has the averages of its weights while `on_epoch` runs, and in the end.

    Args:
        on_epoch: called with the number of epochs done; training ends when it answers True.
        should_stop: asked after every 8th step; when it answers True, training ends as if the epoch were over.

    Returns:
        The number of epochs done, the last one perhaps in part.

    Raises:
        TrialError: the loss is no longer finite.
    """
    generator = np.random.default_rng(seed)
    batch = min(config.batch_size, len(rows))
    steps = len(rows) // batch
    averages = config.ema == "on"
    reset_optimizer(
        trainable.model.optimizer, config.head_rate, config.tail_rate, config.layer_decay, config.weight_decay
    )
    _reseed(trainable.model, seed)
    trainable.model.reset_metrics()
    ends = False
    for epoch in range(config.epochs):
        batches = _draw_epoch(examples, rows, batch, config, generator)
        for step in range(epoch * steps, (epoch + 1) * steps):
            _set_step(trainable, step, steps * config.epochs, averages)
            loss = _step(trainable, batches, batch, ledger)
            if not math.isfinite(loss):
                raise TrialError(
                    f"The loss must stay finite, it became {loss} in epoch {epoch + 1}: the rates are too high."
                )
            ends = should_stop is not None and (step + 1) % STOP_EVERY == 0 and should_stop()
            if ends:
                break
        _count(trainable, (step + 1 - epoch * steps) * batch, ledger)
        if on_epoch is not None:
            with averaged(trainable) if averages else nullcontext():
                ends = on_epoch(epoch + 1) or ends
        if ends:
            break
    if averages:
        use_averages(trainable)
    return epoch + 1


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


def _set_step(trainable: Trainable, step: int, total: int, averages: bool) -> None:
    new_share = averaging_share(step, total) if averages else 1.0
    set_step(trainable.model.optimizer, schedule(step, total), new_share)


Batch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Inputs `[B, ...]`, targets `[B, C]` and the weights of their rows in the loss `[B]`."""


def _draw_epoch(
    examples: Examples, rows: np.ndarray, size: int, config: TrialConfig, generator: np.random.Generator
) -> Iterator[Batch]:
    """Yield the batches of one epoch; every row has a weight, so that a trial with class weights traces nothing."""
    weights = class_weights(examples.labels[rows], examples.classes)[examples.labels]
    if config.balance == "sampling":
        order = generator.choice(rows, len(rows), p=weights[rows] / weights[rows].sum(dtype=np.float64))
    else:
        order = generator.permutation(rows)
    if config.balance != "weights":
        weights = np.ones_like(weights)
    views = generator.integers(len(examples.views), size=len(rows))
    for start in range(0, len(rows) - size + 1, size):
        chosen = order[start : start + size]
        inputs = examples.batch(chosen, views[start : start + size])
        targets = smooth_targets(examples.labels[chosen], examples.classes, config.label_smoothing)
        drawn = (inputs, targets, weights[chosen])
        yield mix(*drawn, config.mixup, generator) if config.mixup > 0.0 else drawn


def _step(trainable: Trainable, batches: Iterator[Batch], size: int, ledger: Ledger) -> float:
    kind = ("train", size)
    phase = "trace" if _is_new(trainable, kind) else "train"
    with ledger.phase(phase):
        inputs, targets, weights = next(batches)
        loss = trainable.model.train_on_batch(inputs, targets, sample_weight=weights)
    if phase == "trace":
        trainable.traced.add(kind)
        ledger.count("traces")
    return float(loss)


def _is_new(trainable: Trainable, kind: tuple[str, int]) -> bool:
    """Whether a step of this kind is traced first. A second batch size makes TensorFlow trace once more, for any."""
    import keras

    sizes = [size for name, size in trainable.traced if name == kind[0]]
    return kind[1] not in sizes and not (len(sizes) > 1 and keras.backend.backend() == "tensorflow")


def _count(trainable: Trainable, images: int, ledger: Ledger) -> None:
    ledger.count("images_trained", images)
    if trainable.place is not None:
        ledger.count(f"trained/{trainable.place}", images)
        ledger.count("multiply_adds_trained", images * trainable.multiply_adds)


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
        phase = "trace" if _is_new(trainable, kind) else "evaluate"
        with ledger.phase(phase):
            outputs = trainable.model.predict_on_batch(examples.batch(padded, plain))
        if phase == "trace":
            trainable.traced.add(kind)
            ledger.count("traces")
        logits[start : start + len(chunk)] = np.asarray(outputs)[: len(chunk)]
    return logits
