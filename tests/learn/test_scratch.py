"""Training from scratch: whole hypermodels by their own loop, and the from-scratch baseline of a backbone."""

import json
from pathlib import Path

import numpy as np
import pytest

from autotl.errors import TrialError, UsageError
from autotl.learn.config import read_config
from autotl.learn.jobs import run_job

pytestmark = pytest.mark.keras

VALUES = {
    "blocks": 2, "filters_0": 8, "filters_1": 16, "normalised": True, "head": "hidden", "units": 8, "rate": 0.01,
}  # fmt: skip


@pytest.fixture(autouse=True)
def models_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "heads"))


@pytest.fixture
def run_trial(problem, tmp_path, go_on):
    """Trains a hypermodel in a folder of its own; what comes back is what the driver would read."""

    def run(name, options=None, report=go_on, kind="trial", **fields):
        config = {"backbone": f"user_models:{name}", "recipe": "scratch", "epochs": 2, "batch_size": 16}
        config |= {"options": {} if options is None else options} | fields.pop("config", {})
        how = {"evaluation": "holdout"} if kind == "trial" else {"temperature": 1.5}
        payload = problem.payload(tmp_path / kind, config, kind, **{**how, **fields})
        return json.loads(json.dumps(run_job(payload, report), allow_nan=False))

    return run


def test_a_worker_without_values_says_what_it_needs_and_trains_nothing(run_trial, reports):
    result = run_trial("Convolutions")
    assert result["of"] == "user_models:Convolutions"
    assert [need["name"] for need in result["needs"]] == ["blocks", "filters_0", "normalised", "head", "rate"]
    assert reports == []
    assert "images_trained" not in result["ledger"]["counts"]


def test_with_all_values_it_trains_reports_and_is_scored_on_the_validation_split(problem, run_trial, reports, tmp_path):
    result = run_trial("Convolutions", {**VALUES, "filters_7": 8})
    assert result["options"] == VALUES  # without the one that was of no use
    assert [step for step, _ in reports] == [1, 2]
    assert result["curve"] == [value for _, value in reports]
    assert result["score"] == pytest.approx(result["curve"][-1], rel=1e-6)
    assert not result["stopped"]
    with np.load(tmp_path / "trial" / "validation.npz") as saved:
        np.testing.assert_array_equal(saved["rows"], problem.task().validation)
        np.testing.assert_allclose(saved["probabilities"].sum(axis=1), 1.0, atol=1e-6)
    # kernels at the positions that they are applied to: two convolutions, two dense layers
    assert result["multiply_adds"] == 15 * 15 * 27 * 8 + 7 * 7 * 72 * 16 + 16 * 8 + 8 * 3
    assert result["trained_parameters"] == 27 * 8 + 8 + 72 * 16 + 16 + 2 * 16 + 16 * 8 + 8 + 8 * 3 + 3
    assert result["ledger"]["counts"]["images_trained"] == 2 * 48


def test_it_learns(run_trial):
    values = {"blocks": 1, "filters_0": 16, "normalised": True, "head": "linear", "rate": 0.03}
    result = run_trial("Convolutions", values, config={"epochs": 12})
    assert result["scores"]["accuracy"] >= 0.6


def test_a_trial_repeats_itself(run_trial):
    first, other, again = (run_trial("Convolutions", VALUES, seed=seed)["score"] for seed in (1, 2, 1))
    assert first == again != other


def test_a_report_can_stop_it(run_trial):
    result = run_trial("Convolutions", VALUES, report=lambda step, value, extra: step == 1)
    assert result["stopped"]
    assert len(result["curve"]) == 1


def test_what_fit_asks_for_is_asked_for_before_it_trains(run_trial, reports):
    result = run_trial("Fitted", VALUES)
    assert [need["name"] for need in result["needs"]] == ["batch_size", "epochs"]
    assert reports == []
    result = run_trial("Fitted", {**VALUES, "batch_size": 8, "epochs": 3})
    assert [step for step, _ in reports] == [1, 2, 3]
    assert result["ledger"]["counts"]["images_trained"] == 3 * 48
    assert result["options"] == {**VALUES, "batch_size": 8, "epochs": 3}


@pytest.mark.parametrize(
    ("name", "options"), [("Logits", {"filters": 8}), ("Uncompiled", {})], ids=["logits", "uncompiled"]
)
def test_other_losses_outputs_and_scales_are_understood(run_trial, name, options):
    result = run_trial(name, options, config={"epochs": 6})
    assert result["scores"]["log_loss"] < 1.2  # chance is 1.1 and calibrated
    assert len(result["curve"]) == 6


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("WithLambda", TrialError, "no Lambda layers"),
        ("Diverging", TrialError, "must stay finite"),
        ("Demanding", UsageError, "wants vocabulary"),
        ("Broken", ArithmeticError, "seven is too many"),
        ("Stack", UsageError, "wants inputs"),
    ],
)
def test_what_cannot_be_trained_is_an_error_with_its_reason(run_trial, name, error, says):
    with pytest.raises(error, match=says):
        run_trial(name, VALUES)


def test_a_hypermodel_is_no_backbone(run_trial):
    with pytest.raises(UsageError, match="only be trained from scratch"):
        run_trial("Convolutions", VALUES, config={"recipe": "probe"})


@pytest.mark.parametrize(
    ("name", "options"), [("Convolutions", VALUES), ("Logits", {"filters": 8})], ids=["probabilities", "logits"]
)
def test_the_final_model_takes_uint8_images_and_loads_in_safe_mode(problem, run_trial, reports, name, options):
    import keras

    from autotl.data.images import open_images

    result = run_trial(name, options, kind="final", report=lambda step, value, extra: reports.append((step, value)))
    assert [step for step, _ in reports] == [1, 2]
    model = keras.saving.load_model(result["model"], safe_mode=True)
    assert not model.compiled
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 3))
    reference = np.load(result["reference"]["probabilities"], allow_pickle=False)
    images = open_images(problem.manifest, 32, problem.cache)[result["reference"]["rows"]]
    assert images.dtype == np.uint8
    np.testing.assert_allclose(model.predict(images, verbose=0), reference, atol=1e-5)
    np.testing.assert_allclose(reference.sum(axis=1), 1.0, atol=1e-5)
    assert Path(result["model"]).stat().st_size < 200_000  # no optimizer in it


def test_the_temperature_is_in_the_final_model(problem, run_trial):
    import keras

    from autotl.data.images import open_images

    outputs = []
    for temperature in (1.0, 2.0):
        result = run_trial("Logits", {"filters": 8}, kind="final", temperature=temperature)
        model = keras.saving.load_model(result["model"], safe_mode=True)
        outputs.append(np.log(model.predict(open_images(problem.manifest, 32, problem.cache)[:4], verbose=0)))
    sharp, soft = (values - values.mean(axis=1, keepdims=True) for values in outputs)
    np.testing.assert_allclose(sharp, 2.0 * soft, rtol=1e-3, atol=1e-5)


def test_a_final_fit_does_not_ask_for_values(run_trial):
    with pytest.raises(TrialError, match=r"asks for .*head.* too"):
        run_trial("Convolutions", {"blocks": 1}, kind="final")


def test_a_hypermodel_can_be_cross_validated(problem, run_trial, reports):
    result = run_trial("Logits", {"filters": 8}, evaluation="cross_validation", config={"epochs": 1})
    assert [step for step, _ in reports] == [1, 2, 3, 4, 5]
    assert result["scores"]["n"] == len(problem.task().labels)
    assert result["multiply_adds"] == 15 * 15 * 27 * 8 + 8 * 3


def test_a_backbone_can_be_trained_from_scratch_as_a_baseline(problem, tmp_path, go_on):
    config = {"backbone": "vgg16", "recipe": "scratch", "epochs": 1, "batch_size": 16, "augmentation": "flip"}
    payload = problem.payload(tmp_path / "trial", config, evaluation="holdout")
    result = json.loads(json.dumps(run_job(payload, go_on), allow_nan=False))
    assert result["trained_parameters"] == 14_714_688 + 512 * 3 + 3  # all of it
    assert result["multiply_adds"] > 10**8
    assert result["options"] == {}


def test_a_backbone_from_scratch_is_scored_with_the_statistics_of_its_images_after_a_few_dozen_steps():
    from autotl.learn.whole_models import build_whole

    config = read_config({"backbone": "efficientnet-lite0", "image_size": 32, "recipe": "scratch"})
    whole = build_whole(config, classes=3, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    for _ in range(40):
        seen = np.asarray(whole.model(images.astype(np.float32), training=True))
    scored = np.asarray(whole.scorer(images))
    np.testing.assert_allclose(scored, seen, atol=0.25 * seen.std())


def test_a_backbone_from_scratch_has_the_batch_statistics_of_what_it_was_fitted_to(problem, tmp_path):
    import keras

    from autotl.data.images import open_images
    from autotl.learn.scratch import fit_scratch

    image = keras.Input((32, 32, 3))
    seen = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, use_bias=False)(image))
    keras.Model(image, keras.layers.ReLU()(seen)).save(tmp_path / "tiny.keras")
    chosen = {"backbone": f"{tmp_path / 'tiny.keras'}?normalisation=unit", "weights": "random", "image_size": 32}
    config = read_config({**chosen, "recipe": "scratch", "epochs": 1, "batch_size": 16})
    task = problem.task()
    fitted = fit_scratch(task, config, task.train, task.validation, 0, lambda epoch, logits: False, scores_epochs=False)
    images = open_images(problem.manifest, 32, problem.cache)[np.asarray(task.sources.rows)[task.train]]
    as_in_training = fitted.whole.model(images.astype(np.float32), training=True)
    np.testing.assert_allclose(
        np.asarray(fitted.whole.scorer(images)), np.asarray(as_in_training), rtol=1e-3, atol=1e-3
    )


def test_images_are_read_batch_by_batch_in_a_new_order_each_epoch():
    from autotl.learn.batches import ImageBatches

    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1).repeat(3, axis=3)
    index = np.arange(5, 27)
    batches = ImageBatches(images, index, index.astype(np.float32), lambda: 4, 1 / 255, seed=0)
    assert len(batches) == 5  # two of 22 images fill no batch
    epochs = []
    for _ in range(2):
        seen = []
        for number in range(len(batches)):
            pixels, targets = batches[number]
            assert (pixels.shape, pixels.dtype) == ((4, 1, 1, 3), np.float32)
            np.testing.assert_allclose(pixels[:, 0, 0, 0] * 255, targets, rtol=1e-6)
            seen += targets.tolist()
        assert len(set(seen)) == 20
        epochs.append(seen)
        batches.on_epoch_end()
    assert epochs[0] != epochs[1]
    plain = ImageBatches(images, index, index, lambda: 4, 1.0)
    assert [target for number in range(len(plain)) for target in plain[number][1]] == index.tolist()


def test_a_backbone_from_scratch_is_traced_once_and_each_trial_is_as_if_it_were_the_first(run_trial):
    from autotl.learn.whole_models import build_whole

    first = {"backbone": "vgg16", "epochs": 1, "batch_size": 16, "head_rate": 1e-3}
    alone = run_trial("", config=first)["score"]
    run_trial("", config=first | {"head_rate": 1e-2, "weight_decay": 0.1}, seed=3)
    traced = build_whole(read_config(first | {"image_size": 32, "recipe": "scratch"}), classes=3, seed=0).model
    before = traced.train_function
    assert run_trial("", config=first)["score"] == alone
    assert before is not None and traced.train_function is before
