"""Train a compiled network on cached arrays: one loop for heads on pooled features and tails on a cached cut.

The loop steps with `train_on_batch`, so that it can stop at any step, time the first trace apart from the rest, and
set what changes from step to step in variables. A compiled network is kept and reset between trials, never rebuilt: the
graph of an architecture is traced once per worker. Smoothing, mixup and the weights of rows are done to its inputs.

After an epoch all that training depends on can be copied, and another process goes on from it to the same weights.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from autotl.errors import TrialError
from autotl.learn.accumulation import part_size, parts_of
from autotl.learn.averaging import averaged, use_averages
from autotl.learn.checkpoints import FROM_THE_START, Resume, TrainingState
from autotl.learn.config import TrialConfig
from autotl.learn.examples import Batch, Examples, draw_epoch
from autotl.learn.ledger import Ledger
from autotl.learn.optimizer import (
    HEAD,
    averaging_share,
    make_optimizer,
    reset_optimizer,
    set_step,
    set_steps_done,
)

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
    passes: int = 1
    """That a training step is made of: a batch goes through in so many parts."""
    predict_batch: int = PREDICT_BATCH


def compile_trainable(
    model: Any,
    head_variables: list[Any],
    stages: Mapping[int, int] | None = None,
    place: str | None = None,
    multiply_adds: int = 0,
    passes: int = 1,
    predict_batch: int = PREDICT_BATCH,
    scales_loss: bool = False,
) -> Trainable:
    """Compile a model whose `head_variables` train at the head's rate and whose others train at their stage's.

    Args:
        stages: of the network's variables, by `id`, counted from the head; 1, the last one, where it is not said.
        place: what the model's inputs are, for the ledger.
        multiply_adds: of one image in a training step, for the ledger.
        passes: that a training step is made of, where a whole batch takes too much memory.
        predict_batch: images that are predicted at a time.
        scales_loss: for a network that computes in float16.
    """
    import keras

    variables = list(model.trainable_variables)
    stage_of = {**({} if stages is None else stages), **{id(variable): HEAD for variable in head_variables}}
    model.compile(
        optimizer=make_optimizer([stage_of.get(id(variable), HEAD + 1) for variable in variables], passes, scales_loss),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(variables)
    return Trainable(model, set(), place, multiply_adds, passes, predict_batch)


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
    resume: Resume = FROM_THE_START,
) -> int:
    """Fit the network to the given rows: warm-up and cosine schedule over `config.epochs`, a random view per visit.

    With `config.ema` the network has the averages of its weights while `on_epoch` runs, and in the end.

    Args:
        on_epoch: called with the number of epochs done; training ends when it answers True.
        should_stop: asked after every 8th step; when it answers True, training ends as if the epoch were over.
        resume: where training begins: the state after an epoch of a training with the same arguments, or nothing. It
            ends at the same weights in both cases. The state is offered after `on_epoch`, unless training ends.

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
    reseed(trainable.model, seed)
    trainable.model.reset_metrics()
    begin, ends = 0, False
    if resume.start is not None:
        begin = resume.start.epoch
        _restore(trainable, resume.start, begin * steps, generator)
    for epoch in range(begin, config.epochs):
        restart_draws(seed, epoch)
        batches = draw_epoch(examples, rows, batch, config, generator)
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
        if epoch + 1 < config.epochs:
            resume.keep(partial(_copy_state, trainable, epoch + 1, generator))
    if averages:
        use_averages(trainable)
    return epoch + 1


def reseed(model: Any, seed: int) -> None:
    """Restart dropout and augmentation, whose random states live on in a model that serves many trials."""
    for number, state in enumerate(_random_states(model)):
        state.assign(np.array([seed, number], dtype="uint32"))


def _random_states(model: Any) -> list[Any]:
    return [variable for variable in model.variables if variable.name == "seed_generator_state"]


def restart_draws(seed: int, epoch: int) -> None:
    """Have what is drawn in an epoch depend on nothing before it: torch draws dropout from a state of the process."""
    import keras

    if keras.backend.backend() == "torch":
        keras.utils.set_random_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))


def _changing(trainable: Trainable) -> list[Any]:
    """The variables that steps change and later steps depend on."""
    model = trainable.model
    return [*model.trainable_variables, *model.optimizer.moments, *_random_states(model)]


def _copy_state(trainable: Trainable, epoch: int, generator: np.random.Generator) -> TrainingState:
    values = tuple(np.array(variable.numpy()) for variable in _changing(trainable))
    return TrainingState(epoch, values, generator.bit_generator.state)


def _restore(trainable: Trainable, state: TrainingState, steps: int, generator: np.random.Generator) -> None:
    for variable, value in zip(_changing(trainable), state.values, strict=True):
        variable.assign(value)
    set_steps_done(trainable.model.optimizer, steps)
    generator.bit_generator.state = state.generator


def schedule(step: int, total: int) -> float:
    """The share of the full rate at a step: linear warm-up over a tenth of training, then a cosine to zero."""
    warm_up = max(1, round(WARM_UP * total))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))


def _set_step(trainable: Trainable, step: int, total: int, averages: bool) -> None:
    new_share = averaging_share(step, total) if averages else 1.0
    set_step(trainable.model.optimizer, schedule(step, total), new_share)


def _step(trainable: Trainable, batches: Iterator[Batch], size: int, ledger: Ledger) -> float:
    kind = ("train", part_size(size, trainable.passes))
    phase = "trace" if _is_new(trainable, kind) else "train"
    with ledger.phase(phase):
        for inputs, targets, weights in parts_of(next(batches), trainable.passes):
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


def predict_logits(trainable: Trainable, examples: Examples, rows: np.ndarray, ledger: Ledger) -> np.ndarray:
    """Logits `[len(rows), C]` of the plain view, in batches of one shape."""
    logits = np.empty((len(rows), examples.classes), np.float32)
    size = trainable.predict_batch
    plain = np.zeros(size, np.int64)
    kind = ("predict", size)
    for start in range(0, len(rows), size):
        chunk = rows[start : start + size]
        padded = np.concatenate([chunk, np.full(size - len(chunk), chunk[0])])
        phase = "trace" if _is_new(trainable, kind) else "evaluate"
        with ledger.phase(phase):
            outputs = trainable.model.predict_on_batch(examples.batch(padded, plain))
        if phase == "trace":
            trainable.traced.add(kind)
            ledger.count("traces")
        logits[start : start + len(chunk)] = np.asarray(outputs)[: len(chunk)]
    return logits
