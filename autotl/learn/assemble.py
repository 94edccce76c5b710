"""Put the parts of a fitted model together: uint8 image in, calibrated probabilities out, nothing else needed."""

from typing import Any

from autotl.backbones.cuts import stage_cuts
from autotl.learn.forward import as_float
from autotl.learn.networks import tap_model
from autotl.learn.pooling import pool


def assemble(backbone: Any, head: Any, pooling: str, temperature: float, name: str, taps: str = "last") -> Any:
    """Build the model that is delivered.

    Args:
        backbone: RGB 0..255 `[B, S, S, 3]` to features, with its tuned weights.
        head: features to logits `[B, C]`: pooled ones, or the last feature map when it pools by attention.
        pooling: of the last feature map, or of every tapped stage.
        temperature: divides the logits (Guo et al., https://arxiv.org/abs/1706.04599).
        taps: which stages of the backbone are pooled.

    Returns:
        A Functional model from `image`, uint8 RGB `[B, S, S, 3]`, upright and resized, to `probabilities`, float32
        `[B, C]`.
    """
    import keras

    image = keras.Input(backbone.input_shape[1:], dtype="uint8", name="image")
    if taps == "last":
        features = pool(backbone(as_float(image), training=False), pooling)
    else:
        features = tap_model(backbone, stage_cuts(backbone), pooling, taps)(as_float(image), training=False)
    calibrated = keras.layers.Rescaling(1.0 / temperature, name="temperature")(head(features, training=False))
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(calibrated)
    return keras.Model(image, probabilities, name=name)
