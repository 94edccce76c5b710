"""The delivered model: uint8 in, calibrated probabilities out, the same after a round trip through a file."""

import json
import re
import zipfile

import numpy as np
import pytest

from autotl.backbones.cuts import stage_cuts
from autotl.learn.assemble import assemble
from autotl.learn.config import TrialConfig
from autotl.learn.heads import build_head, set_standardiser
from autotl.learn.ledger import Ledger
from autotl.learn.linear import fit_standardiser
from autotl.learn.metrics import softmax
from autotl.learn.networks import Network, borrow_network, stored_taps
from autotl.learn.pooling import select_pooled
from autotl.learn.probe import fit_head, fit_probe

KINDS = [
    (head, pooling, taps)
    for head in ("linear", "mlp", "cosine")
    for pooling in ("avg", "max", "both", "gem", "attention")
    for taps in ("last", "last2", "all")
    if pooling != "attention" or taps == "last"
]

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


@pytest.fixture(scope="module")
def tiny():
    """A network of three stages, with random weights."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = x = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    for number, channels in enumerate((4, 6, 8)):
        x = layers.Conv2D(channels, 3, strides=2, padding="same", name=f"conv{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
    model = keras.Model(image, x, name="tiny")
    return Network("tiny", model, stage_cuts(model), [])


@pytest.mark.parametrize(("head", "pooling", "taps"), KINDS)
def test_every_head_pooling_and_taps_can_be_delivered(tiny, images, tmp_path, head, pooling, taps):
    """The file gives what the head gives on features from the stores, and needs nothing but Keras."""
    import keras

    floats = images.astype(np.float32)
    stored, channels = stored_taps(tiny)
    assert channels == [4, 6, 8]
    if pooling == "attention":
        features = np.asarray(tiny.model.predict_on_batch(floats))
    else:
        features = select_pooled(np.asarray(stored.predict_on_batch(floats)), channels, pooling, taps)
    config = TrialConfig("tiny", 32, head=head, pooling=pooling, taps=taps, width=8)
    keras.utils.set_random_seed(1)
    fitted = build_head(config, features.shape[1:], 3)
    generator = np.random.default_rng(0)
    for variable in fitted.trainable_variables:
        variable.assign(variable + generator.normal(size=variable.shape))
    set_standardiser(fitted, fit_standardiser(features.reshape(-1, features.shape[-1])))
    logits = np.asarray(fitted.predict_on_batch(features))
    temperature = float(logits.std())  # so that no class is certain, whatever the head's scale
    expected = softmax(logits / temperature)
    assemble(tiny.model, fitted, pooling, temperature, "autotl", taps).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True, compile=False)
    np.testing.assert_allclose(np.asarray(loaded.predict_on_batch(images)), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.02
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        written = json.dumps(json.loads(file.read("config.json")))
    assert {module.split(".")[0] for module in re.findall(r'"module": "([^"]+)"', written)} == {"keras"}


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_saved_model_loads_in_safe_mode_and_computes_the_same(task, images, tmp_path, head):
    import keras

    _, model = build(task, "both", 1.5, head=head, width=16, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True, compile=False)
    np.testing.assert_array_equal(loaded.predict_on_batch(images), model.predict_on_batch(images))
