"""Which backbones go on: by what their frozen features were measured to give, and by what the field knows of them.

Transferability estimates such as LogME or LEEP rank networks of one size worse than their published accuracy does
(https://arxiv.org/abs/2510.06448), and either source alone can mislead: the hybrid of both has the lowest regret
(Renggli et al., https://arxiv.org/abs/2010.06402). So the measured score leads, a published accuracy adds a little, and
a backbone that is surely worse than the leader is dropped whatever is published.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autotl.search.bootstrap import chance_of_less
from autotl.search.finalists import Finalist, as_finalists, choose

SURELY_WORSE = 0.05  # the probability of being better than the leader below which a backbone is dropped
PRIOR_WEIGHT = 0.15  # of published accuracy beside the measured loss, both in standard deviations
SMALL = 500  # images; below it the measured loss is so noisy that the prior counts twice


def rank_backbones(
    results: Sequence[Mapping[str, Any]], metric: str, published: Mapping[str, float | None], seed: int = 0
) -> list[str]:
    """The backbones that are not surely worse than the best one, the one to adapt first.

    First comes the choice among finalists: the best one, or a clearly cheaper one that is as good. The others follow
    by measured loss and published accuracy together.

    Args:
        published: ImageNet top-1 accuracy of the backbones, where it is known.
    """
    best: dict[str, Finalist] = {}
    for finalist in as_finalists(results, metric):
        best.setdefault(finalist.config["backbone"], finalist)
    if not best:
        return []
    leader = choose(list(best.values()), metric)
    strongest = next(iter(best.values()))
    alive = {
        name: finalist
        for name, finalist in best.items()
        if finalist in (leader, strongest) or _chance(finalist, strongest, seed) >= SURELY_WORSE
    }
    merit = _merit(alive, published)
    others = [name for name in alive if name != leader.config["backbone"]]
    return [leader.config["backbone"], *sorted(others, key=lambda name: -merit[name])]


def _chance(finalist: Finalist, leader: Finalist, seed: int) -> float:
    """The bootstrapped probability that a backbone's mean loss is below the leader's, image by image."""
    if not np.array_equal(finalist.rows, leader.rows):
        return 1.0
    return chance_of_less(finalist.losses - leader.losses, seed)


def _merit(alive: Mapping[str, Finalist], published: Mapping[str, float | None]) -> dict[str, float]:
    names = list(alive)
    measured = -_standardised([float(finalist.losses.mean()) for finalist in alive.values()])
    accuracies = [published.get(name) for name in names]
    known = [value for value in accuracies if value is not None]
    middle = float(np.mean(known)) if known else 0.0
    prior = _standardised([middle if value is None else value for value in accuracies])
    few = min(len(finalist.rows) for finalist in alive.values()) < SMALL
    weight = 2.0 * PRIOR_WEIGHT if few else PRIOR_WEIGHT
    return {name: float(own + weight * known_of) for name, own, known_of in zip(names, measured, prior, strict=True)}


def _standardised(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    spread = float(array.std())
    return (array - array.mean()) / spread if spread > 0.0 else np.zeros_like(array)
