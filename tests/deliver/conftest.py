import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from autotl.data.manifest import Manifest, Sample
from autotl.data.store import Cache
from autotl.deliver import artefact

NAMES = ("blue", "green", "red")
SIZE = 16
WEIGHTS = {"source": "made in a test", "sha256": "ab" * 32, "licence": "Apache-2.0", "dataset": "none"}


def build_model(classes=3, image_size=SIZE, scale=3.0):
    """uint8 `[B, S, S, 3]` to probabilities by the mean colour: classes are blue, green, red."""
    import keras

    image = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 127.5, offset=-1)(image))
    output = keras.layers.Dense(classes, activation="softmax", name="probabilities")(features)
    model = keras.Model(image, output)
    kernel = np.fliplr(np.eye(3))[:, :classes] * scale if classes <= 3 else np.zeros((3, classes))
    model.layers[-1].set_weights([kernel, np.zeros(classes)])
    return model


def draw_image(generator, label, noise=90):
    """A noisy picture whose channel 2 - label is the brightest on average."""
    pixels = generator.integers(0, 256 - noise, (24, 20, 3))
    pixels[..., 2 - label] += noise
    return Image.fromarray(pixels.astype(np.uint8))


def _describe(names=NAMES, manifest=None, **more):
    return {
        "class_names": list(names), "image_size": SIZE, "backbone": {"name": "mean-colour", "weights": dict(WEIGHTS)},
        "configuration": {"recipe": "probe", "backbone": "mean-colour", "freeze_depth": 1.0}, "temperature": 1.1,
        "data": {
            "name": "colours", "seed": 0, "fingerprint": "no data" if manifest is None else manifest.fingerprint,
            "split_fingerprint": "no split" if manifest is None else manifest.split_fingerprint,
        },
        "validation": {"n": 9, "accuracy": 0.9}, "test": {"n": 9, "accuracy": 0.8, "accuracy_ci95": [0.6, 1.0]}, **more,
    }  # fmt: skip


@pytest.fixture
def describe():
    """Makes the description of a model."""
    return _describe


@pytest.fixture
def build():
    """Makes the model."""
    return build_model


@pytest.fixture
def colours(tmp_path):
    """A folder of 3 x 40 small pictures, one folder a class."""
    root, generator = tmp_path / "colours", np.random.default_rng(0)
    for label, name in enumerate(NAMES):
        (root / name).mkdir(parents=True)
        for index in range(40):
            draw_image(generator, label, noise=6).save(root / name / f"{index:02d}.png")
    return root


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", 10**9)


@pytest.fixture
def manifest(colours):
    """The same folder as a manifest, every fourth picture for the test."""
    samples = []
    for label, name in enumerate(NAMES):
        for index, path in enumerate(sorted((colours / name).iterdir())):
            split = ("test", "train", "train", "val")[index % 4]
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            samples.append(Sample(f"{name}/{path.name}", label, split, len(samples), digest))
    return Manifest(str(colours), NAMES, tuple(samples))


@pytest.fixture
def model_folder(tmp_path):
    """A model folder around bytes that are no model: enough for everything that does not load it."""
    file = tmp_path / "some.keras"
    file.write_bytes(b"not really a model")
    artefact.write_artefact(file, tmp_path / "run" / "model", _describe())
    return tmp_path / "run" / "model"


@pytest.fixture
def real_model_folder(tmp_path):
    """A model folder that works."""
    build_model().save(tmp_path / "real.keras")
    artefact.write_artefact(tmp_path / "real.keras", tmp_path / "real" / "model", _describe())
    return tmp_path / "real" / "model"


@pytest.fixture
def finish_payload(tmp_path, manifest, cache):
    """What a driver gives to the last job, with the reference probabilities of the model as it was trained."""
    from autotl.data.images import open_images
    from autotl.deliver.evaluate import score_rows
    from autotl.deliver.predictor import keras_predictor

    model, rows = build_model(), manifest.rows("val")
    path = tmp_path / "trained" / "model.keras"
    path.parent.mkdir()
    model.save(path)
    np.save(tmp_path / "reference.npy", score_rows(keras_predictor(model), open_images(manifest, SIZE, cache), rows))
    manifest.write(tmp_path / "manifest.csv")
    description = {key: value for key, value in _describe(manifest=manifest).items() if key != "test"}
    payload = {
        "model": str(path), "folder": str(tmp_path / "finished" / "model"), "manifest": str(tmp_path / "manifest.csv"),
        "cache": {"root": str(cache.root), "max_bytes": cache.max_bytes}, "description": description,
        "reference": {"rows": rows.tolist(), "probabilities": str(tmp_path / "reference.npy")},
        "predictions": str(tmp_path / "test.npz"),
    }  # fmt: skip
    return json.loads(json.dumps(payload))


@pytest.fixture
def reports():
    """A reporter that remembers what it was told and never asks to stop."""
    told = []
    return SimpleNamespace(told=told, report=lambda step, value, extra: bool(told.append(extra["phase"])))
