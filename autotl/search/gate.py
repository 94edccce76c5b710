"""The gate: whether fine-tuning can pay, decided from one default run of it.

Fine-tuning beats a linear head by 25 points on one data set and loses a point on another (Kornblith et al.,
https://arxiv.org/abs/1805.08974), so a search of its settings is worth its price only where the default run may be
better than the frozen answer. Both have scored the same images: the differences are resampled in pairs.
"""

from typing import Any, NamedTuple

import numpy as np

from autotl.search.bootstrap import paired_interval
from autotl.search.finalists import Finalist

WORTHWHILE = 0.01  # nats of log-loss: a gain that is surely smaller is none


class Verdict(NamedTuple):
    """What the gate says: `gain` is the mean fall of log-loss, with its interval."""

    passed: bool
    gain: float
    low: float
    high: float
    images: int

    def describe(self) -> str:
        """The verdict for the person who watches."""
        change = f"log-loss falls by {self.gain:.3f} (95 % interval {self.low:.3f} to {self.high:.3f})"
        what = "its settings are searched" if self.passed else "it cannot pay, the frozen answer stays"
        return f"one default fine-tuning: {change}; {what}"

    def to_json(self) -> dict[str, Any]:
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in self._asdict().items()}


def judge(frozen: Finalist, tuned: Finalist, seed: int) -> Verdict | None:
    """Compare a fine-tuned configuration with the frozen one on the images that both have scored.

    Returns:
        The verdict: passed unless the gain is surely too small; None when they share no image.
    """
    shared, mine, theirs = np.intersect1d(frozen.rows, tuned.rows, assume_unique=True, return_indices=True)
    if not len(shared):
        return None
    gains = frozen.losses[mine] - tuned.losses[theirs]
    low, high = paired_interval(gains, seed)
    return Verdict(high >= WORTHWHILE, float(gains.mean()), low, high, len(shared))
