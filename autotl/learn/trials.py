"""A trial: fit a configuration to some rows, score it on the others, by cross-validation or on the validation split."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autotl.data.folds import make_repeated_folds
from autotl.learn.checkpoints import Course, Report, Resume, open_course
from autotl.learn.config import TrialConfig
from autotl.learn.metrics import fit_temperature, scores, softmax
from autotl.learn.probe import cross_validate_linear, fit_probe, network_multiply_adds
from autotl.learn.task import Task

OnEpoch = Callable[[int, np.ndarray], bool]


class HeldOut(NamedTuple):
    """Logits `[M, C]` of held-out rows `[M]` (of all of them, once for each repeat), and what else is to be told."""

    logits: np.ndarray
    rows: np.ndarray
    extra: dict[str, Any]


class Watch(NamedTuple):
    """Who follows a fit.

    Attributes:
        on_epoch: takes the number of epochs done and the held-out logits, and answers True to end the fit.
        alarm: asked within epochs; True ends the fit too.
        keep: takes a fine-tuned network when it is done.
        resume: where the fit begins, and who keeps its state.
    """

    on_epoch: OnEpoch | None
    alarm: Callable[[], bool]
    keep: Callable[[Any], None]
    resume: Resume


def run_trial(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Fit and score; the held-out probabilities stay beside the trial's log as `validation.npz`.

    A trial that an earlier attempt has begun goes on from its last checkpoint: all folds and epochs before are as if
    they had been fitted here, but for the ledger.

    Args:
        payload: see `autotl.learn.jobs.run_job`.

    Returns:
        score, scores, temperature, curve, stopped, multiply_adds and settled: what the trial settled by itself, the
        penalty for one. And micro_batch, where batches went through in parts of at most so many images.
    """
    evaluate = {"cross_validation": _cross_validate, "holdout": _hold_out}[payload["evaluation"]]
    held_out = _in_order(evaluate(task, config, payload, report))
    labels = task.labels[held_out.rows]
    temperature = fit_temperature(held_out.logits, labels)
    probabilities = softmax(held_out.logits / temperature)
    folder = Path(payload["folder"])
    rows = task.places[held_out.rows]
    np.savez(folder / "validation.npz", probabilities=probabilities, rows=rows, labels=labels)
    measured = scores(probabilities, labels)
    extra = held_out.extra
    if "multiply_adds" not in extra:
        extra = {**extra, "multiply_adds": network_multiply_adds(task, config), "options": dict(config.options)}
    return {**extra, "score": measured[payload["metric"]], "scores": measured, "temperature": temperature}


def _in_order(held_out: HeldOut) -> HeldOut:
    """By rows, so that trials with the same folds compare row by row; the fits of one row stay in their order."""
    order = np.argsort(held_out.rows, kind="stable")
    return HeldOut(held_out.logits[order], held_out.rows[order], held_out.extra)


def make_alarm(payload: Mapping[str, Any]) -> Callable[[], bool]:
    """Tells whether the job's time is up: `stop_at` in the payload, in seconds since the epoch of the clock."""
    stop_at = payload.get("stop_at")
    return lambda: stop_at is not None and time.time() >= stop_at


def _score(task: Task, logits: np.ndarray, rows: np.ndarray, metric: str) -> float:
    """The metric after calibration: a fine-tuned network's overconfidence is one number, and no reason to reject it."""
    labels = task.labels[rows]
    return float(scores(softmax(logits / fit_temperature(logits, labels)), labels)[metric])


def _cross_validate(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> HeldOut:
    """Out-of-fold logits of all rows, or of those in the first `fitted_folds` folds.

    Within the first fold every epoch is reported, then every fold so far.
    """
    seed, metric, alarm = payload["seed"], payload["metric"], make_alarm(payload)
    count, repeats = payload.get("folds", 5), payload.get("repeats", 1)
    partitions = make_repeated_folds(task.labels, task.groups, count, repeats, payload.get("fold_seed", seed))
    if config.is_convex:
        logits, penalty = cross_validate_linear(task, config, partitions)
        rows = np.tile(task.everything, len(partitions))
        logits = logits.reshape(len(rows), -1)
        report(len(partitions[0]), _score(task, logits, rows, metric), {})
        return HeldOut(logits, rows, {"stopped": False, "settled": {"penalty": penalty}})
    folds = [fold for partition in partitions for fold in partition][: payload.get("fitted_folds")]
    watches = payload.get("prune", False) and config.recipe != "probe"
    offset = config.epochs if watches else 0
    course = _open(task, config, payload, report)
    done = [HeldOut(logits, rows, {}) for logits, rows in zip(course.folds, folds, strict=False)]

    def after(step: int, logits: np.ndarray, rows: np.ndarray) -> bool:
        return course.report(step, _score(task, logits, rows, metric)) or alarm()

    for number in range(len(done), len(folds)):
        held_out = folds[number]

        def after_epoch(epoch: int, logits: np.ndarray, rows: np.ndarray = held_out) -> bool:
            return after(epoch, logits, rows)

        on_epoch = after_epoch if number == 0 and watches else None
        rows = np.setdiff1d(task.everything, held_out)
        watch = Watch(on_epoch, alarm, _keeper(payload, number), course.resume())
        done.append(fit_and_predict(task, config, rows, held_out, seed + number, watch))
        so_far = _joined(done)
        is_last, is_cut_short = number + 1 == len(folds), done[-1].extra.get("stopped", False)
        if is_cut_short or (after(offset + number + 1, so_far.logits, so_far.rows) and not is_last):
            return so_far._replace(extra={**so_far.extra, "curve": course.curve, "stopped": True})
        if not is_last:
            course.end_fold(done[-1].logits)
    whole = _joined(done)
    return whole._replace(extra={**whole.extra, "curve": course.curve, "stopped": False})


def _open(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> Course:
    course = open_course(task, config, payload, report)
    if course.before is not None and payload.get("keeps_weights", False):
        from autotl.learn.soups import take_weights

        take_weights(course.before, Path(payload["folder"]), len(course.folds))
    return course


def _keeper(payload: Mapping[str, Any], fold: int) -> Callable[[Any], None]:
    """Keeps a fold's weights where the payload says so (`keeps_weights`): a soup may want them."""

    def keep(trainable: Any) -> None:
        if payload.get("keeps_weights", False):
            from autotl.learn.soups import keep_weights

            keep_weights(Path(payload["folder"]), fold, trainable)

    return keep


def _joined(done: list[HeldOut]) -> HeldOut:
    logits, rows, extras = zip(*done, strict=True)
    return HeldOut(np.concatenate(logits), np.concatenate(rows), extras[-1])


def _hold_out(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> HeldOut:
    """Logits of the validation rows from a fit to the training rows; reports after each epoch."""
    course = _open(task, config, payload, report)

    def after_epoch(epoch: int, logits: np.ndarray) -> bool:
        return course.report(epoch, _score(task, logits, task.validation, payload["metric"]))

    watch = Watch(after_epoch, make_alarm(payload), _keeper(payload, 0), course.resume())
    fitted = fit_and_predict(task, config, task.train, task.validation, payload["seed"], watch)
    return fitted._replace(extra={"stopped": False, **fitted.extra, "curve": course.curve})


def fit_and_predict(
    task: Task, config: TrialConfig, rows: np.ndarray, held_out: np.ndarray, seed: int, watch: Watch
) -> HeldOut:
    """Logits of the held-out rows from a fit to the others."""
    on_epoch = watch.on_epoch
    if config.recipe == "probe":
        logits = fit_probe(task, config, rows, held_out, seed)
        if on_epoch is not None:
            on_epoch(1, logits)
        return HeldOut(logits, held_out, {})
    if config.recipe == "scratch":
        return _fit_scratch(task, config, rows, held_out, seed, watch)
    from autotl.learn.finetune import fit_finetune
    from autotl.learn.training import predict_logits

    latest: list[np.ndarray] = []
    epochs = 0

    def after_epoch(trainable: Any, examples: Any, epoch: int) -> bool:
        nonlocal epochs
        epochs = epoch
        if on_epoch is None and epoch < config.epochs:
            return False
        latest[:] = [predict_logits(trainable, examples, held_out, task.ledger)]
        return on_epoch is not None and on_epoch(epoch, latest[0])

    trainable, examples, _, cut = fit_finetune(
        task, config, rows, seed, after_epoch, should_stop=watch.alarm, resume=watch.resume
    )
    if not latest:  # it was cut short
        latest.append(predict_logits(trainable, examples, held_out, task.ledger))
    watch.keep(trainable)
    trained = sum(int(np.prod(variable.shape)) for variable in trainable.model.trainable_variables)
    extra = {"stopped": epochs < config.epochs, "cut": None if cut is None else cut.name, "trained_parameters": trained}
    if trainable.passes > 1:
        extra["micro_batch"] = task.sources.micro_batch
    return HeldOut(latest[0], held_out, extra)


def _fit_scratch(
    task: Task, config: TrialConfig, rows: np.ndarray, held_out: np.ndarray, seed: int, watch: Watch
) -> HeldOut:
    from autotl.learn.scratch import fit_scratch

    def after_epoch(epoch: int, logits: np.ndarray | None) -> bool:
        return (watch.on_epoch is not None and logits is not None and watch.on_epoch(epoch, logits)) or watch.alarm()

    watched = watch.on_epoch is not None
    fitted = fit_scratch(task, config, rows, held_out, seed, after_epoch, watch.resume, watched)
    return HeldOut(fitted.logits, held_out, fitted.to_json())
