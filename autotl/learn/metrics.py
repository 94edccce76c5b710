"""Scores of a classifier, from probabilities `[N, C]` and true class indices `[N]`; everything is computed in float64.

Written in plain numpy because importing scikit-learn costs a worker one to three seconds; the tests hold every number
against scikit-learn's. A row's prediction is its largest probability, the lowest index on a tie.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.learn.bootstrap import bootstrap_interval
from autotl.learn.calibration import expected_calibration_error, fit_temperature
from autotl.learn.tallies import Counts, Floats, balanced, checked, class_counts, losses, macro_areas, macro_f1, ratio

__all__ = [
    "accuracy",
    "auroc",
    "balanced_accuracy",
    "bootstrap_interval",
    "confusion",
    "expected_calibration_error",
    "fit_temperature",
    "log_loss",
    "per_class",
    "scores",
    "softmax",
]


def softmax(logits: Any) -> Floats:
    """Turns logits `[N, C]` into probabilities `[N, C]`."""
    values = np.asarray(logits, dtype=np.float64)
    exponents = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def log_loss(probabilities: Any, labels: Any) -> float:
    """Mean negative log-probability of the true class, in nats."""
    return float(losses(*checked(probabilities, labels)).mean())


def accuracy(probabilities: Any, labels: Any) -> float:
    """Share of rows whose predicted class is the true one."""
    values, truth = checked(probabilities, labels)
    return float((values.argmax(axis=1) == truth).mean())


def balanced_accuracy(probabilities: Any, labels: Any) -> float:
    """Mean recall over the classes that occur in `labels`."""
    support, _, hits = class_counts(*checked(probabilities, labels))
    return float(balanced(support, hits))


def auroc(probabilities: Any, labels: Any) -> float:
    """Area under the curve of each class against the rest, averaged over the classes that occur; of two classes, the
    usual one. Where no class has both rows that are it and rows that are not, one half."""
    values, truth = checked(probabilities, labels)
    return float(macro_areas(values, truth, np.ones((1, len(truth)), np.int64))[0])


def confusion(probabilities: Any, labels: Any) -> Counts:
    """Counts `[C, C]`: rows are true classes, columns predicted ones."""
    values, truth = checked(probabilities, labels)
    classes = values.shape[1]
    cells = np.bincount(truth * classes + values.argmax(axis=1), minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def per_class(probabilities: Any, labels: Any) -> dict[str, NDArray[Any]]:
    """Precision, recall, f1 (float64 `[C]`, 0 where undefined) and support (int64 `[C]`) of every class."""
    support, predicted, hits = class_counts(*checked(probabilities, labels))
    return {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, support),
        "f1": ratio(2 * hits, support + predicted),
        "support": support,
    }


def scores(probabilities: Any, labels: Any) -> dict[str, float]:
    """The numbers that every report of autotl shows: n, accuracy, balanced_accuracy, macro_f1, log_loss, auroc."""
    values, truth = checked(probabilities, labels)
    support, predicted, hits = class_counts(values, truth)
    return {
        "n": len(truth),
        "accuracy": float(hits.sum() / len(truth)),
        "balanced_accuracy": float(balanced(support, hits)),
        "macro_f1": float(macro_f1(support, predicted, hits)),
        "log_loss": float(losses(values, truth).mean()),
        "auroc": auroc(values, truth),
    }
