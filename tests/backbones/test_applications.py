"""One small network of each family of keras.applications against what Keras itself would build, load and compute.

Keras's own way to pretrained weights (`weights="imagenet"`) is followed without a network: the function of Keras that
downloads is replaced by one that notes what it was asked for and gives a local file. That file holds random numbers in
the format of the published ones; nothing here has seen ImageNet.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from autotl.backbones.applications import ALL, record
from autotl.backbones.applications_table import FAMILIES
from autotl.backbones.contract import load_weights
from autotl.backbones.cuts import find_cuts
from autotl.errors import PluginError, UsageError
from autotl.testing import check_backbone

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:.*Weights for input shape:UserWarning"),  # Keras's own networks only
]

ROWS = {network.name: (family, network) for family in FAMILIES for network in family.networks}
# The smallest of each family and the mode of its preprocess_input; networks that normalise inside publish the identity
# there, so for them it is what they were trained with.
SMALL = {
    "vgg16": "caffe",
    "resnet50": "caffe",
    "resnet50-v2": "tf",
    "inception-v3": "tf",
    "xception": "tf",
    "mobilenet": "tf",
    "mobilenet-v2": "tf",
    "mobilenet-v3-small": "tf",
    "densenet121": "torch",
    "nasnet-mobile": "tf",
    "efficientnet-b0": "torch",
    "efficientnet-v2-b0": "torch",
    "convnext-tiny": "torch",
}
IMAGE_SIZE = 80


class Pair(NamedTuple):
    """A network with the same random weights, obtained from the same file in two ways."""

    name: str
    random: Any
    """Ours with other random weights."""
    pretrained: Any
    """Ours, loaded as "pretrained" from the cache."""
    official: Any
    """Keras's, loaded as "imagenet"."""
    asked: dict[str, Any]
    """What Keras wanted to download."""
    normalised: np.ndarray
    """What reaches the first convolution of `random` from the photographs."""


@pytest.fixture(scope="module", params=SMALL)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    import keras
    from keras.src.utils import file_utils

    home = tmp_path_factory.mktemp("keras")
    family, network = ROWS[request.param]
    path = home / "models" / network.file_name
    path.parent.mkdir()
    random = ALL[request.param].build(IMAGE_SIZE, "random")
    start = next(
        layer
        for layer in random.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.ZeroPadding2D, keras.Sequential))
    )
    normalised = np.asarray(keras.Model(random.input, start.input)(photographs()))
    write_weights_like_keras_2(random, path)
    asked: dict[str, Any] = {}

    def get_file(fname: str, origin: str, **options: Any) -> str:
        asked.update(fname=fname, origin=origin, **options)
        return str(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(home))
        patch.setenv("https_proxy", "http://127.0.0.1:9")  # where nothing listens
        patch.setattr(file_utils, "get_file", get_file)
        constructor = getattr(keras.applications, network.constructor)
        image = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 3))
        official = constructor(include_top=False, weights="imagenet", input_tensor=image)
        ours = record(family, network._replace(digest=None))  # the digest is of the published file
        yield Pair(request.param, random, ours.build(IMAGE_SIZE, "pretrained"), official, asked, normalised)
    keras.backend.clear_session()


def write_weights_like_keras_2(model: Any, path: Path) -> None:
    """Random weights in the format of the files that keras.applications downloads, all different, none negative."""
    import h5py
    import keras
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    kept = model.get_weights()
    generator = np.random.default_rng(0)
    for variable in model.weights:
        values = keras.ops.convert_to_numpy(variable)
        variable.assign(values * generator.uniform(0.9, 1.1, values.shape) + generator.uniform(0, 0.02, values.shape))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:  # EfficientNet: deviations, not variances
            layer.set_weights([np.array([0.5, 0.4, 0.3]), np.array([0.3, 0.2, 0.1]), np.array(0)])
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
    model.set_weights(kept)


def photographs() -> np.ndarray:
    """The two sample images of scikit-learn, cut out: `[2, S, S, 3]` in 0..255."""
    from sklearn.datasets import load_sample_images

    side = 4 * IMAGE_SIZE
    images = [image[50 : 50 + side : 4, 200 : 200 + side : 4] for image in load_sample_images().images]
    return np.stack(images).astype("float32")


def published_normalisation(name: str, images: np.ndarray) -> np.ndarray:
    from keras.src.applications.imagenet_utils import preprocess_input

    return np.asarray(preprocess_input(images.copy(), mode=SMALL[name]))  # it changes what it is given


def assert_close(one: Any, other: Any, tolerance: float) -> None:
    one, other = np.asarray(one), np.asarray(other)
    scale = float(np.abs(other).max())
    assert np.ptp(other) > 1e-3 * scale > 0  # two constants would be equal for any weights
    np.testing.assert_allclose(one, other, atol=tolerance * scale, rtol=0)


def test_pretrained_weights_give_what_keras_gives_for_preprocessed_images(pair: Pair) -> None:
    import keras

    images = photographs()
    module = module_of(keras, ROWS[pair.name][1].constructor)
    expected = keras.Model(pair.official.inputs[0], pair.official.outputs[0])(module.preprocess_input(images.copy()))
    assert_close(pair.pretrained(images, training=False), expected, 1e-4)


def module_of(keras: Any, constructor: str) -> Any:
    """The public module of a network, such as `keras.applications.vgg16`, where its preprocess_input is."""
    home = getattr(keras.applications, constructor).__module__.rsplit(".", 1)[1]
    return getattr(keras.applications, home)


def test_the_normalisation_inside_is_the_published_one(pair: Pair) -> None:
    assert_close(pair.normalised, published_normalisation(pair.name, photographs()), 1e-5)


def test_random_and_pretrained_weights_have_one_graph(pair: Pair, tmp_path: Path) -> None:
    assert find_cuts(pair.random) == find_cuts(pair.pretrained)
    images = photographs()
    expected = np.asarray(pair.pretrained(images, training=False))
    assert np.abs(np.asarray(pair.random(images, training=False)) - expected).max() > 1e-3 * np.abs(expected).max()
    path = str(tmp_path / "mine.weights.h5")
    pair.pretrained.save_weights(path)
    load_weights(pair.random, path, lambda: None)
    np.testing.assert_array_equal(np.asarray(pair.random(images, training=False)), expected)


def test_file_and_digest_are_those_that_keras_asks_for(pair: Pair) -> None:
    _, network = ROWS[pair.name]
    assert pair.asked["fname"] == network.file_name
    assert pair.asked["origin"] == ALL[pair.name].weights.source
    assert pair.asked.get("file_hash") == network.digest
    assert pair.asked["cache_subdir"] == "models"


# One of each kind of graph; test_zoo.py splits all networks, and `autotl plugins check autotl` checks them one by one.
@pytest.mark.parametrize("name", ["vgg16", "resnet50-v2", "mobilenet-v3-small", "efficientnet-b0"])
def test_it_keeps_the_contract(name: str) -> None:
    assert len(check_backbone(ALL[name]).stages) >= 2


def test_the_callers_images_stay_as_they_are() -> None:
    images = photographs()
    ALL["vgg16"].build(IMAGE_SIZE, "random")(images)
    np.testing.assert_array_equal(images, photographs())


def test_mobilenet_has_one_set_of_weights_at_every_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    small = ALL["mobilenet"].build(32, "random")
    path = tmp_path / "models" / "mobilenet_1_0_224_tf_no_top.h5"
    path.parent.mkdir()
    write_weights_like_keras_2(small, path)
    assert ALL["mobilenet"].available()
    # For 128 pixels Keras by itself would want mobilenet_1_0_128_tf_no_top.h5, which is not there.
    one, other = (ALL["mobilenet"].build(size, "pretrained").get_weights() for size in (32, 128))
    for values, again in zip(one, other, strict=True):
        np.testing.assert_array_equal(values, again)


def test_nasnet_takes_other_sizes_than_its_own() -> None:
    backbone = ALL["nasnet-mobile"]
    assert backbone.resizable
    assert backbone.build(97, "random").output.shape == (None, 3, 3, 1056)


def test_a_file_of_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = tmp_path / "models" / "mobilenet_1_0_224_tf_no_top.h5"  # no digest is published that could tell
    path.parent.mkdir()
    write_weights_like_keras_2(ALL["mobilenet-v2"].build(32, "random"), path)
    with pytest.raises(PluginError, match=r"weights of mobilenet must fit.*autotl backbones fetch mobilenet"):
        ALL["mobilenet"].build(32, "pretrained")
    path.write_text("<html>Please log in</html>")
    with pytest.raises(PluginError, match=r"weights of mobilenet must fit"):
        ALL["mobilenet"].build(32, "pretrained")


def test_saved_weights_are_loaded_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.weights.h5"
    model = ALL["mobilenet-v3-small"].build(32, "random")
    model.save_weights(path)
    again = ALL["mobilenet-v3-small"].build(48, str(path))
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(PluginError, match="do not fit"):
        ALL["vgg16"].build(32, str(path))
    with pytest.raises(UsageError, match="no weights file"):
        ALL["vgg16"].build(32, str(tmp_path / "none.weights.h5"))
