"""How far confidence is from accuracy, and the one number that brings them together."""

from typing import Any

import numpy as np

from autotl.learn.tallies import checked

_TEMPERATURE_BOUNDS = (0.05, 20.0)
_NEWTON_STEPS = 60


def expected_calibration_error(probabilities: Any, labels: Any, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over equal-width bins of confidence, weighted by their rows.

    Source: Guo et al. (2017), On calibration of modern neural networks, https://arxiv.org/abs/1706.04599
    """
    values, truth = checked(probabilities, labels)
    confidence = values.max(axis=1)
    correct = (values.argmax(axis=1) == truth).astype(np.float64)
    # Bins are (low, high], as in the paper: a confidence of exactly 1 belongs to the last one.
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def fit_temperature(logits: Any, labels: Any) -> float:
    """The temperature in [0.05, 20] that minimises the log-loss of `softmax(logits / temperature)`.

    Log-loss is convex in 1 / temperature, so its slope changes sign at most once: Newton's method finds the place,
    and halves the bracket where a step would leave it. Separable logits end at the bound instead of running away.

    Source: Guo et al. (2017), https://arxiv.org/abs/1706.04599
    """
    values, truth = checked(logits, labels)
    # the true class sits at zero; classes first, so that sums over them are sums of whole rows of memory
    centred = np.ascontiguousarray((values - values[np.arange(len(truth)), truth][:, None]).T)
    highest = centred.max(axis=0)

    def slopes(sharpness: float) -> tuple[float, float]:
        """First and second derivative of the log-loss by the inverse temperature."""
        chances = np.exp(sharpness * (centred - highest))
        chances /= chances.sum(axis=0)
        chances *= centred
        means = chances.sum(axis=0)
        return float(means.mean()), float(((chances * centred).sum(axis=0) - means**2).mean())

    low, high = (1.0 / bound for bound in reversed(_TEMPERATURE_BOUNDS))
    if slopes(high)[0] <= 0.0:  # still falling at the sharpest allowed
        return 1.0 / high
    if slopes(low)[0] >= 0.0:
        return 1.0 / low
    sharpness = 1.0
    for _ in range(_NEWTON_STEPS):
        slope, bend = slopes(sharpness)
        low, high = (sharpness, high) if slope < 0.0 else (low, sharpness)
        step = sharpness - slope / bend if bend > 0.0 else low
        if abs(step - sharpness) <= 1e-12 * sharpness:
            break
        sharpness = step if low < step < high else float(np.sqrt(low * high))
    return 1.0 / sharpness
