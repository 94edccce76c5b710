"""What networks are trained on: rows of cached arrays with their labels, and the batches of an epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autotl.data.arrays import release_pages
from autotl.learn.balance import class_weights
from autotl.learn.config import TrialConfig
from autotl.learn.mixing import mix
from autotl.learn.tables import Table

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Inputs `[B, ...]`, targets `[B, C]` and the weights of their rows in the loss `[B]`."""


@dataclass(frozen=True)
class Examples:
    """Inputs in one array per view (in memory, mapped or lazy, all in the same row order), and their labels."""

    views: Sequence[Table]
    labels: np.ndarray  # [N]
    classes: int
    index: np.ndarray | None = None  # where each row lies in the arrays, when they hold other images too

    def batch(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Gather inputs `[B, ...]`, each row from its own view; float16 stores become float32, images stay uint8."""
        first = self.views[0]
        rows = rows if self.index is None else self.index[rows]
        dtype = np.uint8 if first.dtype == np.uint8 else np.float32
        gathered = np.empty((len(rows), *first.shape[1:]), dtype)
        for view in np.unique(views):
            chosen = views == view
            gathered[chosen] = self.views[view][rows[chosen]]
            release_pages(self.views[view])
        return gathered


def draw_epoch(
    examples: Examples, rows: np.ndarray, size: int, config: TrialConfig, generator: np.random.Generator
) -> Iterator[Batch]:
    """Yield the batches of one epoch; every row has a weight, so that a trial with class weights traces nothing."""
    weights = class_weights(examples.labels[rows], examples.classes)[examples.labels]
    if config.balance == "sampling":
        order = generator.choice(rows, len(rows), p=weights[rows] / weights[rows].sum(dtype=np.float64))
    else:
        order = generator.permutation(rows)
    if config.balance != "weights":
        weights = np.ones_like(weights)
    views = generator.integers(len(examples.views), size=len(rows))
    for start in range(0, len(rows) - size + 1, size):
        chosen = order[start : start + size]
        inputs = examples.batch(chosen, views[start : start + size])
        targets = smooth_targets(examples.labels[chosen], examples.classes, config.label_smoothing)
        drawn = (inputs, targets, weights[chosen])
        yield mix(*drawn, config.mixup, generator) if config.mixup > 0.0 else drawn


def smooth_targets(labels: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """One-hot targets `[B, C]` mixed with the uniform distribution; on the host, so that it is no part of the graph."""
    targets = np.full((len(labels), classes), smoothing / classes, np.float32)
    targets[np.arange(len(labels)), labels] += 1.0 - smoothing
    return targets
