"""What a worker makes of a job: JSON in, JSON out, arrays and models in the trial's folder."""

import json
from pathlib import Path

import numpy as np
import pytest

from autotl.errors import TrialError
from autotl.learn.jobs import run_job
from autotl.learn.metrics import scores

LINEAR = {"penalty": 1e-2}
MLP = {"head": "mlp", "width": 32, "epochs": 4, "batch_size": 16, "head_rate": 1e-2}
FINETUNE = {
    "recipe": "finetune", "freeze_depth": 0.8, "penalty": 1e-2, "epochs": 2, "batch_size": 16,
    "head_rate": 1e-4, "tail_rate": 1e-6,
}  # fmt: skip

COSINE = {
    "head": "cosine", "options": {"scale": 20.0}, "pooling": "gem", "taps": "all", "epochs": 10, "batch_size": 16,
    "head_rate": 2e-2,
}  # fmt: skip


@pytest.fixture
def run_trial(problem, tmp_path, go_on):
    """Runs a trial in a folder of its own; the result is what the driver would read."""

    def run(config, evaluation, report=go_on, **fields):
        result = run_job(problem.payload(tmp_path / "trial", config, evaluation=evaluation, **fields), report)
        return json.loads(json.dumps(result, allow_nan=False))

    return run


@pytest.fixture
def saved(tmp_path):
    """The probabilities, rows and labels that a trial left."""

    def load():
        with np.load(tmp_path / "trial" / "validation.npz", allow_pickle=False) as file:
            return file["probabilities"], file["rows"], file["labels"]

    return load


def test_a_job_that_no_recipe_knows_is_refused_before_anything_is_computed(run_trial):
    with pytest.raises(TrialError, match="colour"):
        run_trial({"colour": "red"}, "holdout")


@pytest.mark.keras
@pytest.mark.parametrize("evaluation", ["cross_validation", "holdout"])
@pytest.mark.parametrize("config", [LINEAR, MLP, FINETUNE], ids=["linear", "mlp", "finetune"])
def test_a_trial_leaves_what_its_scores_were_computed_from(problem, run_trial, saved, config, evaluation):
    result = run_trial(config, evaluation)
    probabilities, rows, labels = saved()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    assert result["scores"] == scores(probabilities, labels)
    assert result["score"] == result["scores"]["log_loss"]
    assert result["scores"]["accuracy"] >= 0.6
    assert not result["stopped"]
    task = problem.task()
    np.testing.assert_array_equal(rows, task.everything if evaluation == "cross_validation" else task.validation)
    np.testing.assert_array_equal(labels, task.labels[rows])
    assert 0.05 <= result["temperature"] <= 20.0
    assert result["multiply_adds"] > 0
    assert result["ledger"]["counts"]["bytes_opened"] > 0


@pytest.mark.keras
def test_the_score_is_the_metric_that_was_asked_for(run_trial):
    result = run_trial(LINEAR, "cross_validation", metric="balanced_accuracy")
    assert result["score"] == result["scores"]["balanced_accuracy"]


@pytest.mark.keras
def test_trials_are_compared_on_the_same_folds_when_they_share_the_seed_of_the_folds(run_trial):
    one, two = (run_trial(LINEAR, "cross_validation", seed=seed, fold_seed=11)["score"] for seed in (1, 2))
    other = run_trial(LINEAR, "cross_validation", seed=1, fold_seed=12)["score"]
    assert one == two != other


@pytest.mark.keras
def test_a_solved_head_reports_once_a_trained_one_after_every_fold(run_trial, reports):
    result = run_trial(LINEAR, "cross_validation")
    assert [step for step, _ in reports] == [5]
    assert reports[0][1] == pytest.approx(result["score"])
    reports.clear()
    result = run_trial(MLP, "cross_validation")
    assert [step for step, _ in reports] == [1, 2, 3, 4, 5]
    assert result["curve"] == [value for _, value in reports]
    assert reports[-1][1] == pytest.approx(result["score"], rel=1e-4)


@pytest.mark.keras
def test_fine_tuning_reports_after_every_epoch(run_trial, reports):
    result = run_trial(FINETUNE, "holdout")
    assert [step for step, _ in reports] == [1, 2]
    assert result["curve"] == [value for _, value in reports]
    assert result["curve"][-1] == pytest.approx(result["score"])
    assert result["cut"] == "block4_pool"
    # block 5 of VGG16, three times 3 * 3 * 512 * 512 + 512, and a linear head on 512 features
    assert result["trained_parameters"] == 3 * (9 * 512 * 512 + 512) + 512 * 3 + 3


@pytest.mark.keras
def test_a_trial_that_is_stopped_says_so_and_is_scored_on_what_it_has_seen(problem, run_trial, saved):
    result = run_trial(MLP, "cross_validation", report=lambda step, value, extra: step == 2)
    probabilities, rows, labels = saved()
    assert result["stopped"]
    assert len(result["curve"]) == 2
    assert 0 < len(rows) == len(probabilities) < len(problem.task().labels)
    np.testing.assert_array_equal(labels, problem.task().labels[rows])
    result = run_trial(FINETUNE, "holdout", report=lambda step, value, extra: step == 1)
    assert result["stopped"]
    assert len(result["curve"]) == 1


@pytest.mark.keras
@pytest.mark.parametrize("config", [LINEAR, MLP, FINETUNE], ids=["linear", "mlp", "finetune"])
def test_a_trial_repeats_itself_after_another_one(run_trial, config):
    first = run_trial(config, "holdout")
    run_trial({**MLP, "head_rate": 1e-3} if config is FINETUNE else {**FINETUNE, "epochs": 1}, "holdout", seed=3)
    again = run_trial(config, "holdout")
    assert (again["score"], again["scores"]) == (first["score"], first["scores"])
    assert "images_forwarded" not in again["ledger"]["counts"]


@pytest.mark.keras
@pytest.mark.parametrize("config", [LINEAR, MLP, COSINE, FINETUNE], ids=["linear", "mlp", "cosine", "finetune"])
def test_the_final_fit_saves_a_model_and_what_it_computes(problem, tmp_path, config):
    import keras

    from autotl.data.images import open_images

    steps = []

    def stop(step, value, extra):
        steps.append(step)
        return True

    payload = problem.payload(tmp_path / "final", config, "final", temperature=1.5)
    result = json.loads(json.dumps(run_job(payload, stop), allow_nan=False))
    assert steps == ([1, 2] if config is FINETUNE else [])  # the final fit is never pruned
    assert Path(result["model"]).parent == tmp_path / "final"
    model = keras.saving.load_model(result["model"], safe_mode=True, compile=False)
    assert result["parameters"] == model.count_params()
    rows = result["reference"]["rows"]
    reference = np.load(result["reference"]["probabilities"], allow_pickle=False)
    assert set(rows) <= set(problem.task().sources.rows)  # of training and validation, never of the test split
    images = open_images(problem.manifest, 32, problem.cache)[rows]
    np.testing.assert_allclose(model.predict(images, verbose=0), reference, atol=1e-5)
    labels = problem.manifest.labels()[rows]
    assert (reference.argmax(axis=1) == labels).mean() >= 0.9  # it was fitted to these


@pytest.mark.keras
def test_the_final_fit_of_a_probe_has_the_backbone_as_it_came(problem, tmp_path, go_on):
    import keras

    from autotl.learn.ledger import Ledger
    from autotl.learn.networks import borrow_network

    run_job(problem.payload(tmp_path / "before", {**FINETUNE, "tail_rate": 1e-3}, evaluation="holdout"), go_on)
    result = run_job(problem.payload(tmp_path / "final", LINEAR, "final", temperature=1.0), go_on)
    model = keras.saving.load_model(result["model"], safe_mode=True, compile=False)
    saved = [variable.numpy() for variable in model.variables]
    for original in borrow_network("vgg16", 32, "random", Ledger()).originals:
        assert any(np.array_equal(original, value) for value in saved)


@pytest.mark.keras
@pytest.mark.parametrize("config", [LINEAR, {**LINEAR, "recipe": "scratch", "epochs": 1}], ids=["probe", "scratch"])
def test_the_final_fit_names_what_the_head_stands_on(problem, tmp_path, go_on, config):
    import keras

    from autotl.backbones.cuts import feature_output
    from autotl.backbones.graph import flatten
    from autotl.data.images import open_images
    from autotl.deliver.ood import LAYER, with_features

    payload = problem.payload(tmp_path / "final", {**config, "taps": "last2"}, "final", temperature=1.0)
    result = run_job(payload, go_on)
    model = keras.saving.load_model(result["model"], safe_mode=True, compile=False)
    assert tuple(feature_output(flatten(model), result["features"]).shape[1:]) == (1, 1, 512)
    if config.get("recipe") == "scratch":
        assert result["sample"] is None  # no store has features of a network that was trained
        return
    sample = result["sample"]
    tapped = with_features(model, LAYER)
    computed = tapped.predict(open_images(problem.manifest, 32, problem.cache)[sample["rows"]], verbose=0)
    stored = np.load(sample["features"], allow_pickle=False)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    assert set(sample["rows"]) <= set(problem.task().sources.rows)
    np.testing.assert_allclose(computed[:, -stored.shape[1] :], stored, atol=1e-3)
