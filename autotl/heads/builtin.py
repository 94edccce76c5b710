"""The heads that come with autotl, published through the same door as a plugin's.

They are made of Keras's own layers alone, so a delivered model loads where autotl is not installed.
"""

import math
from typing import Any

from autotl.heads.contract import Head, Options


def build_linear(features: int, classes: int, options: Options) -> Any:
    """One layer: softmax regression. On frozen features the learn room solves it instead of training it."""
    import keras

    inputs, unit = _of_unit_length(features)
    return keras.Model(inputs, keras.layers.Dense(classes, kernel_initializer="zeros", name="logits")(unit))


def build_mlp(features: int, classes: int, options: Options) -> Any:
    """Hidden layers with ReLU and dropout: He's weights in the hidden layers, zeros in the last, so that all classes
    start equal."""
    import keras

    layers, initializers = keras.layers, keras.initializers
    inputs, x = _of_unit_length(features)
    for index in range(options["depth"]):
        # features of unit length instead of unit variance: He's factor without the width of the input
        deviation = math.sqrt(2.0) if index == 0 else math.sqrt(2.0 / options["width"])
        kernel = initializers.RandomNormal(stddev=deviation)
        x = layers.Dense(options["width"], activation="relu", kernel_initializer=kernel, name=f"hidden{index}")(x)
        x = layers.Dropout(options["dropout"], name=f"dropout{index}")(x)
    return keras.Model(inputs, layers.Dense(classes, kernel_initializer="zeros", name="logits")(x))


def build_cosine(features: int, classes: int, options: Options) -> Any:
    """`scale * cos(features, weights)` with a learnable scale.

    Every class has one direction, kept at unit length by a constraint: a class of many images cannot outvote one of few
    by the length of its weights. The single weight of a dense layer on `[B, classes, 1]` is the scale.
    """
    import keras

    layers = keras.layers
    inputs = keras.Input((features,), name="features")
    directions = layers.UnitNormalization(name="unit_length")(inputs)
    cosines = layers.Dense(
        classes,
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(stddev=1.0 / math.sqrt(features)),
        kernel_constraint=keras.constraints.UnitNorm(axis=0),
        name="cosines",
    )(directions)
    column = layers.Reshape((classes, 1), name="column")(cosines)
    start = keras.initializers.Constant(options["scale"])
    scaled = layers.Dense(1, use_bias=False, kernel_initializer=start, name="scale")(column)
    return keras.Model(inputs, layers.Reshape((classes,), name="logits")(scaled))


def _of_unit_length(features: int) -> tuple[Any, Any]:
    """The input, and the same scaled to about unit length: rates and penalties then hold for any number of features."""
    import keras

    inputs = keras.Input((features,), name="features")
    return inputs, keras.layers.Rescaling(1.0 / math.sqrt(features), name="unit_length")(inputs)


LINEAR = Head(
    name="linear",
    build=build_linear,
    summary="Softmax regression; on frozen features it is solved, not trained.",
)
MLP = Head(
    name="mlp",
    build=build_mlp,
    options={
        "width": {"integer": [64, 512], "log": True},
        "depth": {"integer": [1, 2]},
        "dropout": {"choice": [0.0, 0.2, 0.4]},
    },
    defaults={"width": 256, "depth": 1, "dropout": 0.2},
    summary="Hidden layers with ReLU and dropout.",
)
COSINE = Head(
    name="cosine",
    build=build_cosine,
    options={"scale": {"log": [8.0, 64.0]}},  # where it starts; centred features of a network are nearly orthogonal
    defaults={"scale": 30.0},
    summary="Cosine classifier with a learnable scale.",
    reference="https://arxiv.org/abs/1804.09458",  # Gidaris and Komodakis; also Qi et al., 1712.07136
)
