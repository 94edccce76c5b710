"""The study in memory is the study in the database, whatever is done to it."""

import math
import sqlite3
import sys
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from autotl.search.driving import is_disk_full
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


def test_numbers_that_are_not_finite_are_there_again(tmp_path: Path) -> None:
    study = open_study(tmp_path / "study.db")
    trial, other = ask(study), ask(study)
    values = [0.5, math.nan, math.inf, -math.inf]
    for step, value in enumerate(values):
        trial.report(value, step)
    study.tell(trial, math.inf)
    study.tell(other, -math.inf)
    stored = optuna.load_study(study_name=NAME, storage=f"sqlite:///{tmp_path / 'study.db'}").get_trials()
    assert [each.value for each in stored] == [math.inf, -math.inf]
    assert repr(list(stored[0].intermediate_values.values())) == repr(values)


def test_what_is_reported_again_replaces_what_was_there(tmp_path: Path) -> None:
    study = open_study(tmp_path / "study.db")
    trial = ask(study)
    for value in (0.5, 0.25):
        study._storage.set_trial_intermediate_value(trial._trial_id, 1, value)
        trial.set_user_attr("result", value)
    (stored,) = open_study(tmp_path / "study.db").get_trials()
    assert (stored.intermediate_values, stored.user_attrs) == ({1: 0.25}, {"result": 0.25})


def test_nothing_is_written_of_a_trial_that_has_ended(tmp_path: Path) -> None:
    study = open_study(tmp_path / "study.db")
    trial = ask(study)
    study.tell(trial, 1.0)
    with pytest.raises(RuntimeError):
        trial.set_user_attr("number", 1)
    with pytest.raises(RuntimeError):
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    (stored,) = open_study(tmp_path / "study.db").get_trials()
    assert (stored.state, stored.user_attrs) == (TrialState.COMPLETE, {})


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.db"
    open_storage(path)

    def connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False)
        connection.execute("PRAGMA max_page_count = 100")
        return connection

    monkeypatch.setattr(sys.modules[open_storage.__module__], "_connect", connect)
    trial = ask(open_study(path))
    with pytest.raises(optuna.exceptions.StorageInternalError) as caught:
        trial.set_user_attr("much", "x" * 2**20)
    assert is_disk_full(caught.value)


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
