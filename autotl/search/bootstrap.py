"""Paired differences, resampled: what two models lost on the same images."""

import numpy as np

DRAWS = 4000
BLOCK_CELLS = 4_000_000  # bounds the memory of one block of draws


def resampled_means(differences: np.ndarray, seed: int, draws: int = DRAWS) -> np.ndarray:
    """Means of `differences [n]` under resampling with replacement, `[draws]` (Efron, 1979)."""
    generator = np.random.default_rng(seed)
    count = len(differences)
    block = max(1, min(draws, BLOCK_CELLS // count))
    means = np.empty(draws)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        means[start : start + size] = differences[generator.integers(count, size=(size, count))].mean(axis=1)
    return means


def chance_of_less(differences: np.ndarray, seed: int) -> float:
    """The share of resampled means below zero."""
    return float((resampled_means(differences, seed) < 0.0).mean())
