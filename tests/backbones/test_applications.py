import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autotl.backbones.applications import INCEPTION_V3, MOBILENET_V3_SMALL, RESNET50_V2, VGG16
from autotl.errors import PluginError, UsageError
from autotl.testing import check_backbone

pytestmark = pytest.mark.keras


ALL = {backbone.name: backbone for backbone in (MOBILENET_V3_SMALL, RESNET50_V2, VGG16, INCEPTION_V3)}


@pytest.mark.parametrize("name", ALL)
def test_it_keeps_the_contract_and_has_five_stages(name: str) -> None:
    assert len(check_backbone(ALL[name]).stages) == 5


# MobileNetV3 publishes the identity, because its network normalises; its table says -1..1, which "resnet_v2" computes.
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mobilenet-v3-small", "resnet_v2"),
        ("resnet50-v2", "resnet_v2"),
        ("vgg16", "vgg16"),
        ("inception-v3", "inception_v3"),
    ],
)
def test_the_normalisation_inside_is_the_published_one(name: str, published: str) -> None:
    import keras

    model = ALL[name].build(ALL[name].min_image_size, "random")
    network = (keras.layers.Conv2D, keras.layers.ZeroPadding2D)
    start = next(layer for layer in model.layers if isinstance(layer, network))
    images = np.random.default_rng(0).integers(0, 256, (2, *model.input.shape[1:])).astype("float32")
    normalised = keras.Model(model.input, start.input)(images)
    expected = getattr(keras.applications, published).preprocess_input(images.copy())  # it changes what it is given
    np.testing.assert_allclose(np.asarray(normalised), expected, atol=1e-4)


def test_saved_weights_are_loaded_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.weights.h5"
    model = MOBILENET_V3_SMALL.build(32, "random")
    model.save_weights(path)
    again = MOBILENET_V3_SMALL.build(48, str(path))
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(PluginError, match="do not fit"):
        VGG16.build(32, str(path))
    with pytest.raises(UsageError, match="no weights file"):
        VGG16.build(32, str(tmp_path / "none.weights.h5"))


def test_weights_that_cannot_be_downloaded_are_an_error_that_says_where_they_belong(tmp_path: Path) -> None:
    # Keras reads its environment when imported, hence another process; nothing listens at the proxy.
    environment = os.environ | {"KERAS_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    code = (
        "from autotl.backbones.applications import VGG16\n"
        "from autotl.errors import PluginError\n"
        "try: VGG16.build(32, 'pretrained')\n"
        "except PluginError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    message = done.stdout.splitlines()[-1]
    file = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert f"must be at {tmp_path / 'models' / file}" in message
    assert "storage.googleapis.com" in message
    assert "Connect to the internet" in message
