"""The gate: whether fine-tuning can pay, decided from one default run of it.

Fine-tuning beats a linear head by 25 points on one data set and loses a point on another (Kornblith et al.,
https://arxiv.org/abs/1805.08974), so a search of its settings is worth its price only where the default run may be
better than the frozen answer. Both have scored the same images: the differences are resampled in pairs. Training deeper
costs more again, for every trial, the confirmation and the last fit: a stage may ask for better odds.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from autotl.search.bootstrap import resampled_means
from autotl.search.finalists import Finalist
from autotl.space.schema import Stage

WORTHWHILE = 0.01  # nats of log-loss: a smaller gain is none
GOOD_ODDS = 0.5
LEAST_CHANCE = 0.025  # the probability of a worthwhile gain below which it surely cannot pay


def asks_for_good_odds(stage: Stage) -> bool:
    """Whether a stage goes on only where its default is more likely better than not."""
    return stage.gate is not True and stage.gate >= GOOD_ODDS


class Verdict(NamedTuple):
    """What the gate says: `gain` is the mean fall of log-loss, with its interval; `chance` that of a worthwhile one."""

    passed: bool
    gain: float
    low: float
    high: float
    chance: float
    images: int

    def describe(self) -> str:
        """The verdict for the person who watches."""
        change = f"log-loss falls by {self.gain:.3f} (95 % interval {self.low:.3f} to {self.high:.3f})"
        what = "its settings are searched" if self.passed else "that is not worth its price, the answer so far stays"
        return f"the default of this stage: {change}; {what}"

    def to_json(self) -> dict[str, Any]:
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in self._asdict().items()}


def judge(known: Finalist, tuned: Finalist, seed: int, least: float = LEAST_CHANCE) -> Verdict | None:
    """Compare a stage's default configuration with the best one before it, on the images that both have scored.

    Args:
        known: the best of the stages before: frozen, or frozen more deeply.
        tuned: the stage's default.
        seed: of the resampling.
        least: the gate passes when a worthwhile gain is at least so probable.

    Returns:
        The verdict; None when they share no image.
    """
    shared, mine, theirs = np.intersect1d(known.rows, tuned.rows, assume_unique=True, return_indices=True)
    if not len(shared):
        return None
    gains = known.losses[mine] - tuned.losses[theirs]
    means = resampled_means(gains, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    chance = float((means >= WORTHWHILE).mean())
    return Verdict(chance >= least, float(gains.mean()), float(low), float(high), chance, len(shared))


def falls_behind(rival: Mapping[str, Any], config: Mapping[str, Any], step: int, value: float, sign: int) -> bool:
    """Whether a stage's default is no better than its rival on the first fold: two thirds of its price are saved then.

    Args:
        rival: the record of the best trial so far, scored on the same folds.
        config: of the stage's default.
        step: of its report; epochs of the first fold come first, then folds.
        value: its score so far.
        sign: 1 where smaller scores are better, -1 where larger ones are.
    """
    epochs, curve = config.get("epochs"), rival.get("curve") or []
    if epochs is None or rival["config"].get("epochs") != epochs or step != epochs + 1 or len(curve) < step:
        return False
    return bool(sign * value >= sign * curve[step - 1])
