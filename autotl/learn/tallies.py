"""What the scores of a classifier are made of, in float64; one call serves a whole stack of resamples."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_SMALLEST = float(np.finfo(np.float64).eps)  # log-loss stays finite when a probability has underflowed to zero
NO_AREA = 0.5  # of the area under the curve where no class has both rows that are it and rows that are not


def checked(values: Any, labels: Any) -> tuple[Floats, Counts]:
    """Values `[N, C]` as float64 and labels `[N]` as int64.

    Raises:
        ValueError: they do not fit to each other.
    """
    matrix = np.asarray(values, dtype=np.float64)
    truth = np.asarray(labels).astype(np.int64)
    if matrix.ndim != 2 or truth.shape != matrix.shape[:1] or not len(truth):
        raise ValueError(f"expected values [N, C] and labels [N] with N > 0, not {matrix.shape} and {truth.shape}")
    if truth.min() < 0 or truth.max() >= matrix.shape[1]:
        raise ValueError(f"labels must be in 0..{matrix.shape[1] - 1}, not {truth.min()}..{truth.max()}")
    return matrix, truth


def losses(probabilities: Floats, labels: Counts) -> Floats:
    """Negative log-probability of each row's true class, in nats, `[N]`."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.clip(chosen, _SMALLEST, 1.0)))


def class_counts(probabilities: Floats, labels: Counts) -> tuple[Counts, Counts, Counts]:
    """Per class: rows that are it, rows predicted as it, rows where both hold."""
    classes = probabilities.shape[1]
    predictions = probabilities.argmax(axis=1)
    support, predicted, hits = (
        np.bincount(rows, minlength=classes) for rows in (labels, predictions, labels[labels == predictions])
    )
    return support, predicted, hits


def ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """The quotient, zero where nothing is divided by nothing."""
    quotient: Floats = np.zeros(np.shape(numerator), dtype=np.float64)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def balanced(support: Counts, hits: Counts) -> Floats:
    """Mean recall over the classes that occur, over the last axis."""
    return np.asarray(ratio(hits, support).sum(axis=-1) / (support > 0).sum(axis=-1))


def macro_f1(support: Counts, predicted: Counts, hits: Counts) -> Floats:
    """Mean over the classes that occur, in truth or in predictions, over the last axis."""
    seen = support + predicted
    return np.asarray(ratio(2 * hits, seen).sum(axis=-1) / (seen > 0).sum(axis=-1))


def macro_areas(values: Floats, labels: Counts, draws: Counts) -> Floats:
    """Areas under the curves of each class against the rest, averaged over classes, once for each draw of the rows.

    The area is the share of pairs, one row of the class and one of the others, that the class's probability puts in the
    right order; a tie is half a pair. A class without such a pair is left out; with none left the area is one half.

    Args:
        values: `[N, C]`.
        labels: `[N]`.
        draws: how often each row is drawn, `[B, N]`.

    Returns:
        `[B]`.
    """
    total, used = np.zeros(len(draws)), np.zeros(len(draws))
    for label in np.unique(labels):
        order = np.argsort(values[:, label], kind="stable")
        ordered = values[order, label]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # of runs of equal probabilities
        is_it, drawn = labels[order] == label, draws[:, order]
        those = np.add.reduceat(drawn * is_it, starts, axis=1)
        others = np.add.reduceat(drawn * ~is_it, starts, axis=1)
        below = np.cumsum(others, axis=1) - others
        right = (those * (below + 0.5 * others)).sum(axis=1)
        pairs = those.sum(axis=1) * others.sum(axis=1)
        total += ratio(right, pairs)
        used += pairs > 0
    return np.where(used > 0, ratio(total, used), NO_AREA)
