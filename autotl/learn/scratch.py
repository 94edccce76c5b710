"""Training from scratch: the baseline that transfer has to beat, and the home of whole KerasTuner hypermodels.

A hypermodel is trained as KerasTuner would train it: by `hypermodel.fit(hp, model, images, ...)`, with the optimizer
and the loss that it compiled. autotl adds one callback, which scores, reports and stops. A `fit` of its own gets the
images as a `keras.utils.PyDataset` of batches (in place of `x` and `y`), `validation_data` of the same kind, `epochs`,
`callbacks` and `verbose`; what it sets itself is left to it. A hyperparameter called `batch_size` sets the batches.

A backbone is scored with the batch statistics of images that it was fitted to, under the weights as they are then.
After a few dozen steps running averages are those of weights long gone, and all images look the same.

Pixels are scaled to 0..1, unless the model has a Rescaling or Normalization layer of its own: then it gets 0..255.

A training that was cut off goes on from its last epoch, but for a `fit` of the hypermodel's own: nobody can step into
the middle of that.
"""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from autotl.errors import TrialError
from autotl.learn.batch_statistics import settle_statistics, spread
from autotl.learn.batches import ImageBatches
from autotl.learn.checkpoints import FROM_THE_START, Resume, TrainingState
from autotl.learn.config import TrialConfig
from autotl.learn.examples import Examples
from autotl.learn.features import BATCH, forward_batches
from autotl.learn.networks import multiply_adds
from autotl.learn.optimizer import set_step
from autotl.learn.task import Task
from autotl.learn.training import restart_draws, schedule
from autotl.learn.views import live_layers
from autotl.learn.whole_models import Whole, build_whole

VALIDATION_BATCH = 64
SETTLED = 256  # images whose batch statistics a backbone is scored with
OnEpoch = Callable[[int, np.ndarray | None], bool]
"""`on_epoch(epoch, logits)` after each epoch, with logits of the held-out rows where they are scored; True stops."""


@dataclass(frozen=True)
class Fitted:
    """A model trained from scratch."""

    whole: Whole
    logits: np.ndarray  # of the held-out rows, [n, C]
    options: dict[str, Any]  # the values of all hyperparameters that were used
    stopped: bool

    def to_json(self) -> dict[str, Any]:
        """What a trial's result says of it."""
        model = self.whole.model
        return {
            "options": self.options,
            "stopped": self.stopped,
            "trained_parameters": sum(math.prod(variable.shape) for variable in model.trainable_variables),
            "multiply_adds": multiply_adds(model),
        }


def fit_scratch(
    task: Task,
    config: TrialConfig,
    rows: np.ndarray,
    held_out: np.ndarray,
    seed: int,
    on_epoch: OnEpoch,
    resume: Resume = FROM_THE_START,
    scores_epochs: bool = True,
) -> Fitted:
    """Train on `rows`; `held_out` may be empty.

    Args:
        on_epoch: see OnEpoch.
        resume: where training begins, and who keeps its state; see `autotl.learn.training.train`.
        scores_epochs: False where nobody looks at an epoch's logits: then only the last are computed.

    Raises:
        UnsettledError: a hypermodel asks for other values than the configuration has.
        TrialError: the loss is no longer finite, or the model could not be delivered.
    """
    ledger, sources = task.ledger, task.sources
    images = sources.images(config.image_size)
    index = np.asarray(sources.rows)
    with ledger.phase("build"):
        whole = build_whole(config, len(task.classes), seed)

    examples, settled = Examples([images], task.labels, len(task.classes), index=index), spread(rows, SETTLED)

    def score() -> np.ndarray:
        if whole.has_schedule:
            settle_statistics(whole.model, examples, settled, ledger)
        with ledger.phase("evaluate"):
            batches = list(forward_batches(whole.scorer, images, index[held_out], sources.at_most(BATCH)))
            return np.concatenate(batches) if batches else np.zeros((0, len(task.classes)), np.float32)

    def batches(chosen: np.ndarray, shuffle: bool) -> ImageBatches:
        labels = task.labels[chosen]
        targets = labels if whole.is_sparse else np.eye(len(task.classes), dtype=np.float32)[labels]
        augment = live_layers(config.augmentation, seed) if shuffle else None
        size = _batch_size(whole, config) if shuffle else lambda: VALIDATION_BATCH
        return ImageBatches(images, index[chosen], targets, size, whole.scale, augment, seed if shuffle else None)

    training = batches(rows, shuffle=True)
    resume = resume if whole.fit is None else FROM_THE_START
    progress = Progress(whole, score if scores_epochs else None, on_epoch, training, seed, resume)
    begin = progress.epoch
    validation = batches(held_out, shuffle=False) if len(held_out) else None
    with ledger.phase("train"):
        _train(whole, training, validation, config.epochs, progress)
    ledger.count("images_trained", (progress.epoch - begin) * len(training) * training.batch_size)
    whole.insist_on_settled()  # a loop of the user's own may have called no callback
    if whole.fit is not None or progress.logits is None:  # weights may have been restored since the last epoch
        progress.logits = score()
    options = dict(config.options) if whole.replay is None else whole.replay.chosen()
    return Fitted(whole, progress.logits, options, progress.stopped)


def finish(scorer: Any, temperature: float, name: str) -> Any:
    """The model that is delivered: uint8 image in, calibrated probabilities out; see `autotl.learn.assemble`."""
    calibrated = keras.layers.Rescaling(1.0 / temperature, name="temperature")(scorer.outputs[0])
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(calibrated)
    return keras.Model(scorer.inputs[0], probabilities, name=name)


class Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """Scores the held-out rows after each epoch, if anybody looks; reports, and stops training when asked to."""

    def __init__(
        self,
        whole: Whole,
        score: Callable[[], np.ndarray] | None,
        on_epoch: OnEpoch,
        batches: ImageBatches,
        seed: int,
        resume: Resume,
    ) -> None:
        super().__init__()
        self._whole, self._score, self._on_epoch = whole, score, on_epoch
        self._batches, self._seed, self._resume = batches, seed, resume
        self.epoch = 0 if resume.start is None else resume.start.epoch
        self.stopped = False
        self.logits: np.ndarray | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self._whole.insist_on_settled()
        if self._resume.start is not None:
            self._restore(self._resume.start)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        restart_draws(self._seed, self.epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._whole.has_schedule:
            steps, epochs = len(self._batches), self.params["epochs"]
            set_step(self.model.optimizer, schedule(self.epoch * steps + batch, epochs * steps), 1.0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = 0.0 if logs is None else float(logs.get("loss", 0.0))
        if not math.isfinite(loss):
            raise TrialError(f"The loss must stay finite, it became {loss} in epoch {self.epoch + 1}. Lower the rate.")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epoch += 1  # of all calls of fit: a hypermodel may train in phases
        self.logits = None if self._score is None else self._score()
        if self._on_epoch(self.epoch, self.logits):
            self.stopped = epoch + 1 < self.params.get("epochs", epoch + 1)
            self.model.stop_training = True
        elif epoch + 1 < self.params.get("epochs", 0):
            self._resume.keep(self._copy_state)

    def _changing(self) -> list[Any]:
        """The variables that steps change and later steps depend on."""
        return [*self.model.variables, *self.model.optimizer.variables, *self._batches.variables]

    def _copy_state(self) -> TrainingState:
        order, generator = self._batches.position
        values = (np.array(variable.numpy()) for variable in self._changing())
        return TrainingState(self.epoch, (order, *values), generator)

    def _restore(self, state: TrainingState) -> None:
        order, *values = state.values
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        self._batches.go_to(order, state.generator)
        for variable, value in zip(self._changing(), values, strict=True):
            variable.assign(value)


def _batch_size(whole: Whole, config: TrialConfig) -> Callable[[], int]:
    def size() -> int:
        chosen = None if whole.replay is None else whole.replay.values.get("batch_size")
        return chosen if isinstance(chosen, int) and chosen > 0 else config.batch_size

    return size


def _train(
    whole: Whole, training: ImageBatches, validation: ImageBatches | None, epochs: int, progress: Progress
) -> None:
    keywords: dict[str, Any] = {"epochs": epochs, "callbacks": [progress], "verbose": 2}
    if whole.fit is None:
        # the batches are in a random order already: Keras would draw another one from Python's global generator
        whole.model.fit(training, initial_epoch=progress.epoch, shuffle=False, **keywords)
        return
    if validation is not None:
        keywords["validation_data"] = validation
    parameters = inspect.signature(whole.fit).parameters
    if "y" in parameters and parameters["y"].default is inspect.Parameter.empty:
        keywords["y"] = None  # the batches bring their targets
    while True:
        try:
            whole.fit(whole.replay, whole.model, training, **keywords)
            return
        except TypeError as error:
            found = re.search(r"got multiple values for keyword argument '(\w+)'", str(error))
            if found is None or keywords.pop(found[1], None) is None:
                raise  # not ours: else the hypermodel sets this itself
