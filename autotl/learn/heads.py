"""The head as a Keras model: pooled features in, logits out, with its standardisation inside."""

from typing import Any

import numpy as np

from autotl.learn.config import TrialConfig
from autotl.learn.linear import LinearHead, Standardiser

HeadWeights = list[np.ndarray]


def build_head(config: TrialConfig, features: int, classes: int) -> Any:
    """Build the head that the configuration names: `[B, features]` to logits `[B, classes]`.

    The first layer standardises: a batch normalisation without scale and shift whose statistics are set once, from
    the training features, and never updated.
    """
    import keras

    layers = keras.layers
    inputs = keras.Input((features,), name="features")
    x = layers.BatchNormalization(center=False, scale=False, epsilon=0.0, trainable=False, name="standardise")(inputs)
    if config.head == "mlp":
        for index in range(config.depth):
            x = layers.Dense(config.width, activation="relu", kernel_initializer="he_normal", name=f"hidden{index}")(x)
            x = layers.Dropout(config.dropout, name=f"dropout{index}")(x)
    outputs = layers.Dense(classes, name="logits")(x)
    return keras.Model(inputs, outputs, name="head")


def set_standardiser(head: Any, standardiser: Standardiser) -> None:
    """Fix the statistics of the head's first layer."""
    variance = 1.0 / np.square(standardiser.scale.astype(np.float64))
    head.get_layer("standardise").set_weights([standardiser.mean, variance.astype(np.float32)])


def set_linear(head: Any, linear: LinearHead) -> None:
    """Give the output layer the solution of the convex problem."""
    head.get_layer("logits").set_weights([linear.kernel, linear.bias])


def initialise_hidden(head: Any, seed: int) -> None:
    """Draw the weights of an MLP afresh: He for hidden layers, zeros for the output, so that all classes start equal.

    Features come standardised to unit *length* (the convex head's scale); hidden layers want unit variance, hence the
    factor.
    """
    generator = np.random.default_rng(seed)
    for index, layer in enumerate(layer for layer in head.layers if layer.name.startswith("hidden")):
        kernel, bias = layer.get_weights()
        gain = np.sqrt(2.0) if index == 0 else np.sqrt(2.0 / kernel.shape[0])
        layer.set_weights([generator.normal(0.0, gain, kernel.shape).astype(np.float32), np.zeros_like(bias)])
    logits = head.get_layer("logits")
    logits.set_weights([np.zeros_like(value) for value in logits.get_weights()])
