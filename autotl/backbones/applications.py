"""The networks of `keras.applications`, through the same door as any plugin.

Each network gets its normalisation inside the graph, as plain layers and operations that `.keras` files store in safe
mode. The graph never depends on the weights: Keras builds it without any, and the file that Keras would have chosen is
loaded into it here. That settles three peculiarities of loading by `weights="imagenet"`:

- EfficientNet B0-B7 get one more layer then (see `_complete_efficientnet`);
- MobileNet and MobileNetV2 take another file for images of 128, 160 or 192 pixels; here it is always the one for 224,
  so a backbone has one set of weights at every resolution;
- NASNet insists on a static shape; the graph here always has one, and takes every size from 32 pixels.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from autotl.backbones.applications_table import FAMILIES, Family, Network
from autotl.backbones.contract import Backbone, Weights, check_image_size, check_weights, load_weights
from autotl.backbones.download import cached_path, obtain_weights
from autotl.backbones.normalisation import IMAGENET_DEVIATION_RGB, IMAGENET_MEAN_RGB, NORMALISATIONS
from autotl.errors import PluginError


def record(family: Family, network: Network) -> Backbone:
    """The backbone of one row of the table."""
    weights = Weights(
        source=f"{family.url}/{network.remote_file}",
        sha256=network.sha256,
        licence=family.licence,
        dataset=network.dataset,
        md5=network.md5,
    )
    obtain: Callable[[], Any] = partial(obtain_weights, network.name, weights, network.file_name)
    return Backbone(
        name=network.name,
        build=partial(_build, family, network, obtain),
        image_size=network.image_size,
        min_image_size=family.min_image_size,
        parameters=network.parameters,
        weights=weights,
        imagenet_top1=network.imagenet_top1,
        reference=family.reference,
        available=lambda: cached_path(network.file_name).is_file(),
        fetch=obtain,
    )


def _build(family: Family, network: Network, obtain: Callable[[], Path], image_size: int, weights: str) -> Any:
    check_image_size(network.name, image_size, family.min_image_size)
    check_weights(weights)
    model = _construct(family, network, image_size)
    load_weights(model, weights, lambda: _load_pretrained(family, network, obtain(), model))
    return model


def _construct(family: Family, network: Network, image_size: int) -> Any:
    import keras

    image = keras.Input((image_size, image_size, 3), name="image")
    constructor = getattr(keras.applications, network.constructor)
    # With an input tensor Keras traces back to `image`: one flat graph, normalisation included. It declares its inputs
    # as a list, though, and then warns at every call with a plain tensor; the same graph is declared anew.
    bare = constructor(include_top=False, weights=None, input_tensor=NORMALISATIONS[family.normalisation](image))
    model = keras.Model(image, bare.outputs[0], name=network.name.replace("-", "_"))
    if family.is_incomplete:
        layer = _normalization(model)
        layer.adapt_mean.assign(IMAGENET_MEAN_RGB)
        layer.adapt_variance.assign(IMAGENET_DEVIATION_RGB)
        _complete_efficientnet(model)
    return model


def _load_pretrained(family: Family, network: Network, path: Path, model: Any) -> None:
    try:
        model.load_weights(path)  # an .h5 file of Keras 2: by the order of the layers
    except (ValueError, OSError, KeyError) as error:
        raise PluginError(
            f"The pretrained weights of {network.name} must fit the network of this Keras, {path} does not ({error}). "
            f"Delete that file, and run `autotl backbones fetch {network.name}`."
        ) from error
    if family.is_incomplete:
        _complete_efficientnet(model)


def _complete_efficientnet(model: Any) -> None:
    """Finish the normalisation of EfficientNet B0-B7, whose weights files hold the deviation as the variance.

    So the layer divides by the root of the deviation only. When Keras loads the files by itself, it adds a layer that
    divides by that root once more (https://github.com/tensorflow/tensorflow/issues/49930), and leaves it out otherwise.
    Multiplying the variance does the same and keeps one graph for all weights.
    """
    layer = _normalization(model)
    layer.adapt_variance.assign(layer.adapt_variance * IMAGENET_DEVIATION_RGB)
    layer.finalize_state()


def _normalization(model: Any) -> Any:
    import keras

    return next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))


ALL: dict[str, Backbone] = {network.name: record(family, network) for family in FAMILIES for network in family.networks}
"""Every record, by name; each is also an attribute of this module, as entry points need it: `VGG16`, `RESNET50_V2`."""

_NAMES = {name.upper().replace("-", "_"): name for name in ALL}


def __getattr__(attribute: str) -> Backbone:
    if attribute not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
    return ALL[_NAMES[attribute]]
