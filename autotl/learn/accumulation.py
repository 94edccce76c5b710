"""Training steps in less memory: a batch goes through in parts, and their gradients add up to the gradient of it all.

Keras's optimizers accumulate (`gradient_accumulation_steps`): they take the mean of so many gradients, and step then.
The loss of a part is a sum over its rows divided by their number, so with parts of one shape and rows that are weighted
accordingly the mean is the gradient of the whole batch. Batch normalisation is in inference mode, so nothing else
depends on how many images go through together; only what dropout draws does.
"""

import math
from collections.abc import Iterator

import numpy as np

from autotl.learn.examples import Batch


def part_size(batch: int, passes: int) -> int:
    """How many rows each of so many parts has: as few as will do, so that little is filled up."""
    return math.ceil(batch / passes)


def parts_of(batch: Batch, passes: int) -> Iterator[Batch]:
    """Yield the batch in `passes` parts of one shape; rows that only fill up weigh nothing."""
    if passes == 1:
        yield batch
        return
    inputs, targets, weights = batch
    size = part_size(len(inputs), passes)
    padding = passes * size - len(inputs)
    rows = np.pad(np.arange(len(inputs)), (0, padding))
    shares = np.pad(weights, (0, padding)) * np.float32(passes * size / len(inputs))
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield inputs[part], targets[part], shares[start : start + size]
