"""Repeated folds, time that is up, and what a trial settles by itself: through the job, as the driver sees it."""

import time

import numpy as np
import pytest

from autotl.data.folds import make_repeated_folds
from autotl.learn.jobs import run_job
from autotl.learn.metrics import scores

pytestmark = pytest.mark.keras
LINEAR = {"penalty": 1e-2}
MLP = {"head": "mlp", "width": 32, "epochs": 4, "batch_size": 16, "head_rate": 1e-2}
FINETUNE = {
    "recipe": "finetune", "freeze_depth": 0.8, "penalty": 1e-2, "epochs": 50, "batch_size": 4,
    "head_rate": 1e-4, "tail_rate": 1e-6,
}  # fmt: skip
STEPS = 8  # an alarm is asked every so many


@pytest.fixture
def run(problem, tmp_path, go_on):
    """Runs a trial: its result, and the probabilities, rows and labels that it left."""

    def trial(config, evaluation="cross_validation", **fields):
        payload = problem.payload(tmp_path / "trial", config, evaluation=evaluation, folds=3, **fields)
        result = run_job(payload, go_on)
        with np.load(tmp_path / "trial" / "validation.npz", allow_pickle=False) as saved:
            return result, saved["probabilities"], saved["rows"], saved["labels"]

    return trial


@pytest.mark.parametrize("config", [LINEAR, MLP], ids=["solved", "trained"])
def test_with_repeats_every_row_is_held_out_as_often_and_the_fits_of_a_row_differ(problem, run, config):
    result, probabilities, rows, labels = run(config, repeats=2)
    task = problem.task()
    np.testing.assert_array_equal(rows, np.repeat(task.everything, 2))
    assert result["scores"] == scores(probabilities, labels)
    first, second = probabilities[0::2], probabilities[1::2]
    assert np.abs(first - second).max() > 1e-3
    single, once, _, _ = run(config)  # its folds are the first partition; the temperature is its own
    together, apart = (logits_of(first, result["temperature"]), logits_of(once, single["temperature"]))
    np.testing.assert_allclose(together, apart, atol=1e-3 * np.abs(apart).max())


def test_of_a_trained_trial_the_first_folds_may_be_all_that_are_fitted(problem, run):
    result, probabilities, rows, labels = run(MLP, fold_seed=5, fitted_folds=1)
    task = problem.task()
    (folds,) = make_repeated_folds(task.labels, task.groups, 3, 1, 5)
    np.testing.assert_array_equal(rows, np.sort(folds[0]))
    assert result["scores"] == scores(probabilities, labels)
    _, whole, all_rows, _ = run(MLP, fold_seed=5)
    np.testing.assert_array_equal(all_rows, task.everything)
    np.testing.assert_array_equal(whole[rows].argmax(axis=1), probabilities.argmax(axis=1))  # but for the temperature


def logits_of(probabilities, temperature):
    """What the probabilities were computed from; every row adds up to 0."""
    logs = temperature * np.log(probabilities)
    return logs - logs.mean(axis=1, keepdims=True)


def test_the_best_penalty_is_settled_to_a_number_that_gives_the_same_score(run):
    best = run({"penalty": "best"})[0]
    settled = best["settled"]["penalty"]
    assert isinstance(settled, float)
    again = run({"penalty": settled})[0]
    assert again["score"] == pytest.approx(best["score"], abs=1e-3)
    assert again["settled"] == {"penalty": settled}


def test_a_trial_whose_time_is_up_ends_within_its_first_fold_and_is_scored_on_it(problem, run, go_on):
    result, probabilities, rows, labels = run(FINETUNE, stop_at=time.time())
    assert result["stopped"]
    assert result["ledger"]["counts"]["images_trained"] == STEPS * FINETUNE["batch_size"]
    assert len(rows) == len(problem.task().everything) / 3
    assert result["scores"] == scores(probabilities, labels)


def test_a_hold_out_whose_time_is_up_is_scored_too(problem, run):
    result, _, rows, _ = run(FINETUNE, "holdout", stop_at=time.time())
    assert result["stopped"]
    assert result["ledger"]["counts"]["images_trained"] == STEPS * FINETUNE["batch_size"]
    np.testing.assert_array_equal(rows, problem.task().validation)


def test_a_solved_head_is_done_before_time_can_be_up(problem, run):
    result, _, rows, _ = run(LINEAR, stop_at=time.time())
    assert not result["stopped"]
    np.testing.assert_array_equal(rows, problem.task().everything)


def test_the_score_may_be_the_area_under_the_curve(run):
    result, probabilities, _, labels = run(LINEAR, metric="auroc")
    assert result["score"] == scores(probabilities, labels)["auroc"]
    assert result["score"] > 0.7


@pytest.mark.parametrize(
    "config",
    [
        {**LINEAR, "augmentation": "flip"},
        MLP,
        {**MLP, "head": "linear", "pooling": "attention", "image_size": 64},
        {**FINETUNE, "epochs": 2, "tail_rate": 1e-3, "batch_size": 16},
    ],
    ids=["solved", "trained", "attention", "finetune"],
)
def test_a_store_that_is_shared_with_other_rows_gives_the_same_trial(problem, run, config):
    _, own, rows, labels = run(config)
    _, shared, *others = run(config, shares_stores=True)
    np.testing.assert_allclose(shared, own, atol=0.02)
    assert all(np.array_equal(one, two) for one, two in zip(others, (rows, labels), strict=True))
    sampled = run(config, shares_stores=True, images=30, fold_seed=7)
    assert set(sampled[2]) < set(rows)
    assert "images_forwarded" not in sampled[0]["ledger"]["counts"]
