"""What batch normalisation uses in inference, measured anew: means and variances under the weights as they are now."""

from typing import Any

import numpy as np

from autotl.learn.examples import Examples
from autotl.learn.ledger import Ledger

SETTLE_BATCH = 64


def settle_statistics(network: Any, examples: Examples, rows: np.ndarray, ledger: Ledger) -> None:
    """Give batch normalisation the means and variances of some rows under the weights as they are now.

    The moving average of a batch's statistics becomes the mean over all batches, by a momentum of its own for each.
    """
    import keras

    every = network._flatten_layers(include_self=False)
    layers = [layer for layer in every if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
    momenta = [layer.momentum for layer in layers]
    if not layers:
        return
    plain = np.zeros(SETTLE_BATCH, np.int64)
    with ledger.phase("evaluate"):
        for number, start in enumerate(range(0, len(rows), SETTLE_BATCH)):
            for layer in layers:
                layer.momentum = number / (number + 1)
            chunk = rows[start : start + SETTLE_BATCH]
            network(examples.batch(chunk, plain[: len(chunk)]).astype(np.float32), training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def spread(rows: np.ndarray, count: int) -> np.ndarray:
    """At most so many rows, spread evenly over all, so that every class is among them; in a mixed order."""
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]
    mixed: np.ndarray = np.random.default_rng(0).permutation(chosen)  # rows of one class lie together
    return mixed
