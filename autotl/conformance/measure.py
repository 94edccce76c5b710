"""What the checks measure on Keras models: outputs, differences, gradients. Nothing here is left changed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotl.backbones.graph import functional

BATCH_TOLERANCE = 1e-4
"""Relative to the largest output; kernels for one example and for three may add up in another order."""


def outputs_of(model: Any, inputs: np.ndarray, training: bool = False) -> np.ndarray:
    """The outputs of a model, as an array."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(model(inputs, training=training)))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference, relative to the largest value: random weights may make features of any size."""
    largest = float(np.max(np.abs(one)))
    return float(np.max(np.abs(one - other))) / largest if largest > 0 else float(np.max(np.abs(other)))


def batch_difference(model: Any, inputs: np.ndarray, outputs: np.ndarray) -> float:
    """How much the outputs of the last example depend on what else is in its batch."""
    return difference(outputs[-1:], outputs_of(model, inputs[-1:]))


def is_same_twice(model: Any, inputs: np.ndarray, outputs: np.ndarray) -> bool:
    """Whether the same inputs give the same outputs once more."""
    return bool(np.array_equal(outputs, outputs_of(model, inputs)))


def size(variables: Sequence[Any]) -> int:
    """Number of weights in some variables."""
    return sum(int(np.prod(variable.shape)) for variable in variables)


def without_gradient(model: Any, inputs: np.ndarray) -> list[Any]:
    """The trainable variables of a model that a step of training gives no gradient.

    The step is one of Keras's own, whatever the backend, with an optimizer that only looks. JAX does not tell a missing
    gradient from one of zeros, so nothing is found there.
    """
    import keras

    seen: list[Any] = []

    class Looking(keras.optimizers.SGD):  # type: ignore[misc]
        def apply(self, grads: Any, trainable_variables: Any = None) -> None:
            seen.extend(grads)

    values = model.get_weights()
    graph = functional(model)
    looked_at = keras.Model(graph.inputs[0], graph.outputs[0])
    looked_at.compile(optimizer=Looking(), loss="mse", run_eagerly=True)
    targets = np.random.default_rng(1).normal(size=outputs_of(model, inputs).shape).astype("float32")
    looked_at.train_on_batch(inputs, targets)
    model.set_weights(values)  # statistics of batches were taken
    return [
        variable for variable, gradient in zip(looked_at.trainable_variables, seen, strict=True) if gradient is None
    ]


def matters(model: Any, variable: Any, inputs: np.ndarray, outputs: np.ndarray) -> bool:
    """Whether the outputs depend on a variable."""
    import keras

    value = np.asarray(keras.ops.convert_to_numpy(variable)).copy()
    variable.assign(value + 0.1 * np.random.default_rng(2).normal(size=value.shape).astype(value.dtype))
    changed = not np.array_equal(outputs, outputs_of(model, inputs))
    variable.assign(value)
    return changed


def names(variables: Sequence[Any], most: int = 3) -> str:
    """The first few variables by name."""
    shown = ", ".join(str(getattr(variable, "path", variable.name)) for variable in variables[:most])
    return shown if len(variables) <= most else f"{shown} and {len(variables) - most} more"
