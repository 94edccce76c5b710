"""The head as a Keras model: features in, logits out; the standardisation, and a learned pooling, are inside."""

from typing import Any

import numpy as np

from autotl.errors import AutotlError, PluginError, TrialError
from autotl.heads.contract import Head
from autotl.heads.hypermodel import HyperHead
from autotl.heads.registry import load_head
from autotl.learn.config import TrialConfig
from autotl.learn.linear import LinearHead, Standardiser
from autotl.learn.pooling import attend


def build_head(config: TrialConfig, shape: tuple[int, ...], classes: int) -> Any:
    """Build the head that the configuration names: features `[B, *shape]` to logits `[B, classes]`.

    The features are pooled ones `[n]`, or for attention a feature map. They are standardised, by a batch normalisation
    without scale and shift whose statistics are set once, from the training features, and never updated; what follows
    is the plugin's.

    Raises:
        UsageError: no such head is installed.
        PluginError: the plugin cannot build it.
        TrialError: the configuration has options that the head does not know.
        UnsettledError: a hypermodel has no value yet for some of its options.
    """
    import keras

    record = load_head(config.head)
    inputs = keras.Input(shape, name="features")
    pooled = attend(inputs) if config.pooling == "attention" else inputs
    standardise = keras.layers.BatchNormalization(
        center=False, scale=False, epsilon=0.0, trainable=False, name="standardise"
    )
    outputs = _build(record, head_options(record, config), int(pooled.shape[-1]), classes)(standardise(pooled))
    if tuple(outputs.shape) != (None, classes):
        raise PluginError(
            f"A head must give logits [B, classes], {config.head} gives {outputs.shape} for {classes} classes. Tell "
            f"its author (autotl.testing.check_head shows it)."
        )
    return keras.Model(inputs, outputs, name="head")


def _build(record: Head, options: dict[str, Any], features: int, classes: int) -> Any:
    try:
        return record.build(features, classes, options)
    except AutotlError:
        raise
    except Exception as error:  # a plugin may fail in any way
        raise PluginError(
            f"The head {record.name} cannot be built for {features} features, {classes} classes and {options}: "
            f"{type(error).__name__}: {error}. Search other heads, or tell its author."
        ) from error


def head_options(record: Head, config: TrialConfig) -> dict[str, Any]:
    """A value for every option of a head: the trial's, or the head's default.

    Raises:
        TrialError: the trial sets an option that the head does not have.
    """
    given = dict(config.options)
    if isinstance(record.build, HyperHead):
        return given  # it says which options it has while it is built
    if unknown := sorted(set(given) - set(record.options)):
        known = ", ".join(sorted(record.options)) if record.options else "none"
        raise TrialError(f"The head {record.name} has the options {known}; this trial sets {', '.join(unknown)}.")
    own = {name: getattr(config, name) for name in record.options} if record.name == "mlp" else {}
    return {**record.defaults, **own, **given}


def set_standardiser(head: Any, standardiser: Standardiser) -> None:
    """Fix the statistics of the head's standardisation: its output has unit variance in each column.

    The convex head's standardiser brings features to unit *length*; here the share of the number of features is left
    out, and the built-in heads that want it begin with it.
    """
    features = len(standardiser.mean)
    variance = 1.0 / (np.square(standardiser.scale.astype(np.float64)) * features)
    head.get_layer("standardise").set_weights([standardiser.mean, variance.astype(np.float32)])


def set_linear(head: Any, linear: LinearHead) -> None:
    """Give a linear head the solution of the convex problem."""
    kernel, bias = head.trainable_variables[-2:]  # before them there may be the query of attention
    kernel.assign(linear.kernel)
    bias.assign(linear.bias)
