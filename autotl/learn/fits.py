"""A fit to chosen rows, scored on chosen others: what studies are made of that deal the images out themselves."""

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from autotl.errors import TrialError
from autotl.learn.checkpoints import Report, open_course
from autotl.learn.config import TrialConfig
from autotl.learn.metrics import scores, softmax
from autotl.learn.prepared import plain_view
from autotl.learn.probe import network_multiply_adds
from autotl.learn.task import Task
from autotl.learn.trials import Watch, fit_and_predict, make_alarm

FITTING = ("solve", "train", "trace")
"""Phases of the ledger that the fit itself takes; what comes before is shared by all fits on the same features."""


def run_fit(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Fit a configuration to `rows` and score it on `held_out`; the probabilities stay beside the log as `fit.npz`.

    No temperature is fitted: the held-out rows may be a test's, and nothing may be learnt from their labels.

    Args:
        payload: `rows` and `held_out`, positions among the task's rows (training and validation, in manifest order),
            that share none; with `curve`, every epoch is scored.

    Returns:
        scores (of `autotl.learn.metrics.scores`, on the held-out rows), fit_seconds (of solving or training alone),
        curve [{epoch, seconds, accuracy, log_loss}] (with `curve`; seconds of training until then, scoring left
        out), multiply_adds (of one image's forward pass), and trained_parameters (but of a head that was trained on
        features).

    Raises:
        TrialError: `rows` and `held_out` are no two parts of the task's rows.
    """
    rows, held_out = _parts(task, payload)
    course, alarm, begun = open_course(task, config, payload, report), make_alarm(payload), perf_counter()
    labels = task.labels[held_out]
    curve: list[dict[str, Any]] = []

    def after_epoch(epoch: int, logits: np.ndarray) -> bool:
        before = sum(seconds for name, seconds in task.ledger.seconds.items() if name not in FITTING)
        spent = round(perf_counter() - begun - before, 4)
        measured = scores(softmax(logits), labels)
        curve.append(
            {"epoch": epoch, "seconds": spent, "accuracy": measured["accuracy"], "log_loss": measured["log_loss"]}
        )
        return course.report(epoch, measured["accuracy"]) or alarm()

    watch = Watch(after_epoch if payload.get("curve", False) else None, alarm, lambda _network: None, course.resume())
    fitted = fit_and_predict(task, config, rows, held_out, payload["seed"], watch)
    probabilities = softmax(fitted.logits)
    np.savez(Path(payload["folder"]) / "fit.npz", probabilities=probabilities, rows=held_out, labels=labels)
    extra = fitted.extra
    if "multiply_adds" not in extra:
        extra = {**extra, "multiply_adds": network_multiply_adds(task, config)}
    if config.is_convex:
        width = plain_view(task, config).shape[1]
        extra = {**extra, "trained_parameters": (width + 1) * len(task.classes)}
    return {
        **extra,
        "scores": scores(probabilities, labels),
        "fit_seconds": round(sum(task.ledger.seconds.get(name, 0.0) for name in FITTING), 4),
        **({"curve": curve} if payload.get("curve", False) else {}),
    }


def _parts(task: Task, payload: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The rows to fit to and those to score, checked."""
    parts = []
    for name in ("rows", "held_out"):
        part = np.asarray(payload[name], np.int64)
        if not len(part) or len(np.unique(part)) < len(part) or part.min() < 0 or part.max() >= len(task.labels):
            raise TrialError(
                f"{name} are positions among the {len(task.labels)} images of training and validation, each once: "
                f"{len(part)} were given, from {part.min(initial=0)} to {part.max(initial=0)}."
            )
        parts.append(part)
    rows, held_out = parts
    if both := len(np.intersect1d(rows, held_out)):
        raise TrialError(f"What a model is scored on it must not have seen: {both} images are in rows and in held_out.")
    return rows, held_out
