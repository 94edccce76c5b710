"""Scores of several fits on the same test images, with intervals: all are resampled together, so they stay paired."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

METRICS = ("accuracy", "balanced_accuracy", "log_loss")
DRAWS = 4000
TAILS = (0.025, 0.975)
_BLOCK_CELLS = 4_000_000  # bounds the memory of one block of draws
_LEAST = float(np.finfo(np.float64).eps)  # what a probability of zero counts as, as in `autotl.learn.tallies`


@dataclass(frozen=True)
class Fit:
    """What one row of the comparison made of the test images, as the mean over its repeats.

    Attributes:
        hits: the share of repeats that were right, `[N]`.
        losses: minus the log of the probability of the true class, in nats, `[N]`.
        accuracies: of each repeat.
    """

    hits: np.ndarray
    losses: np.ndarray
    accuracies: tuple[float, ...]


def read_fit(repeats: Sequence[np.ndarray], labels: np.ndarray) -> Fit:
    """A fit from the probabilities `[N, C]` of each of its repeats, and the true classes `[N]`."""
    hits = np.stack([one.argmax(axis=1) == labels for one in repeats]).astype(np.float64)
    chances = np.stack([one[np.arange(len(labels)), labels] for one in repeats]).astype(np.float64)
    losses = -np.log(np.maximum(chances, _LEAST))
    return Fit(hits.mean(axis=0), losses.mean(axis=0), tuple(float(one) for one in hits.mean(axis=1)))


def measure(fits: Sequence[Fit], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric of each fit, `[F]`."""
    once = np.ones((1, len(labels)))
    return {name: values[0] for name, values in _weighted(fits, labels, once).items()}


def resample(fits: Sequence[Fit], labels: np.ndarray, seed: int, draws: int = DRAWS) -> dict[str, np.ndarray]:
    """Each metric of each fit under resampling of the test images with replacement, `[draws, F]` (Efron, 1979)."""
    generator, count = np.random.default_rng(seed), len(labels)
    block = max(1, min(draws, _BLOCK_CELLS // count))
    even = np.full(count, 1.0 / count)
    parts = [
        _weighted(fits, labels, generator.multinomial(count, even, size=min(block, draws - start)).astype(np.float64))
        for start in range(0, draws, block)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in METRICS}


def interval(drawn: np.ndarray) -> list[float]:
    """95 % percentile interval of draws `[draws]`."""
    low, high = np.quantile(drawn, TAILS)
    return [float(low), float(high)]


@dataclass(frozen=True)
class Measured:
    """Fits with their scores: `found` `[F]` and `drawn` `[draws, F]` by metric."""

    fits: Sequence[Fit]
    found: Mapping[str, np.ndarray]
    drawn: Mapping[str, np.ndarray]

    @property
    def best(self) -> int:
        """The most accurate fit; of equals the one with the lowest log-loss."""
        return max(range(len(self.fits)), key=lambda one: (self.found["accuracy"][one], -self.found["log_loss"][one]))

    def scores(self, number: int) -> dict[str, Any]:
        """`n` and each metric of a fit, with its `_ci95`."""
        scores: dict[str, Any] = {"n": len(self.fits[number].hits)}
        for name in METRICS:
            scores[name] = float(self.found[name][number])
            scores[f"{name}_ci95"] = interval(self.drawn[name][:, number])
        return scores

    def gap(self, one: int, other: int) -> dict[str, Any]:
        """How much more accurate one fit is than another, with the interval of that on the same images.

        Returns:
            `accuracy`, `accuracy_ci95`, and `is_sure`: whether the interval leaves zero out.
        """
        found, drawn = self.found["accuracy"], self.drawn["accuracy"]
        low, high = interval(drawn[:, one] - drawn[:, other])
        difference = float(found[one] - found[other])
        return {"accuracy": difference, "accuracy_ci95": [low, high], "is_sure": not low <= 0.0 <= high}


def measure_all(fits: Sequence[Fit], labels: np.ndarray, seed: int) -> Measured:
    """Score fits on test images of classes `labels [N]`; `seed` draws the intervals."""
    return Measured(fits, measure(fits, labels), resample(fits, labels, seed))


def _weighted(fits: Sequence[Fit], labels: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics `[B, F]` of images that count so often, `[B, N]`."""
    hits, losses = np.stack([fit.hits for fit in fits], axis=1), np.stack([fit.losses for fit in fits], axis=1)
    totals = counts.sum(axis=1, keepdims=True)
    recalls, present = np.zeros((len(counts), len(fits))), np.zeros((len(counts), 1))
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        support = counts[:, mine].sum(axis=1, keepdims=True)
        recalls += np.divide(
            counts[:, mine] @ hits[mine], support, out=np.zeros_like(recalls), where=support > 0
        )  # a class that was not drawn has no recall
        present += support > 0
    return {
        "accuracy": counts @ hits / totals,
        "balanced_accuracy": recalls / present,
        "log_loss": counts @ losses / totals,
    }
