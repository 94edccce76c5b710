"""Four families of `keras.applications`, through the same door as any plugin; their weights are downloaded by Keras.

Each network gets its normalisation inside the graph, as plain layers and operations that `.keras` files store in safe
mode. ImageNet accuracies: https://keras.io/api/applications/ (single crop), MobileNetV3's from its module's table.
Licences of weights: the "License" notes of the Keras applications documentation, by model.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from autotl.backbones.contract import PRETRAINED, Backbone, Weights, check_image_size, check_weights, load_weights
from autotl.errors import PluginError

STORAGE = "https://storage.googleapis.com/tensorflow/keras-applications"
CAFFE_MEAN_RGB = (123.68, 116.779, 103.939)


class _Application(NamedTuple):
    name: str
    constructor: str
    """Name in `keras.applications`."""
    normalise: Callable[[Any], Any] | None
    """From RGB 0..255 to what the network was trained on; `None`: it does that itself."""
    min_image_size: int
    url: str

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[1]


def _symmetric(x: Any) -> Any:
    """To -1..1, as TensorFlow's own models were trained."""
    import keras

    return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="normalisation")(x)


def _caffe(x: Any) -> Any:
    """To BGR with zero mean, not scaled, as Caffe's models were trained."""
    import keras

    centred = keras.layers.Rescaling(1.0, offset=[-mean for mean in CAFFE_MEAN_RGB], name="normalisation")(x)
    return keras.ops.flip(centred, axis=-1)


def weights_path(file_name: str) -> Path:
    """Where Keras keeps a downloaded file: `$KERAS_HOME`, else `~/.keras`, else `/tmp/.keras` (keras.config)."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = Path.home()
        home = str((user if os.access(user, os.W_OK) else Path("/tmp")) / ".keras")
    return Path(home).expanduser() / "models" / file_name


def _build(application: _Application, image_size: int, weights: str) -> Any:
    check_image_size(application.name, image_size, application.min_image_size)
    check_weights(weights)
    model = _construct(application, image_size, None) if weights != PRETRAINED else _download(application, image_size)
    load_weights(model, weights, lambda: None)  # Keras has loaded "pretrained" while constructing
    return model


def _construct(application: _Application, image_size: int, weights: str | None) -> Any:
    import keras

    image = keras.Input((image_size, image_size, 3), name="image")
    constructor = getattr(keras.applications, application.constructor)
    x = image if application.normalise is None else application.normalise(image)
    # With an input tensor Keras traces back to `image`: one flat graph, normalisation included. It declares its inputs
    # as a list, though, and then warns at every call with a plain tensor; the same graph is declared anew.
    network = constructor(include_top=False, weights=weights, input_tensor=x)
    return keras.Model(image, network.outputs[0], name=application.name.replace("-", "_"))


def _download(application: _Application, image_size: int) -> Any:
    path = weights_path(application.file_name)
    try:
        return _construct(application, image_size, "imagenet")
    except Exception as error:  # keras.utils.get_file raises a bare Exception when a download fails
        raise PluginError(
            f"The pretrained weights of {application.name} must be at {path} or be downloaded from {application.url}, "
            f"which failed ({error}). Connect to the internet, or place the file there yourself."
        ) from error


def _record(
    application: _Application, image_size: int, parameters: int, licence: str, imagenet_top1: float, reference: str
) -> Backbone:
    return Backbone(
        name=application.name,
        build=partial(_build, application),
        image_size=image_size,
        min_image_size=application.min_image_size,
        parameters=parameters,
        # Keras checks the file against an MD5 or SHA-256 of its own.
        weights=Weights(source=application.url, sha256=None, licence=licence, dataset="ImageNet-1k"),
        imagenet_top1=imagenet_top1,
        reference=reference,
        available=lambda: weights_path(application.file_name).is_file(),
    )


MOBILENET_V3_SMALL = _record(
    _Application(
        "mobilenet-v3-small",
        "MobileNetV3Small",
        None,
        32,
        f"{STORAGE}/mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    ),
    image_size=224,
    parameters=939_120,
    licence="Apache-2.0",
    imagenet_top1=68.1,
    reference="https://arxiv.org/abs/1905.02244",
)

RESNET50_V2 = _record(
    _Application(
        "resnet50-v2",
        "ResNet50V2",
        _symmetric,
        32,
        f"{STORAGE}/resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    image_size=224,
    parameters=23_564_800,
    licence="BSD-3-Clause",
    imagenet_top1=76.0,
    reference="https://arxiv.org/abs/1603.05027",
)

VGG16 = _record(
    _Application(
        "vgg16",
        "VGG16",
        _caffe,
        32,
        f"{STORAGE}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    image_size=224,
    parameters=14_714_688,
    licence="CC-BY-4.0",
    imagenet_top1=71.3,
    reference="https://arxiv.org/abs/1409.1556",
)

INCEPTION_V3 = _record(
    _Application(
        "inception-v3",
        "InceptionV3",
        _symmetric,
        75,
        f"{STORAGE}/inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    image_size=299,
    parameters=21_802_784,
    licence="Apache-2.0",
    imagenet_top1=77.9,
    reference="https://arxiv.org/abs/1512.00567",
)
