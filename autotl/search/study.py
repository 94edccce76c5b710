"""Optuna's part: one study per stage, all in the run's `study.db`, written by the driver alone."""

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from autotl.search.forecast import EPOCHS
from autotl.search.pruner import HalvingPruner
from autotl.search.request import METRICS
from autotl.search.sampler import make_sampler
from autotl.space.parameters import ends
from autotl.space.schema import Stage

FIRST_RUNG = 0.2  # of a trial's epochs, rounded up
INFEASIBLE = ("oom", "invalid")
RESULT = "result"


def open_study(
    storage: optuna.storages.BaseStorage, stage: Stage, metric: str, seed: int, epochs: int = EPOCHS
) -> optuna.Study:
    """The study of one stage, new or as far as it has come.

    Args:
        storage: of `autotl.search.storage.open_storage`.
        stage: names the study.
        metric: what is optimised.
        seed: of the sampler.
        epochs: of a trial, where the stage does not say.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=stage.name,
        direction=METRICS[metric],  # type: ignore[arg-type]
        load_if_exists=True,
    )
    study.sampler = make_sampler(stage, seed)
    study.pruner = HalvingPruner(_first_rung(stage, epochs))
    return study


def last_number(storage: optuna.storages.BaseStorage) -> int:
    """The highest number that a trial of any stage bears in the run; 0 where there is none."""
    names = optuna.get_all_study_names(storage)
    studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    trials = [trial for study in studies for trial in study.get_trials(deepcopy=False)]
    return max((int(trial.user_attrs.get("number", 0)) for trial in trials), default=0)


def _first_rung(stage: Stage, epochs: int) -> int:
    """Epochs before the first comparison: a fifth of those of the stage's shortest trial."""
    searched = {str(name): item for name, item in stage.parameters.items()}.get("epochs")
    shortest = min(map(float, ends(searched))) if searched is not None else stage.epochs or epochs
    return math.ceil(FIRST_RUNG * shortest)


def enqueue(study: optuna.Study, configurations: Sequence[dict[str, Any]]) -> None:
    """Have a study ask for these first; what an earlier driver has queued of them stays as it is."""
    queued = sum("fixed_params" in trial.system_attrs for trial in study.get_trials(deepcopy=False))
    for values in configurations[queued:]:
        study.enqueue_trial(values)


def take_over(study: optuna.Study) -> list[tuple[Trial, int]]:
    """The trials that a driver left when it died, each with the last step that it had reported.

    They are gone on with as they stand: another trial in the place of one would be a second rival to all others, and
    what the sampler proposes next would depend on how often the driver has died. A trial whose end was written down
    already has ended.
    """
    left = []
    for frozen in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        trial = Trial(study, frozen._trial_id)  # what `Study.ask` makes of a new one
        if RESULT in frozen.user_attrs:
            _tell(study, trial, frozen.user_attrs[RESULT])
        else:
            left.append((trial, frozen.last_step or 0))
    return left


def conclude(study: optuna.Study, trial: Trial, record: dict[str, Any]) -> None:
    """Write down what became of a trial, then tell the sampler; a later driver does the second where one died before.

    A configuration that cannot be trained here (out of memory, infinite loss) is pruned and violates a constraint.
    Never FAIL: the sampler does not see failed trials and would propose the same corner for ever.
    """
    trial.set_user_attr(RESULT, record)  # in one write: a driver that dies leaves all of it or nothing
    _tell(study, trial, record)


def _tell(study: optuna.Study, trial: Trial, record: dict[str, Any]) -> None:
    if record["state"] == "complete":
        study.tell(trial, record["score"])
    elif record["state"] == "pruned":
        study.tell(trial, state=TrialState.PRUNED)
    elif record["error"]["kind"] in INFEASIBLE:
        if record["error"]["kind"] not in trial.constraints:
            trial.set_constraint(record["error"]["kind"], 1.0)
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, state=TrialState.FAIL)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count: completed, pruned or failed on their own account, but not those cut off with a driver."""
    return [trial for trial in study.get_trials(deepcopy=False) if RESULT in trial.user_attrs]


def result_of(trial: FrozenTrial) -> dict[str, Any]:
    """What `conclude` kept of a trial: number, stage, state, score, config, seconds, ..."""
    return dict(trial.user_attrs[RESULT])


def repeat(study: optuna.Study, trial: Trial, known: dict[str, Any]) -> None:
    """Tell the sampler again what became of a configuration. It is no trial that counts, and leaves no record.

    Args:
        known: its state and score; or `excess`, by how much it is over each limit that it breaks without being tried.
    """
    for name, share in known.get("excess", {}).items():
        if name not in trial.constraints:
            trial.set_constraint(name, share)
    if known["state"] == "complete":
        study.tell(trial, known["score"])
    else:
        study.tell(trial, state=TrialState.PRUNED)


def trailing_repeats(study: optuna.Study) -> int:
    """How many repeats stand at the end of a study, one after the other."""
    count = 0
    for trial in reversed(study.get_trials(deepcopy=False)):
        if RESULT in trial.user_attrs or trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            break
        count += 1
    return count
