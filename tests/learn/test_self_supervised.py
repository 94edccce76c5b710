"""A network trained on images without labels: what its losses ask for, and that labels play no part in it."""

from dataclasses import replace

import numpy as np
import pytest

from autotl.errors import TrialError
from autotl.learn.jobs import run_job

pytestmark = pytest.mark.keras
CONFIG = {
    "image_size": 32,
    "recipe": "finetune",
    "freeze_depth": 0.0,
    "batch_size": 16,
    "epochs": 2,
    "ema": "on",
    "head": "vicreg",
    "head_rate": 1e-3,
    "tail_rate": 1e-3,
}


def go_on(step, value, extra):
    return False


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network with batch normalisation, by reference."""
    import keras

    layers, image = keras.layers, keras.Input((32, 32, 3))
    seen = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(image)))
    seen = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, strides=2, use_bias=False)(seen)))
    path = tmp_path_factory.mktemp("network") / "tiny.keras"
    keras.Model(image, seen).save(path)
    return f"{path}?normalisation=unit"


@pytest.fixture(scope="module")
def run(problem, network):
    """Runs a job in a folder."""

    def start(folder, report=go_on, config=(), **fields):
        settings = {**CONFIG, "backbone": network, **dict(config)}
        return run_job({**problem.payload(folder, settings, "self_supervised"), **fields}, report)

    return start


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    return run(tmp_path_factory.mktemp("trained"))


def test_it_is_measured_on_what_it_has_not_seen(trained):
    assert trained["scores"]["n"] == 9 and trained["epochs"] == 2
    assert 0.0 <= trained["scores"]["match"] <= 1.0 and 0.0 < trained["scores"]["spread"] <= 1.0
    assert [point["epoch"] for point in trained["curve"]] == [1, 2]
    assert all(np.isfinite(point["loss"]) for point in trained["curve"])


def test_labels_play_no_part(trained, run, problem, tmp_path):
    samples = [replace(one, label=number % 3) for number, one in enumerate(problem.manifest.samples)]
    path = tmp_path / "manifest.csv"
    replace(problem.manifest, samples=tuple(samples)).write(path)
    again = run(tmp_path, manifest=str(path))
    assert again["curve"] == trained["curve"] and again["scores"] == trained["scores"]


def test_cut_off_it_goes_on_to_the_same_weights(trained, run, tmp_path):
    first, second = tmp_path / "attempt-1", tmp_path / "attempt-2"
    assert run(first, lambda step, value, extra: step == 1, checkpoint_seconds=0)["stopped"]
    again = run(second, checkpoint_seconds=0, earlier=[str(first)])
    assert again["curve"] == trained["curve"] and again["scores"] == trained["scores"]


@pytest.mark.parametrize("method", ["simsiam", "vicreg"])
def test_in_mixed_precision_it_is_kept_in_float32(run, tmp_path, method):
    import keras

    exact = run(tmp_path / "exact", config={"head": method})
    mixed = run(tmp_path / "mixed", config={"head": method}, precision="mixed_bfloat16")
    assert (exact["precision"], mixed["precision"]) == ("float32", "mixed_bfloat16")
    losses = [[point["loss"] for point in one["curve"]] for one in (mixed, exact)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(*losses, rtol=0.1)
    network = keras.saving.load_model(mixed["model"], compile=False)
    assert {layer.dtype_policy.name for layer in network._flatten_layers()} == {"float32"}


def test_an_unknown_loss_is_said(run, tmp_path):
    with pytest.raises(TrialError, match="one of simsiam, vicreg, not 'linear'"):
        run(tmp_path, config={"head": "linear"})


def test_views_that_foretell_each_other_have_the_least_loss():
    from autotl.learn.self_supervised import simsiam_loss

    first, second = np.random.default_rng(0).normal(size=(2, 8, 4)).astype(np.float32)
    right = np.concatenate([first, second, second, first], axis=1)
    np.testing.assert_allclose(simsiam_loss(None, right), -1.0, rtol=1e-5)
    wrong = np.concatenate([first, second, -second, -first], axis=1)
    np.testing.assert_allclose(simsiam_loss(None, wrong), 1.0, rtol=1e-5)


def test_vicreg_asks_for_agreement_for_variance_and_against_repetition():
    from autotl.learn.self_supervised import DIFFER, VARY, vicreg_loss

    draw = np.random.default_rng(0).normal(size=(4096, 4)).astype(np.float32) * 1.2

    def loss(*views):
        return float(np.asarray(vicreg_loss(None, np.concatenate(views, axis=1)))[0])

    assert loss(draw, draw) < 0.05  # agrees, varies, repeats nothing
    collapsed = np.ones_like(draw)
    np.testing.assert_allclose(loss(collapsed, collapsed), VARY * 0.99, rtol=1e-3)
    repeated = np.tile(draw[:, :1], (1, 4))
    variance = float(draw[:, 0].var(ddof=1))
    np.testing.assert_allclose(loss(repeated, repeated), 2 * DIFFER * 12 * variance**2 / 4, rtol=1e-3)
    assert loss(draw, draw[::-1]) > 10.0


@pytest.mark.parametrize("seed", [0, 1])
def test_views_are_parts_of_the_picture_in_other_colours(seed):
    import keras

    from autotl.learn.self_supervised_views import two_views

    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, two_views(inputs, seed))
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    first, second = (np.asarray(view) for view in model(images, training=True))
    assert first.shape == images.shape and first.min() >= 0.0 and first.max() <= 255.0
    assert np.abs(first - second).mean() > 1.0 and np.abs(first - images).mean() > 1.0
    for view in model(images, training=False):
        np.testing.assert_array_equal(view, images)
