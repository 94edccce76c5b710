"""The study in memory is the study in the database, whatever is done to it."""

from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from autotl.search.storage import open_storage

NAME = "stage"
ACTIONS = ["ask", "ask", "queue", "report", "number", "complete", "prune", "fail", "reopen"]


def open_study(path: Path) -> optuna.Study:
    study = optuna.create_study(storage=open_storage(path), study_name=NAME, load_if_exists=True)
    study.sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=2, multivariate=True, group=True)
    return study


def ask(study: optuna.Study) -> optuna.Trial:
    trial = study.ask()
    trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    if trial.suggest_categorical("head", ["linear", "mlp"]) == "mlp":
        trial.suggest_int("width", 8, 64, log=True)
    return trial


def told(trials: list[optuna.trial.FrozenTrial]) -> list[tuple[object, ...]]:
    """What is said of each trial; times are the database's own."""
    return [
        (t.number, t.state, t.values, t.params, t.distributions, t.user_attrs, t.system_attrs, t.intermediate_values)
        for t in trials
    ]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(st.sampled_from(ACTIONS), max_size=14))
def test_another_reader_finds_in_the_database_what_is_in_memory(
    actions: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("study") / "study.db"
    study, running = open_study(path), list[optuna.Trial]()
    for step, action in enumerate(actions):
        match action:
            case "ask":
                running.append(ask(study))
                running[-1].set_user_attr("number", step)
            case "queue":
                study.enqueue_trial({"rate": 1e-2}, user_attrs={"number": step})
            case "reopen":
                study, running = open_study(path), []
            case _ if not running:
                continue
            case "report":
                running[0].report(1.0 / (1 + step), step)
            case "number":
                running[-1].set_user_attr("again", step)
            case "complete":
                study.tell(running.pop(0), float(step))
            case "prune":
                running[0].set_constraint("oom", 1.0)
                study.tell(running.pop(0), state=TrialState.PRUNED)
            case "fail":
                study.tell(running.pop(0), state=TrialState.FAIL)
    stored = optuna.load_study(study_name=NAME, storage=f"sqlite:///{path}").get_trials()
    assert told(study.get_trials()) == told(stored)
    assert told(open_study(path).get_trials()) == told(stored)


def test_a_trial_is_written_when_something_is_said_of_it(tmp_path: Path) -> None:
    study = open_study(tmp_path / "study.db")
    trial = ask(study)
    assert open_study(tmp_path / "study.db").get_trials() == []
    trial.set_user_attr("number", 1)
    (stored,) = open_study(tmp_path / "study.db").get_trials()
    assert (stored.state, stored.params) == (TrialState.RUNNING, trial.params)


def test_all_studies_of_a_database_are_there_again(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.db")
    for name, direction in (("a", "minimize"), ("b", "maximize")):
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
        study.set_user_attr("of", name)
        study.tell(ask(study), 1.0)
    again = open_storage(tmp_path / "study.db")
    for name, direction in (("a", "MINIMIZE"), ("b", "MAXIMIZE")):
        study = optuna.load_study(storage=again, study_name=name)
        assert (study.direction.name, study.user_attrs, len(study.trials)) == (direction, {"of": name}, 1)


def test_a_study_that_is_deleted_is_gone_for_good(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.db")
    optuna.create_study(storage=storage, study_name=NAME)
    optuna.delete_study(storage=storage, study_name=NAME)
    assert open_storage(tmp_path / "study.db").get_all_studies() == []
