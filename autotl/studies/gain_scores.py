"""Accuracies of arms at tiers of labels, their differences, and the labels that scratch needs: all with intervals.

Test images and draws are resampled together, the same ones for all arms and tiers, so everything stays paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000
TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class Measured:
    """Accuracies by (arm, tier).

    Attributes:
        values: as measured.
        resampled: of every resample, `[R]`.
    """

    values: Mapping[tuple[str, int], float]
    resampled: Mapping[tuple[str, int], np.ndarray]


def measure(hits: Mapping[tuple[str, int], np.ndarray], seed: int, classes: np.ndarray | None = None) -> Measured:
    """Accuracies of what was right, or balanced ones: the mean over classes.

    Args:
        hits: by (arm, tier), whether each draw's fit was right on each test image, `[D, N]`; the arms of a tier have
            the same draws.
        seed: of the resamples; equal seeds resample equally.
        classes: of the test images, `[N]`, for balanced accuracies. A class that a resample lacks is left out of it.
    """
    generator = np.random.default_rng(seed)
    images = next(iter(hits.values())).shape[1]
    image_counts = generator.multinomial(images, np.full(images, 1 / images), RESAMPLES)
    parts = [np.arange(images)] if classes is None else [np.flatnonzero(classes == one) for one in np.unique(classes)]
    draw_counts: dict[int, np.ndarray] = {}
    values, resampled = {}, {}
    for (arm, tier), right in sorted(hits.items()):
        draws = len(right)
        if tier not in draw_counts:
            draw_counts[tier] = generator.multinomial(draws, np.full(draws, 1 / draws), RESAMPLES)
        by_draw = _mean_over(parts, image_counts, right)  # [R, D]
        values[arm, tier] = float(np.mean([right[:, part].mean() for part in parts]))
        resampled[arm, tier] = (by_draw * draw_counts[tier]).sum(axis=1) / draws
    return Measured(values, resampled)


def _mean_over(parts: Sequence[np.ndarray], counts: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The mean over parts of the share right, `[R, D]`, in resamples that have each image so often, `[R, N]`."""
    totals, present = np.zeros((len(counts), len(right))), np.zeros((len(counts), 1))
    for part in parts:
        size = counts[:, part].sum(axis=1, keepdims=True)
        totals += counts[:, part] @ right[:, part].T.astype(np.float64) / np.maximum(size, 1)
        present += size > 0
    shares: np.ndarray = totals / present
    return shares


def accuracy(measured: Measured, arm: str, tier: int) -> dict[str, Any]:
    """`accuracy` and its 95 % interval."""
    return {"accuracy": measured.values[arm, tier], "accuracy_ci95": interval(measured.resampled[arm, tier])}


def gain(measured: Measured, arm: str, other: str, tier: int) -> dict[str, Any]:
    """How much more accurate an arm is than another, with its 95 % interval; `is_sure` where that leaves out zero."""
    low, high = interval(measured.resampled[arm, tier] - measured.resampled[other, tier])
    return {
        "points": 100 * (measured.values[arm, tier] - measured.values[other, tier]),
        "points_ci95": [100 * low, 100 * high],
        "is_sure": low > 0 or high < 0,
    }


def labels_needed(measured: Measured, arm: str, other: str, labels: Mapping[int, float], tier: int) -> dict[str, Any]:
    """How many labels per class `other` needs to be as accurate as `arm` is at a tier, and how many times as many.

    Between tiers it is interpolated on the logarithm of labels, along the best that `other` has reached so far. None
    stands for more than the largest tier has; a number below the smallest tier is given as that tier's.

    Args:
        labels: per class, by tier.
    """
    tiers = sorted(tier for name, tier in measured.values if name == other)
    logs = np.log([labels[one] for one in tiers])
    values = np.array([[measured.values[other, one]] for one in tiers])
    resampled = np.stack([measured.resampled[other, one] for one in tiers])
    wanted = np.array([measured.values[arm, tier]])
    needed = _reach(logs, values, wanted)[0]
    spread = np.sort(_reach(logs, resampled, measured.resampled[arm, tier]))
    low, high = (float(spread[int(place / 100 * (len(spread) - 1))]) for place in TAILS)
    return {
        "labels": _finite(needed),
        "labels_ci95": [_finite(low), _finite(high)],
        "times": _finite(needed / labels[tier]),
        "most": float(labels[tiers[-1]]),
    }


def _reach(logs: np.ndarray, reached: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Labels at which curves `[T, R]` come to what is wanted `[R]`; infinite where they do not."""
    best = np.maximum.accumulate(reached, axis=0)
    after = (best >= wanted).argmax(axis=0)
    never = (best < wanted).all(axis=0)
    columns = np.arange(best.shape[1])
    before = np.maximum(after - 1, 0)
    low, high = best[before, columns], best[after, columns]
    share = np.where(high > low, (wanted - low) / np.where(high > low, high - low, 1.0), 0.0)
    found = np.exp(logs[before] + np.clip(share, 0.0, 1.0) * (logs[after] - logs[before]))
    return np.where(never, np.inf, found)


def interval(values: np.ndarray) -> list[float]:
    """The 95 % interval of resampled values."""
    low, high = np.percentile(values, TAILS)
    return [float(low), float(high)]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
