"""Which trials go on: one bracket of successive halving, decided from what the study was told and from nothing else."""

import math
from dataclasses import dataclass

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

KEPT_ONE_IN = 3


@dataclass(frozen=True)
class HalvingPruner(optuna.pruners.BasePruner):
    """Only the best third goes on after the first rung, and again after three times as many steps, and so on.

    Successive halving (Jamieson and Talwalkar, https://arxiv.org/abs/1502.07943) as each trial comes by (Li et al.,
    https://arxiv.org/abs/1810.05934). Optuna's own notes down in the trial that it has judged, and a driver that goes
    on with a trial whose verdict was lost would let it pass. Hyperband's brackets would each need ten trials before the
    sampler learns anything.

    Attributes:
        first_rung: the first step after which trials are compared.
    """

    first_rung: int

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or not self._is_rung(step):
            return False
        sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
        values = [each.intermediate_values.get(step, math.nan) for each in study.get_trials(deepcopy=False)]
        ranked = sorted(sign * value for value in values if not math.isnan(value))
        best = ranked[: max(1, len(ranked) // KEPT_ONE_IN)]
        return not best or not sign * trial.intermediate_values[step] <= best[-1]

    def _is_rung(self, step: int) -> bool:
        rung = self.first_rung
        while rung < step:
            rung *= KEPT_ONE_IN
        return rung == step
