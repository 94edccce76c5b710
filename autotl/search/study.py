"""Optuna's part: one study per stage, all in the run's `study.db`, written by the driver alone."""

import math
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from autotl.search.request import METRICS
from autotl.space.parameters import ends
from autotl.space.schema import Stage

STARTUP_TRIALS = 6
FIRST_RUNG = 0.2  # of a trial's epochs, rounded up
EPOCHS = 12  # of a trial, where nobody says
KEPT_ONE_IN = 3
INFEASIBLE = ("oom", "invalid")
RESULT = "result"


def open_storage(path: Path) -> optuna.storages.RDBStorage:
    """Open (or create) the study database. SQLite has one writer: the driver that holds the run's lock."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna.storages.RDBStorage(f"sqlite:///{path}")


def open_study(
    storage: optuna.storages.RDBStorage, stage: Stage, metric: str, seed: int, epochs: int = EPOCHS
) -> optuna.Study:
    """The study of one stage, new or as far as it has come.

    TPE models the good and the bad trials apart, parameters of one branch of the space together; a fresh seed on
    resuming keeps it from repeating its first draws. Pruning is one bracket of successive halving (Jamieson and
    Talwalkar, https://arxiv.org/abs/1502.07943): only the best third goes on after a fifth of the epochs, and again
    after three times as many. Hyperband's brackets would each need ten trials before the sampler learns anything.

    Args:
        storage: of `open_storage`.
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
    done = len(study.trials)
    if stage.sampler == "random":
        study.sampler = optuna.samplers.RandomSampler(seed=seed + done)
    else:
        study.sampler = optuna.samplers.TPESampler(
            seed=seed + done, n_startup_trials=STARTUP_TRIALS, multivariate=True, group=True, constant_liar=True
        )
    study.pruner = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=_first_rung(stage, epochs), reduction_factor=KEPT_ONE_IN
    )
    return study


def _first_rung(stage: Stage, epochs: int) -> int:
    """Epochs before the first comparison: a fifth of those of the stage's shortest trial."""
    searched = {str(name): item for name, item in stage.parameters.items()}.get("epochs")
    shortest = min(map(float, ends(searched))) if searched is not None else stage.epochs or epochs
    return math.ceil(FIRST_RUNG * shortest)


def abandon_running(study: optuna.Study) -> int:
    """Mark trials that a dead driver left running as failed, and queue them again; answers how many."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        study.tell(trial.number, state=TrialState.FAIL)
        if RESULT not in trial.user_attrs:
            study.enqueue_trial(trial.params)
    return len(running)


def conclude(study: optuna.Study, trial: Trial, record: dict[str, Any]) -> None:
    """Write down what became of a trial, then tell the sampler.

    A configuration that cannot be trained here (out of memory, infinite loss) is pruned and violates a constraint.
    Never FAIL: the sampler does not see failed trials and would propose the same corner for ever.
    """
    trial.set_user_attr(RESULT, record)  # in one write: a driver that dies leaves all of it or nothing
    if record["state"] == "complete":
        study.tell(trial, record["score"])
    elif record["state"] == "pruned":
        study.tell(trial, state=TrialState.PRUNED)
    elif record["error"]["kind"] in INFEASIBLE:
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
    """Tell the sampler again what became of a configuration. It is no trial that counts, and leaves no record."""
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
