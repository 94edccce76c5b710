"""A trial: fit a configuration to some rows, score it on the others, by cross-validation or on the validation split."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autotl.data.folds import make_repeated_folds
from autotl.learn.config import TrialConfig
from autotl.learn.metrics import fit_temperature, scores, softmax
from autotl.learn.probe import cross_validate_linear, fit_probe, network_multiply_adds
from autotl.learn.task import Task

Report = Callable[[int, float, dict[str, Any]], bool]
OnEpoch = Callable[[int, np.ndarray], bool]


class HeldOut(NamedTuple):
    """Logits `[M, C]` of held-out rows `[M]` (of all of them, once for each repeat), and what else is to be told."""

    logits: np.ndarray
    rows: np.ndarray
    extra: dict[str, Any]


def run_trial(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Fit and score; the held-out probabilities stay beside the trial's log as `validation.npz`.

    Args:
        payload: see `autotl.learn.jobs.run_job`.

    Returns:
        score, scores, temperature, curve, stopped, multiply_adds and settled: what the trial settled by itself, the
        penalty for one.
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
    """Out-of-fold logits of all rows. Within the first fold every epoch is reported, then every fold so far."""
    seed, metric, alarm = payload["seed"], payload["metric"], make_alarm(payload)
    count, repeats = payload.get("folds", 5), payload.get("repeats", 1)
    partitions = make_repeated_folds(task.labels, task.groups, count, repeats, payload.get("fold_seed", seed))
    if config.is_convex:
        logits, penalty = cross_validate_linear(task, config, partitions)
        rows = np.tile(task.everything, len(partitions))
        logits = logits.reshape(len(rows), -1)
        report(len(partitions[0]), _score(task, logits, rows, metric), {})
        return HeldOut(logits, rows, {"stopped": False, "settled": {"penalty": penalty}})
    folds = [fold for partition in partitions for fold in partition]
    watches = payload.get("prune", False) and config.recipe != "probe"
    offset = config.epochs if watches else 0
    done: list[HeldOut] = []
    curve: list[float] = []

    def after(step: int, logits: np.ndarray, rows: np.ndarray) -> bool:
        curve.append(_score(task, logits, rows, metric))
        return report(step, curve[-1], {}) or alarm()

    for number, held_out in enumerate(folds):

        def after_epoch(epoch: int, logits: np.ndarray, rows: np.ndarray = held_out) -> bool:
            return after(epoch, logits, rows)

        watch = after_epoch if number == 0 and watches else None
        rows = np.setdiff1d(task.everything, held_out)
        keep = _keeper(payload, number)
        done.append(_fit(task, config, rows, held_out, seed + number, watch, alarm, keep))
        so_far = _joined(done)
        is_cut_short = done[-1].extra.get("stopped", False)
        if is_cut_short or (after(offset + number + 1, so_far.logits, so_far.rows) and number + 1 < len(folds)):
            return so_far._replace(extra={**so_far.extra, "curve": curve, "stopped": True})
    whole = _joined(done)
    return whole._replace(extra={**whole.extra, "curve": curve, "stopped": False})


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
    curve: list[float] = []

    def after_epoch(epoch: int, logits: np.ndarray) -> bool:
        curve.append(_score(task, logits, task.validation, payload["metric"]))
        return report(epoch, curve[-1], {})

    alarm = make_alarm(payload)
    keep = _keeper(payload, 0)
    fitted = _fit(task, config, task.train, task.validation, payload["seed"], after_epoch, alarm, keep)
    return fitted._replace(extra={"stopped": False, **fitted.extra, "curve": curve})


def _fit(
    task: Task,
    config: TrialConfig,
    rows: np.ndarray,
    held_out: np.ndarray,
    seed: int,
    on_epoch: OnEpoch | None,
    alarm: Callable[[], bool],
    keep: Callable[[Any], None],
) -> HeldOut:
    """Logits of the held-out rows from a fit to the others.

    Args:
        on_epoch: takes the number of epochs done and the held-out logits, and answers True to end the fit.
        alarm: asked within epochs; True ends the fit too.
        keep: takes a fine-tuned network when it is done.
    """
    if config.recipe == "probe":
        logits = fit_probe(task, config, rows, held_out, seed)
        if on_epoch is not None:
            on_epoch(1, logits)
        return HeldOut(logits, held_out, {})
    if config.recipe == "scratch":
        return _fit_scratch(task, config, rows, held_out, seed, on_epoch, alarm)
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

    trainable, examples, _, cut = fit_finetune(task, config, rows, seed, after_epoch, should_stop=alarm)
    if not latest:  # it was cut short
        latest.append(predict_logits(trainable, examples, held_out, task.ledger))
    keep(trainable)
    trained = sum(int(np.prod(variable.shape)) for variable in trainable.model.trainable_variables)
    extra = {"stopped": epochs < config.epochs, "cut": None if cut is None else cut.name, "trained_parameters": trained}
    return HeldOut(latest[0], held_out, extra)


def _fit_scratch(
    task: Task,
    config: TrialConfig,
    rows: np.ndarray,
    held_out: np.ndarray,
    seed: int,
    on_epoch: OnEpoch | None,
    alarm: Callable[[], bool],
) -> HeldOut:
    from autotl.learn.scratch import fit_scratch

    def after_epoch(epoch: int, logits: np.ndarray) -> bool:
        return (on_epoch is not None and on_epoch(epoch, logits)) or alarm()

    fitted = fit_scratch(task, config, rows, held_out, seed, after_epoch)
    return HeldOut(fitted.logits, held_out, fitted.to_json())
