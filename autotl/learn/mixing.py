"""Mixup (Zhang et al., https://arxiv.org/abs/1710.09412), on the host: it is no part of the graph.

Every example of a batch is mixed with another one of it, inputs and targets in the same proportion. Activations at a
cut are mixed like images (Manifold Mixup, Verma et al., https://arxiv.org/abs/1806.05236).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def mix(
    inputs: NDArray[Any], targets: Floats, weights: Floats, alpha: float, generator: np.random.Generator
) -> tuple[NDArray[Any], Floats, Floats]:
    """Mix a batch with a permutation of itself, all of it in one proportion drawn from Beta(alpha, alpha).

    The loss of the mixture is the mixture of the losses: where two examples weigh differently, so do their targets.

    Args:
        inputs: `[B, ...]`; uint8 images stay uint8.
        targets: distributions over classes, `[B, C]`.
        weights: of the examples in the loss, `[B]`, greater than 0.
        alpha: greater than 0; the smaller, the more the first or the second of a pair prevails.

    Returns:
        Inputs, targets and weights of the same shapes and number formats.
    """
    share = np.float32(generator.beta(alpha, alpha))
    partners = generator.permutation(len(inputs))
    mixed = share * inputs + (np.float32(1.0) - share) * inputs[partners]
    if inputs.dtype == np.uint8:
        mixed = np.rint(mixed)
    first, second = share * weights, (np.float32(1.0) - share) * weights[partners]
    total = first + second
    blended = (first[:, None] * targets + second[:, None] * targets[partners]) / total[:, None]
    return mixed.astype(inputs.dtype, copy=False), blended.astype(np.float32, copy=False), total
