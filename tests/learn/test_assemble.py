"""The delivered model: uint8 in, calibrated probabilities out, the same after a round trip through a file."""

import numpy as np
import pytest

from autotl.learn.assemble import assemble
from autotl.learn.config import TrialConfig
from autotl.learn.ledger import Ledger
from autotl.learn.metrics import softmax
from autotl.learn.networks import borrow_network
from autotl.learn.probe import fit_head, fit_probe

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


def build(task, pooling="avg", temperature=1.0, **config):
    settings = TrialConfig("vgg16", 32, weights="random", pooling=pooling, penalty=1e-2, **config)
    head = fit_head(task, settings, task.train, seed=0)
    network = borrow_network("vgg16", 32, "random", Ledger())
    return settings, assemble(network.model, head, pooling, temperature, "autotl")


@pytest.mark.parametrize("pooling", ["avg", "max", "both"])
def test_the_model_takes_bytes_and_gives_distributions(task, images, pooling):
    _, model = build(task, pooling)
    assert (model.input.dtype, model.input_shape) == ("uint8", (None, 32, 32, 3))
    probabilities = np.asarray(model.predict_on_batch(images))
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (8, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    assert (probabilities >= 0).all()


def test_the_model_computes_what_the_probe_computed_on_features(problem, task):
    from autotl.data.images import open_images

    settings, model = build(task, temperature=2.0)
    logits = fit_probe(task, settings, task.train, task.validation, seed=0)
    rows = np.asarray(task.sources.rows)[task.validation]
    seen = open_images(problem.manifest, 32, problem.cache)[rows]
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(seen)), softmax(logits / 2.0), atol=5e-3)


def test_a_temperature_flattens_or_sharpens_and_keeps_the_order(task, images):
    flat, plain, sharp = (np.asarray(build(task, temperature=t)[1].predict_on_batch(images)) for t in (4.0, 1.0, 0.5))
    np.testing.assert_array_equal(flat.argmax(axis=1), plain.argmax(axis=1))
    assert (flat.max(axis=1) <= plain.max(axis=1)).all()
    assert (sharp.max(axis=1) >= plain.max(axis=1)).all()
    assert flat.max() < plain.max()


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_saved_model_loads_in_safe_mode_and_computes_the_same(task, images, tmp_path, head):
    import keras

    _, model = build(task, "both", 1.5, head=head, width=16, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True, compile=False)
    np.testing.assert_array_equal(loaded.predict_on_batch(images), model.predict_on_batch(images))
