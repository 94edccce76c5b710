"""The sampler of a stage: what it proposes depends on the seed and on what the study knows, never on who asks.

Optuna's samplers carry a stream of random numbers, which a driver that goes on with a study cannot take up where the
last one was: its proposals would depend on how often the search was interrupted.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from autotl.space.schema import Stage

STARTUP_TRIALS = 6


@dataclass
class RepeatableSampler(optuna.samplers.BaseSampler):
    """Has a fresh sampler draw every time, with a seed of the trial and of the parameter.

    Attributes:
        make: takes a seed.
        seed: of the stage.
        inferred: the number of the last trial whose parameters were looked for, and the sampler that did.
    """

    make: Callable[[int], optuna.samplers.BaseSampler]
    seed: int
    inferred: tuple[int, optuna.samplers.BaseSampler] | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self.inferred = trial.number, self._fresh(trial)
        return self.inferred[1].infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self.inferred is None or self.inferred[0] != trial.number:
            self.infer_relative_search_space(study, trial)
        assert self.inferred is not None
        sampler, self.inferred = self.inferred[1], None  # TPE has kept its groups of parameters; it draws only once
        return sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._fresh(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    def _fresh(self, trial: FrozenTrial, name: str = "") -> optuna.samplers.BaseSampler:
        return self.make(zlib.crc32(f"{self.seed}/{trial.number}/{name}".encode()))


def make_sampler(stage: Stage, seed: int) -> RepeatableSampler:
    """What a stage asks for: random draws, or TPE, which models the good and the bad trials apart.

    Parameters of one branch of the space are modelled together, and trials that still run count as bad ones, so that
    slots that ask at the same time are not sent to the same place.
    """
    if stage.sampler == "random":
        return RepeatableSampler(lambda own: optuna.samplers.RandomSampler(seed=own), seed)
    return RepeatableSampler(
        lambda own: optuna.samplers.TPESampler(
            seed=own, n_startup_trials=STARTUP_TRIALS, multivariate=True, group=True, constant_liar=True
        ),
        seed,
    )
