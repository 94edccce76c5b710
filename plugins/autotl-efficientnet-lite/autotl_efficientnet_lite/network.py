"""The EfficientNet-Lite network as a Functional Keras graph, and its weights.

Source: Tan and Le, EfficientNet (https://arxiv.org/abs/1905.11946); the Lite variants drop squeeze-and-excitation,
use ReLU6, keep stem and head at full width and do not deepen the first and last stage
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

import math
from typing import Any, NamedTuple

import numpy as np

BATCH_NORM_EPSILON = 1e-3
FEATURES = 1280


class Stage(NamedTuple):
    """One row of the paper's table: `repeats` inverted residual blocks, the first of them with `stride`."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def scaled_stages(width: float, depth: float) -> list[Stage]:
    """Scale channels to multiples of eight and repeats upwards; first and last stage keep their depth."""
    scaled = []
    for index, stage in enumerate(STAGES):
        deepened = stage.repeats if index in (0, len(STAGES) - 1) else math.ceil(stage.repeats * depth)
        scaled.append(stage._replace(repeats=deepened, channels=_multiple_of_eight(stage.channels * width)))
    return scaled


def _multiple_of_eight(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def build_network(name: str, image_size: int, width: float, depth: float) -> Any:
    """Build the feature extractor with random weights: RGB 0..255 `[B, S, S, 3]` to `[B, S/32, S/32, 1280]`."""
    import keras

    layers = keras.layers

    def normalise(x: Any, prefix: str) -> Any:
        return layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{prefix}_bn")(x)

    def activate(x: Any, prefix: str) -> Any:
        return layers.ReLU(max_value=6.0, name=f"{prefix}_relu6")(normalise(x, prefix))

    def pointwise(x: Any, channels: int, prefix: str) -> Any:
        return layers.Conv2D(channels, 1, padding="same", use_bias=False, name=f"{prefix}_conv")(x)

    def block(x: Any, stage: Stage, stride: int, prefix: str) -> Any:
        channels = x.shape[-1]
        y = x
        if stage.expansion != 1:
            y = activate(pointwise(y, channels * stage.expansion, f"{prefix}_expand"), f"{prefix}_expand")
        y = layers.DepthwiseConv2D(
            stage.kernel, strides=stride, padding="same", use_bias=False, name=f"{prefix}_depthwise_conv"
        )(y)
        y = activate(y, f"{prefix}_depthwise")
        y = normalise(pointwise(y, stage.channels, f"{prefix}_project"), f"{prefix}_project")
        if stride == 1 and channels == stage.channels:
            y = layers.Add(name=f"{prefix}_add")([x, y])
        return y

    inputs = keras.Input((image_size, image_size, 3), name="image")
    # (x - 127) / 128, as the published weights were trained with
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="normalisation")(inputs)
    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(x)
    x = activate(x, "stem")
    number = 0
    for stage in scaled_stages(width, depth):
        for repeat in range(stage.repeats):
            x = block(x, stage, stage.stride if repeat == 0 else 1, f"block{number}")
            number += 1
    x = activate(pointwise(x, FEATURES, "head"), "head")
    return keras.Model(inputs, x, name=name.replace("-", "_"))


def load_tensors(model: Any, tensors: dict[str, np.ndarray]) -> None:
    """Copy the checkpoint's tensors into the model, by name, and insist that every one found its place.

    Raises:
        KeyError, ValueError: the checkpoint is of another network.
    """
    unused = {name for name in tensors if not name.endswith("num_batches_tracked") and not name.startswith("_fc.")}
    for layer in model.layers:
        if not layer.weights:
            continue
        names, values = _tensors_of(layer.name, tensors)
        layer.set_weights(values)
        unused -= set(names)
    if unused:
        raise ValueError(f"tensors without a layer: {', '.join(sorted(unused))}")


def _tensors_of(layer: str, tensors: dict[str, np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
    part, kind = layer.rsplit("_", 1)
    source = _source_name(part, kind)
    if kind == "bn":
        names = [f"{source}.{field}" for field in ("weight", "bias", "running_mean", "running_var")]
        return names, [tensors[name] for name in names]
    kernel = tensors[f"{source}.weight"]  # [out, in, h, w]; depthwise [channels, 1, h, w]
    axes = (2, 3, 0, 1) if part.endswith("_depthwise") else (2, 3, 1, 0)
    return [f"{source}.weight"], [np.ascontiguousarray(kernel.transpose(axes))]


def _source_name(part: str, kind: str) -> str:
    """The checkpoint's name for a layer: `block3_expand` + `bn` is `_blocks.3._bn0`."""
    if part == "stem":
        return {"conv": "_conv_stem", "bn": "_bn0"}[kind]
    if part == "head":
        return {"conv": "_conv_head", "bn": "_bn1"}[kind]
    block, step = part.split("_")
    number = block.removeprefix("block")
    batch_norm = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}[step]
    return f"_blocks.{number}.{batch_norm if kind == 'bn' else f'_{step}_conv'}"
