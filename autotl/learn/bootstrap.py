"""Intervals of a score under resampling of the rows."""

from collections.abc import Callable
from typing import Any

import numpy as np

from autotl.learn.tallies import Counts, Floats, balanced, checked, class_counts, losses, macro_areas, macro_f1

_BLOCK_CELLS = 4_000_000  # bounds the memory of the bootstrap to some tens of megabytes
_AREA_CELLS, _FEWEST_AREAS = 100_000_000, 200  # bound the time that areas take: they have no shortcut


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
        metric: one of accuracy, balanced_accuracy, macro_f1, log_loss, auroc. Of auroc large data sets get fewer draws.
        level: share of the draws inside the interval.

    Returns:
        `[low, high]`.

    Raises:
        ValueError: an unknown metric.

    Source: Efron, B. (1979), Bootstrap methods: another look at the jackknife, https://doi.org/10.1214/aos/1176344552
    """
    values, truth = checked(probabilities, labels)
    if metric not in _RESAMPLED:
        raise ValueError(f"metric must be one of {', '.join(_RESAMPLED)}, not {metric!r}")
    generator = np.random.default_rng(seed)
    drawn = _RESAMPLED[metric](values, truth, draws, generator)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return [float(low), float(high)]


def _resample_losses(values: Floats, labels: Counts, draws: int, generator: np.random.Generator) -> Floats:
    rows, found = len(labels), losses(values, labels)
    block = max(1, _BLOCK_CELLS // rows)
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    return np.concatenate([found[generator.integers(0, rows, size=(size, rows))].mean(axis=1) for size in sizes])


# What drawing rows with replacement does to counts of rows is a multinomial draw of the counts: the very same
# distribution, at a cost that does not grow with the number of rows.


def _resample_accuracy(values: Floats, labels: Counts, draws: int, generator: np.random.Generator) -> Floats:
    hits = int((values.argmax(axis=1) == labels).sum())
    return np.asarray(generator.binomial(len(labels), hits / len(labels), size=draws) / len(labels))


def _resample_balanced(values: Floats, labels: Counts, draws: int, generator: np.random.Generator) -> Floats:
    support, _, hits = class_counts(values, labels)
    chances = np.concatenate([hits, support - hits]) / len(labels)
    drawn_hits, drawn_misses = np.split(generator.multinomial(len(labels), chances, size=draws), 2, axis=1)
    return balanced(drawn_hits + drawn_misses, drawn_hits)


def _resample_macro_f1(values: Floats, labels: Counts, draws: int, generator: np.random.Generator) -> Floats:
    classes = values.shape[1]
    matrix = np.bincount(labels * classes + values.argmax(axis=1), minlength=classes**2).reshape(classes, classes)
    truth, predicted = np.nonzero(matrix)
    chances = matrix[truth, predicted] / len(labels)
    block = max(1, _BLOCK_CELLS // (len(truth) + 4 * len(matrix)))
    found = []
    for start in range(0, draws, block):
        cells = generator.multinomial(len(labels), chances, size=min(block, draws - start))
        right = np.where(truth == predicted, cells, 0)
        support, guesses = (_sum_by_class(cells, classes, len(matrix)) for classes in (truth, predicted))
        found.append(macro_f1(support, guesses, _sum_by_class(right, truth, len(matrix))))
    return np.concatenate(found)


def _resample_areas(values: Floats, labels: Counts, draws: int, generator: np.random.Generator) -> Floats:
    rows = len(labels)
    draws = min(draws, max(_FEWEST_AREAS, _AREA_CELLS // values.size))
    block = max(1, _BLOCK_CELLS // rows)
    even = np.full(rows, 1.0 / rows)
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    return np.concatenate([macro_areas(values, labels, generator.multinomial(rows, even, size)) for size in sizes])


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
    "auroc": _resample_areas,
}
