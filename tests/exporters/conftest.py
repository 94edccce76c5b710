"""One tiny network, built like a delivered one, written once in every format and precision."""

from types import SimpleNamespace

import numpy as np
import pytest

from autotl.deliver.export_folder import metadata_of
from autotl.exporters.contract import INT8, Export
from autotl.exporters.registry import list_exporters, load_exporter
from autotl.exporters.script import write_script

SIZE = 32
NAMES = ("=blue", "two words", "ärger")
DESCRIPTION = {
    "class_names": list(NAMES), "image_size": SIZE,
    "licences": [{"of": "<a> & \"b\" ]]>", "licence": "\ud800\x00\x1b\x85"}],
    "backbone": {"name": "tiny", "weights": {"source": "https://example.org"}},
    "data": {"name": "/home/me/photos", "fingerprint": "ab"},
    "test": {"n": 4, "accuracy": 0.5, "confusion": [[1, 0], [1, 2]], "per_class": [{"name": "ä", "recall": 0.5}]},
}  # fmt: skip
METADATA = metadata_of(DESCRIPTION)


def build_network(policy="float32", seed=0):
    """uint8 `[B, 32, 32, 3]` to three probabilities; nested as delivered networks are."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    pixels = keras.Input((SIZE, SIZE, 3))
    features = layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    for filters in (8, 16):
        features = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, dtype=policy)(features)
        features = layers.BatchNormalization(dtype=policy)(features)
        features = layers.ReLU(max_value=6, dtype=policy)(features)
    backbone = keras.Model(pixels, features, name="backbone")
    image = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="image")
    pooled = layers.GlobalAveragePooling2D(dtype=policy)(backbone(layers.Rescaling(1.0)(image)))
    logits = layers.Rescaling(2.0)(layers.Dense(len(NAMES), dtype="float32")(pooled))
    return keras.Model(image, layers.Softmax(name="probabilities")(logits))


@pytest.fixture(scope="session")
def pictures():
    """Blocks of colour, uint8 `[40, S, S, 3]`: random pixels alone would all look alike to a network."""
    blocks = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
    return blocks.repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2)


@pytest.fixture(scope="session")
def written(tmp_path_factory, pictures):
    """What each exporter made of the network: the model, its answers, and a folder by format and precision."""
    network = build_network()
    root, folders = tmp_path_factory.mktemp("written"), {}
    for listing in list_exporters():
        exporter = load_exporter(listing.name)
        for precision in exporter.precisions:
            folder = folders[exporter.name, precision] = root / f"{exporter.name}-{precision}"
            folder.mkdir()
            calibration = pictures if precision == INT8 else None
            exporter.write(Export(network, folder / exporter.file, precision, calibration, METADATA))
            (folder / "labels.txt").write_text(METADATA["labels.txt"], encoding="utf-8")
            write_script(exporter, folder, SIZE)
    expected = network.predict(pictures, verbose=0)
    return SimpleNamespace(network=network, expected=expected, folders=folders, names=NAMES, metadata=METADATA)


@pytest.fixture(scope="session")
def build():
    """Makes the network, in a dtype policy."""
    return build_network
