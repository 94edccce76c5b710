"""How much each class counts when classes are uneven."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def class_weights(labels: NDArray[np.integer], classes: int) -> Floats:
    """Weights `[classes]` inverse to the classes' frequency in `labels`; the mean weight of a row is one.

    Every class that occurs weighs the same in sum. One that does not occur has the weight one: no row uses it.

    Args:
        labels: class indices, `[N]`, of the rows that are fitted to.
        classes: how many classes there are.
    """
    counts = np.bincount(labels, minlength=classes)
    present = counts > 0
    weights = np.ones(classes, np.float32)
    weights[present] = len(labels) / (present.sum() * counts[present])
    return weights
