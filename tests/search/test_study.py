"""What becomes of a trial in the study database, and what a later driver finds there."""

import contextlib

import optuna
import pytest
from optuna.trial import TrialState

from autotl.search.study import (
    abandon_running,
    conclude,
    finished,
    open_storage,
    open_study,
    repeat,
    result_of,
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


def test_a_trial_cut_off_with_its_driver_is_failed_and_asked_for_again(path, study):
    end(study, score=0.7)
    cut_off = ask(study)
    later = reopened(path)
    assert abandon_running(later) == 1
    assert later.trials[cut_off.number].state == TrialState.FAIL
    assert [trial.number for trial in finished(later)] == [0]
    again = ask(later)
    assert again.number != cut_off.number
    assert again.params == cut_off.params


def test_trials_queued_by_a_driver_that_died_are_still_asked_for(path, study):
    study.enqueue_trial({"penalty": 2e-4})
    assert abandon_running(reopened(path)) == 0
    assert ask(reopened(path)).params == {"penalty": 2e-4}


def test_nothing_is_abandoned_twice(path, study):
    ask(study)
    assert abandon_running(reopened(path)) == 1
    assert abandon_running(reopened(path)) == 0
    waiting = [trial for trial in reopened(path).trials if trial.state == TrialState.WAITING]
    assert len(waiting) == 1


class Interrupting(optuna.storages.RDBStorage):
    """A database whose driver dies at its n-th write of an attribute."""

    writes_left: int | None = None

    def set_trial_user_attr(self, trial_id, key, value):
        if self.writes_left == 0:
            raise KeyboardInterrupt
        if self.writes_left is not None:
            self.writes_left -= 1
        super().set_trial_user_attr(trial_id, key, value)


def test_a_trial_that_was_half_written_down_is_run_again_or_whole(path):
    open_storage(path)  # sets Optuna's verbosity
    storage, outcomes = Interrupting(f"sqlite:///{path}"), []
    for writes in range(10):
        storage.writes_left = None
        study = open_study(storage, stage_called(f"probe-{writes}"), "log_loss", seed=0)
        trial = ask(study)
        record = record_of(trial, score=0.7)
        storage.writes_left = writes
        with contextlib.suppress(KeyboardInterrupt):
            conclude(study, trial, record)
        later = open_study(storage, stage_called(f"probe-{writes}"), "log_loss", seed=0)
        abandon_running(later)
        whole = [result_of(kept) for kept in finished(later)]
        waiting = [kept for kept in later.trials if kept.state == TrialState.WAITING]
        outcomes.append("whole" if whole == [record] else "again" if not whole and len(waiting) == 1 else whole)
    assert outcomes[0] == "again"
    assert [outcome for outcome in outcomes if outcome not in ("whole", "again")] == []


def test_the_same_seed_proposes_the_same_trials(path):
    storage = open_storage(path)

    def proposals(name, seed):
        study = open_study(storage, stage_called(name), "log_loss", seed)
        return [end(study, score=0.1 * index)[0]["config"] for index in range(8)]

    first = proposals("first", 1)
    assert proposals("again", 1) == first
    assert proposals("other", 2) != first


def test_a_resumed_study_does_not_repeat_its_first_draws(path, study):
    first = [end(study, score=1.0)[0]["config"] for _ in range(3)]
    later = reopened(path)
    assert end(later, score=1.0)[0]["config"] not in first


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
    assert [pruner._min_resource for pruner in pruners] == [6, 2]


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


def test_a_stage_may_draw_at_random(path):
    storage = open_storage(path)
    study = open_study(storage, stage_called("blind", sampler="random"), "log_loss", 0)
    assert isinstance(study.sampler, optuna.samplers.RandomSampler)
    assert isinstance(open_study(storage, PROBE, "log_loss", 0).sampler, optuna.samplers.TPESampler)
