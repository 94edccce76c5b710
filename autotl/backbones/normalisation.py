"""From RGB 0..255 to what a network was trained on, as plain layers and operations that `.keras` files keep.

The modes are those of `keras.applications.imagenet_utils.preprocess_input`, and two more.
"""

from collections.abc import Callable, Mapping
from typing import Any

CAFFE_MEAN_RGB = (123.68, 116.779, 103.939)
IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION_RGB = (0.229, 0.224, 0.225)


def inside(image: Any) -> Any:
    """The network normalises by itself."""
    return image


def unit(image: Any) -> Any:
    """To 0..1."""
    return _rescale(image, 1 / 255)


def symmetric(image: Any) -> Any:
    """To -1..1, as TensorFlow's own models were trained."""
    return _rescale(image, 1 / 127.5, offset=-1.0)


def caffe(image: Any) -> Any:
    """To BGR with zero mean, not scaled, as Caffe's models were trained."""
    import keras

    centred = _rescale(image, 1.0, offset=[-mean for mean in CAFFE_MEAN_RGB])
    return keras.ops.flip(centred, axis=-1)


def torch(image: Any) -> Any:
    """To mean 0 and deviation 1 over ImageNet, as PyTorch's models were trained."""
    return _rescale(
        image,
        [1 / (255 * deviation) for deviation in IMAGENET_DEVIATION_RGB],
        offset=[-mean / deviation for mean, deviation in zip(IMAGENET_MEAN_RGB, IMAGENET_DEVIATION_RGB, strict=True)],
    )


def _rescale(image: Any, scale: Any, offset: Any = 0.0) -> Any:
    import keras

    return keras.layers.Rescaling(scale, offset=offset, name="normalisation")(image)


NORMALISATIONS: Mapping[str, Callable[[Any], Any]] = {
    "inside": inside,
    "unit": unit,
    "symmetric": symmetric,
    "caffe": caffe,
    "torch": torch,
}
