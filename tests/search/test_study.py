"""What becomes of a trial in the study database, and what a later driver finds there."""

import contextlib

import optuna
import pytest
from optuna.trial import TrialState

from autotl.search.storage import open_storage
from autotl.search.study import (
    conclude,
    enqueue,
    finished,
    last_number,
    open_study,
    repeat,
    result_of,
    take_over,
    trailing_repeats,
)
from autotl.space.schema import Stage


def stage_called(name, **fields):
    return Stage(name=name, recipe="probe", trials=1, **fields)


PROBE = stage_called("probe")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


@pytest.fixture
def study(path):
    return open_study(open_storage(path), PROBE, "log_loss", seed=0)


def reopened(path, seed=0):
    """The same study as another driver sees it."""
    return open_study(open_storage(path), PROBE, "log_loss", seed)


def ask(study):
    """A trial with one parameter, and its number in the run."""
    trial = study.ask()
    trial.suggest_float("penalty", 1e-5, 1e-3, log=True)
    trial.set_user_attr("number", trial.number + 1)
    return trial


def record_of(trial, state="complete", score=None, error=None):
    """A record as `StageRun` makes it: the state comes before what a fit measured."""
    measured = {"scores": {"accuracy": 0.5}, "temperature": 1.0, "multiply_adds": 1} if error is None else {}
    return {
        "number": trial.user_attrs["number"], "stage": "probe", "config": dict(trial.params), "seconds": 1.5,
        "score": score, "error": error, "state": state, **measured,
    }  # fmt: skip


def end(study, **fields):
    trial = ask(study)
    record = record_of(trial, **fields)
    conclude(study, trial, record)
    return record, study.trials[trial.number]


def test_a_complete_trial_has_its_score_and_its_record(path, study):
    record, trial = end(study, score=0.7)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.7)
    (kept,) = finished(reopened(path))
    assert result_of(kept) == record


def test_a_trial_that_fell_behind_is_pruned(study):
    _, trial = end(study, state="pruned", score=0.9)
    assert trial.state == TrialState.PRUNED
    assert trial.system_attrs.get("constraints", {}) == {}


@pytest.mark.parametrize("kind", ["oom", "invalid"])
def test_what_cannot_be_trained_is_pruned_and_violates_a_constraint(study, kind):
    _, trial = end(study, state="failed", error={"kind": kind, "message": "no"})
    assert trial.state == TrialState.PRUNED
    assert any(value > 0 for name, value in trial.constraints.items() if name == kind)


@pytest.mark.parametrize("kind", ["user", "infra", "data"])
def test_other_faults_fail_the_trial(study, kind):
    record, trial = end(study, state="failed", error={"kind": kind, "message": "no"})
    assert trial.state == TrialState.FAIL
    assert result_of(trial) == record


def test_all_that_ended_on_their_own_account_count_as_finished(study):
    end(study, score=0.7)
    end(study, state="pruned", score=0.9)
    end(study, state="failed", error={"kind": "oom", "message": "no"})
    end(study, state="failed", error={"kind": "user", "message": "no"})
    ask(study)
    assert [result_of(trial)["state"] for trial in finished(study)] == ["complete", "pruned", "failed", "failed"]


def test_a_trial_cut_off_with_its_driver_is_gone_on_with_as_it_stands(path, study):
    end(study, score=0.7)
    cut_off = ask(study)
    for step, value in ((1, 0.9), (2, 0.8)):
        cut_off.report(value, step)
    later = reopened(path)
    ((again, step),) = take_over(later)
    assert (again.number, again.params, again.user_attrs, step) == (1, cut_off.params, {"number": 2}, 2)
    assert again.suggest_float("penalty", 1e-5, 1e-3, log=True) == cut_off.params["penalty"]
    conclude(later, again, record_of(again, score=0.5))
    assert [(trial.state, trial.value) for trial in reopened(path).trials] == [
        (TrialState.COMPLETE, 0.7), (TrialState.COMPLETE, 0.5)
    ]  # fmt: skip
    assert take_over(reopened(path)) == []


def test_trials_queued_by_a_driver_that_died_are_still_asked_for_and_the_others_are_added(path, study):
    first = [{"penalty": value} for value in (1e-4, 2e-4, 3e-4)]
    enqueue(study, first[:2])
    assert ask(study).params == first[0]
    later = reopened(path)
    ((cut_off, _),) = take_over(later)
    assert cut_off.params == first[0]
    for _ in range(2):
        enqueue(later, first)
    assert [ask(later).params for _ in range(2)] == first[1:]
    assert len(later.trials) == 3


def test_the_highest_number_is_that_of_any_stage(path):
    storage = open_storage(path)
    assert last_number(storage) == 0
    end(open_study(storage, PROBE, "log_loss", 0), score=0.7)
    other = open_study(storage, stage_called("other"), "log_loss", 0)
    for _ in range(3):
        ask(other)
    assert last_number(storage) == 3


class Dying:
    """A database whose driver dies at its n-th write."""

    def __init__(self, storage, writes):
        self.storage, self.writes = storage, writes

    def __getattr__(self, name):
        if name.startswith("set_trial"):
            if self.writes == 0:
                raise KeyboardInterrupt
            self.writes -= 1
        return getattr(self.storage, name)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"score": 0.7}, TrialState.COMPLETE),
        ({"state": "pruned", "score": 0.9}, TrialState.PRUNED),
        ({"state": "failed", "error": {"kind": "oom", "message": "no"}}, TrialState.PRUNED),
        ({"state": "failed", "error": {"kind": "user", "message": "no"}}, TrialState.FAIL),
    ],
)
def test_a_trial_that_was_half_written_down_is_gone_on_with_or_whole(path, fields, state):
    outcomes = []
    for writes in range(5):
        stage = stage_called(f"probe-{writes}")
        study = open_study(open_storage(path), stage, "log_loss", seed=0)
        trial = ask(study)
        record = record_of(trial, **fields)
        trial.storage = study._storage = Dying(study._storage, writes)
        with contextlib.suppress(KeyboardInterrupt):
            conclude(study, trial, record)
        later = open_study(open_storage(path), stage, "log_loss", seed=0)
        left = [each.number for each, _ in take_over(later)]
        if not left:
            assert [result_of(kept) for kept in finished(later)] == [record]
            assert later.trials[0].state == state
            assert set(later.trials[0].constraints) == ({"oom"} if "oom" in str(fields) else set())
        outcomes.append("left" if left else "whole")
    assert outcomes == ["left", *(4 * ["whole"])]


def test_the_same_seed_proposes_the_same_trials(path):
    storage = open_storage(path)

    def proposals(name, seed):
        study = open_study(storage, stage_called(name), "log_loss", seed)
        return [end(study, score=0.1 * index)[0]["config"] for index in range(8)]

    first = proposals("first", 1)
    assert proposals("again", 1) == first
    assert proposals("other", 2) != first


def suggest(trial, most=3):
    """Up to so many parameters, of which the last one is there in one branch only."""
    trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    if most > 1 and trial.suggest_categorical("head", ["linear", "mlp"]) == "mlp" and most > 2:
        trial.suggest_int("width", 8, 256, log=True)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_what_is_proposed_does_not_depend_on_how_often_the_driver_was_restarted(path, sampler):
    def run(name, *, dies):
        stage = stage_called(name, sampler=sampler)
        study = open_study(open_storage(path), stage, "log_loss", 1)
        for index in range(14):
            trial = study.ask()
            if dies:  # with one, two or three parameters known
                suggest(trial, most=index % 3 + 1)
                trial.set_user_attr("number", index + 1)
                study = open_study(open_storage(path), stage, "log_loss", 1)
                ((trial, _),) = take_over(study)
            suggest(trial)
            study.tell(trial, abs(trial.params["rate"] - 1e-3) + trial.params.get("width", 100) / 1000)
        return [trial.params for trial in study.trials]

    whole = run("whole", dies=False)
    assert run("restarted", dies=True) == whole
    assert len({str(params) for params in whole}) == 14


def test_the_direction_is_that_of_the_metric(tmp_path):
    storage = open_storage(tmp_path / "study.db")
    directions = [open_study(storage, stage_called(metric), metric, 0).direction for metric in ("log_loss", "accuracy")]
    assert directions == [optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE]


def test_the_stages_of_a_run_share_one_database(path):
    storage = open_storage(path)
    end(open_study(storage, PROBE, "log_loss", 0), score=0.7)
    assert open_study(storage, stage_called("finetune"), "log_loss", 0).trials == []
    assert sorted(optuna.get_all_study_names(f"sqlite:///{path}")) == ["finetune", "probe"]


@pytest.mark.parametrize(("epochs", "rung"), [(5, 1), (8, 2), (12, 3)])
def test_the_first_comparison_comes_after_a_fifth_of_the_epochs(path, epochs, rung):
    study = open_study(open_storage(path), stage_called("tail", epochs=epochs), "log_loss", 0)
    last = []
    for value in (0.4, 0.5):
        trial = study.ask()
        for step in range(1, epochs):
            trial.report(value, step)
            last.append((value, step, trial.should_prune()))
    assert next(step for value, step, ends in last if ends) == rung


def test_epochs_that_are_searched_or_inherited_decide_too(path):
    searched = Stage(name="a", recipe="finetune", trials=1, parameters={"epochs": {"integer": [30, 60]}})
    storage = open_storage(path)
    pruners = [open_study(storage, stage, "log_loss", 0, 8).pruner for stage in (searched, stage_called("b"))]
    assert [pruner.first_rung for pruner in pruners] == [6, 2]


def test_repeats_at_the_end_of_a_study_are_counted_by_a_later_driver_too(path, study):
    record, _ = end(study, score=0.5)
    for known in (record, {"state": "pruned"}, {"state": "running"}):
        repeat(study, ask(study), known)
    assert trailing_repeats(reopened(path)) == 3
    assert len(finished(reopened(path))) == 1
    end(study, score=0.4)
    assert trailing_repeats(study) == 0


def test_only_the_best_third_goes_on(path):
    study = open_study(open_storage(path), stage_called("tail", epochs=10), "log_loss", 0)
    curves = []
    for value in (0.5, 0.6, 0.7, 0.4, 0.55):
        trial = study.ask()
        trial.report(9.0, 1)
        assert not trial.should_prune()
        trial.report(value, 2)
        curves.append(trial.should_prune())
        study.tell(trial, value)
    assert curves == [False, True, True, False, True]


@pytest.mark.parametrize(("sampler", "learns"), [("tpe", True), ("random", False)])
def test_a_stage_may_draw_at_random(path, sampler, learns):
    """What is drawn at random does not depend on what was good."""

    def proposals(name, sign):
        study = open_study(open_storage(path), stage_called(name, sampler=sampler), "log_loss", 0)
        for _ in range(10):
            trial = ask(study)
            study.tell(trial, sign * trial.params["penalty"])
        return [trial.params for trial in study.trials]

    assert (proposals("up", 1) != proposals("down", -1)) == learns
