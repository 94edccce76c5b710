"""Put the parts of a fitted model together: uint8 image in, calibrated probabilities out, nothing else needed."""

from typing import Any

from autotl.learn.features import as_float, pool


def assemble(backbone: Any, head: Any, pooling: str, temperature: float, name: str) -> Any:
    """Build the model that is delivered.

    Args:
        backbone: RGB 0..255 `[B, S, S, 3]` to features, with its tuned weights.
        head: pooled features to logits `[B, C]`.
        temperature: divides the logits (Guo et al., https://arxiv.org/abs/1706.04599).

    Returns:
        A Functional model from `image`, uint8 RGB `[B, S, S, 3]`, upright and resized, to `probabilities`, float32
        `[B, C]`.
    """
    import keras

    image = keras.Input(backbone.input_shape[1:], dtype="uint8", name="image")
    logits = head(pool(backbone(as_float(image), training=False), pooling), training=False)
    calibrated = keras.layers.Rescaling(1.0 / temperature, name="temperature")(logits)
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(calibrated)
    return keras.Model(image, probabilities, name=name)
