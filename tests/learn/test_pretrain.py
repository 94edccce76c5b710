"""A network trained on a source data set: what becomes of its weights, its statistics and its checkpoint."""

import numpy as np
import pytest

from autotl.errors import TrialError
from autotl.learn.jobs import run_job

pytestmark = pytest.mark.keras
CONFIG = {
    "image_size": 32,
    "recipe": "finetune",
    "freeze_depth": 0.0,
    "augmentation": "flip",
    "batch_size": 16,
    "epochs": 3,
    "ema": "on",
    "head_rate": 1e-3,
    "tail_rate": 1e-3,
}


def go_on(step, value, extra):
    return False


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Of a small network with batch normalisation."""
    import keras

    path, layers = tmp_path_factory.mktemp("network") / "tiny.keras", keras.layers
    image = keras.Input((32, 32, 3))
    seen = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(image)))
    seen = layers.Dropout(0.1)(layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, strides=2)(seen))))
    keras.Model(image, layers.Conv2D(16, 1)(seen)).save(path)
    return {**CONFIG, "backbone": f"{path}?normalisation=unit"}


@pytest.fixture(scope="module")
def trained(problem, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return run_job(problem.payload(folder, config, "pretrain"), go_on)


def test_it_is_scored_on_what_it_has_not_seen_with_an_interval_and_a_curve(trained):
    low, high = trained["scores"]["accuracy_ci95"]
    assert trained["scores"]["n"] == 9 and low <= trained["scores"]["accuracy"] <= high
    assert [point["epoch"] for point in trained["curve"]] == [1, 2, 3] and trained["epochs"] == 3
    assert all(np.isfinite([point[name] for name in ("loss", "log_loss")]).all() for point in trained["curve"])


def test_its_batch_statistics_are_those_of_the_images_under_its_last_weights(trained, problem):
    import keras

    network = keras.saving.load_model(trained["model"], compile=False)
    task = problem.task()
    from autotl.data.images import open_images

    images = open_images(problem.manifest, 32, problem.cache)[np.asarray(task.sources.rows)[task.train]]
    first = next(layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    seen = keras.Model(network.inputs[0], first.input)(images.astype("float32"), training=False)
    np.testing.assert_allclose(first.moving_mean, np.asarray(seen).mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-4)
    assert len(network.output_shape) == 4  # without its head


def test_cut_off_it_goes_on_to_the_same_weights(trained, problem, config, tmp_path):
    first, second = tmp_path / "attempt-1", tmp_path / "attempt-2"

    def stop_after_two(step, value, extra):
        return step == 2

    payload = problem.payload(first, config, "pretrain", checkpoint_seconds=0)
    assert run_job(payload, stop_after_two)["stopped"]
    assert (first / "checkpoint.npz").exists()
    again = run_job({**payload, "folder": str(second), "earlier": [str(first)]}, go_on)
    assert again["curve"] == trained["curve"] and again["scores"] == trained["scores"]
    assert not (first / "checkpoint.npz").exists()


def test_a_rate_without_measure_is_said(problem, config, tmp_path):
    wild = {**config, "tail_rate": 1e30, "head_rate": 1e30}
    with pytest.raises(TrialError, match="finite"):
        run_job(problem.payload(tmp_path, wild, "pretrain"), go_on)


def test_on_a_cpu_it_trains_in_float32(trained):
    assert trained["precision"] == "float32"


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_in_mixed_precision_it_comes_to_about_the_same_and_is_kept_in_float32(
    trained, problem, config, tmp_path, precision
):
    import keras

    mixed = run_job(problem.payload(tmp_path, config, "pretrain", precision=precision), go_on)
    assert mixed["precision"] == precision
    assert mixed["curve"] != trained["curve"]  # it was not float32 after all
    for name, tolerance in (("loss", 0.05), ("log_loss", 0.05)):
        values, exact = ([point[name] for point in run["curve"]] for run in (mixed, trained))
        np.testing.assert_allclose(values, exact, rtol=tolerance)
    network = keras.saving.load_model(mixed["model"], compile=False)
    assert {layer.dtype_policy.name for layer in network._flatten_layers()} == {"float32"}
    assert {variable.dtype for variable in network.trainable_variables} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_cut_off_in_float16_it_goes_on_to_the_same_weights(problem, config, tmp_path):
    payload = problem.payload(tmp_path / "1", config, "pretrain", checkpoint_seconds=0, precision="mixed_float16")
    assert run_job(payload, lambda step, value, extra: step == 2)["stopped"]
    again = run_job({**payload, "folder": str(tmp_path / "2"), "earlier": [str(tmp_path / "1")]}, go_on)
    whole = run_job({**payload, "folder": str(tmp_path / "3")}, go_on)
    assert again["curve"] == whole["curve"] and again["scores"] == whole["scores"]
