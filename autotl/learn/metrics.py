"""Scores of a classifier, from probabilities `[N, C]` and true class indices `[N]`; everything is computed in float64.

Written in plain numpy because importing scikit-learn costs a worker one to three seconds; the tests hold every number
against scikit-learn's. A row's prediction is its largest probability, the lowest index on a tie.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_SMALLEST = float(np.finfo(np.float64).eps)  # log-loss stays finite when a probability has underflowed to zero
_BLOCK_CELLS = 4_000_000  # bounds the memory of the bootstrap to some tens of megabytes
_TEMPERATURE_BOUNDS = (0.05, 20.0)


def softmax(logits: Any) -> Floats:
    """Turns logits `[N, C]` into probabilities `[N, C]`."""
    values = np.asarray(logits, dtype=np.float64)
    exponents = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True))


def log_loss(probabilities: Any, labels: Any) -> float:
    """Mean negative log-probability of the true class, in nats."""
    return float(_losses(*_checked(probabilities, labels)).mean())


def accuracy(probabilities: Any, labels: Any) -> float:
    """Share of rows whose predicted class is the true one."""
    values, truth = _checked(probabilities, labels)
    return float((values.argmax(axis=1) == truth).mean())


def balanced_accuracy(probabilities: Any, labels: Any) -> float:
    """Mean recall over the classes that occur in `labels`."""
    support, _, hits = _counts(*_checked(probabilities, labels))
    return float(_balanced(support, hits))


def confusion(probabilities: Any, labels: Any) -> Counts:
    """Counts `[C, C]`: rows are true classes, columns predicted ones."""
    values, truth = _checked(probabilities, labels)
    classes = values.shape[1]
    cells = np.bincount(truth * classes + values.argmax(axis=1), minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def per_class(probabilities: Any, labels: Any) -> dict[str, NDArray[Any]]:
    """Precision, recall, f1 (float64 `[C]`, 0 where undefined) and support (int64 `[C]`) of every class."""
    support, predicted, hits = _counts(*_checked(probabilities, labels))
    return {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, support + predicted),
        "support": support,
    }


def scores(probabilities: Any, labels: Any) -> dict[str, float]:
    """The numbers that every report of autotl shows: n, accuracy, balanced_accuracy, macro_f1, log_loss."""
    values, truth = _checked(probabilities, labels)
    support, predicted, hits = _counts(values, truth)
    return {
        "n": len(truth),
        "accuracy": float(hits.sum() / len(truth)),
        "balanced_accuracy": float(_balanced(support, hits)),
        "macro_f1": float(_macro_f1(support, predicted, hits)),
        "log_loss": float(_losses(values, truth).mean()),
    }


def bootstrap_interval(
    probabilities: Any,
    labels: Any,
    metric: str = "accuracy",
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> list[float]:
    """Percentile interval of a metric under resampling of the rows with replacement.

    Args:
        metric: one of accuracy, balanced_accuracy, macro_f1, log_loss.
        level: share of the draws inside the interval.

    Returns:
        `[low, high]`.

    Raises:
        ValueError: an unknown metric.

    Source: Efron, B. (1979), Bootstrap methods: another look at the jackknife, https://doi.org/10.1214/aos/1176344552
    """
    values, truth = _checked(probabilities, labels)
    if metric not in _RESAMPLED:
        raise ValueError(f"metric must be one of {', '.join(_RESAMPLED)}, not {metric!r}")
    generator = np.random.default_rng(seed)
    drawn = _RESAMPLED[metric](values, truth, draws, generator)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return [float(low), float(high)]


def expected_calibration_error(probabilities: Any, labels: Any, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over equal-width bins of confidence, weighted by their rows.

    Source: Guo et al. (2017), On calibration of modern neural networks, https://arxiv.org/abs/1706.04599
    """
    values, truth = _checked(probabilities, labels)
    confidence = values.max(axis=1)
    correct = (values.argmax(axis=1) == truth).astype(np.float64)
    # Bins are (low, high], as in the paper: a confidence of exactly 1 belongs to the last one.
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def fit_temperature(logits: Any, labels: Any) -> float:
    """The temperature in [0.05, 20] that minimises the log-loss of `softmax(logits / temperature)`.

    Log-loss is convex in 1 / temperature, so its slope changes sign at most once: bisection in log-temperature finds
    the place to the last digits, and separable logits end at the bound instead of running away.

    Source: Guo et al. (2017), https://arxiv.org/abs/1706.04599
    """
    values, truth = _checked(logits, labels)
    centred = values - values[np.arange(len(truth)), truth][:, None]  # the true class sits at zero

    def slope(temperature: float) -> float:
        return float((softmax(centred / temperature) * centred).sum(axis=1).mean())

    low, high = (math.log(bound) for bound in _TEMPERATURE_BOUNDS)
    if slope(math.exp(low)) <= 0.0:  # still falling at the sharpest allowed
        return _TEMPERATURE_BOUNDS[0]
    if slope(math.exp(high)) >= 0.0:
        return _TEMPERATURE_BOUNDS[1]
    for _ in range(60):
        middle = 0.5 * (low + high)
        if slope(math.exp(middle)) > 0.0:
            low = middle
        else:
            high = middle
    return math.exp(0.5 * (low + high))


def _checked(values: Any, labels: Any) -> tuple[Floats, Counts]:
    matrix = np.asarray(values, dtype=np.float64)
    truth = np.asarray(labels).astype(np.int64)
    if matrix.ndim != 2 or truth.shape != matrix.shape[:1] or not len(truth):
        raise ValueError(f"expected values [N, C] and labels [N] with N > 0, not {matrix.shape} and {truth.shape}")
    if truth.min() < 0 or truth.max() >= matrix.shape[1]:
        raise ValueError(f"labels must be in 0..{matrix.shape[1] - 1}, not {truth.min()}..{truth.max()}")
    return matrix, truth


def _losses(probabilities: Floats, labels: Counts) -> Floats:
    chosen = probabilities[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.clip(chosen, _SMALLEST, 1.0)))


def _counts(probabilities: Floats, labels: Counts) -> tuple[Counts, Counts, Counts]:
    """Per class: rows that are it, rows predicted as it, rows where both hold."""
    classes = probabilities.shape[1]
    predictions = probabilities.argmax(axis=1)
    support, predicted, hits = (
        np.bincount(rows, minlength=classes) for rows in (labels, predictions, labels[labels == predictions])
    )
    return support, predicted, hits


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    quotient: Floats = np.zeros(np.shape(numerator), dtype=np.float64)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def _balanced(support: Counts, hits: Counts) -> Floats:
    """Over the last axis, so that a stack of resamples is one call."""
    return np.asarray(_ratio(hits, support).sum(axis=-1) / (support > 0).sum(axis=-1))


def _macro_f1(support: Counts, predicted: Counts, hits: Counts) -> Floats:
    seen = support + predicted
    return np.asarray(_ratio(2 * hits, seen).sum(axis=-1) / (seen > 0).sum(axis=-1))


def _resample_losses(values: Floats, labels: Counts, draws: int, generator: np.random.Generator) -> Floats:
    rows, losses = len(labels), _losses(values, labels)
    block = max(1, _BLOCK_CELLS // rows)
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    return np.concatenate([losses[generator.integers(0, rows, size=(size, rows))].mean(axis=1) for size in sizes])


# What drawing rows with replacement does to counts of rows is a multinomial draw of the counts: the very same
# distribution, at a cost that does not grow with the number of rows.


def _resample_accuracy(values: Floats, labels: Counts, draws: int, generator: np.random.Generator) -> Floats:
    hits = int((values.argmax(axis=1) == labels).sum())
    return np.asarray(generator.binomial(len(labels), hits / len(labels), size=draws) / len(labels))


def _resample_balanced(values: Floats, labels: Counts, draws: int, generator: np.random.Generator) -> Floats:
    support, _, hits = _counts(values, labels)
    chances = np.concatenate([hits, support - hits]) / len(labels)
    drawn_hits, drawn_misses = np.split(generator.multinomial(len(labels), chances, size=draws), 2, axis=1)
    return _balanced(drawn_hits + drawn_misses, drawn_hits)


def _resample_macro_f1(values: Floats, labels: Counts, draws: int, generator: np.random.Generator) -> Floats:
    matrix = confusion(values, labels)
    truth, predicted = np.nonzero(matrix)
    chances = matrix[truth, predicted] / len(labels)
    block = max(1, _BLOCK_CELLS // (len(truth) + 4 * len(matrix)))
    found = []
    for start in range(0, draws, block):
        cells = generator.multinomial(len(labels), chances, size=min(block, draws - start))
        right = np.where(truth == predicted, cells, 0)
        support, guesses = (_sum_by_class(cells, classes, len(matrix)) for classes in (truth, predicted))
        found.append(_macro_f1(support, guesses, _sum_by_class(right, truth, len(matrix))))
    return np.concatenate(found)


def _sum_by_class(cells: Counts, class_of_cell: Counts, classes: int) -> Counts:
    """Sums columns of `[draws, cells]` into `[draws, C]`."""
    order = np.argsort(class_of_cell, kind="stable")
    present, starts = np.unique(class_of_cell[order], return_index=True)
    sums = np.zeros((len(cells), classes), dtype=np.int64)
    sums[:, present] = np.add.reduceat(cells[:, order], starts, axis=1)
    return sums


_RESAMPLED: dict[str, Callable[[Floats, Counts, int, np.random.Generator], Floats]] = {
    "accuracy": _resample_accuracy,
    "balanced_accuracy": _resample_balanced,
    "macro_f1": _resample_macro_f1,
    "log_loss": _resample_losses,
}
