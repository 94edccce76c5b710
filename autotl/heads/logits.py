"""From what a user's classifier gives to logits: a final softmax is found, and taken out."""

from typing import Any

SMALLEST_PROBABILITY = 1e-7


def remove_softmax(outputs: Any) -> Any:
    """The logits behind a Keras tensor `[B, C]`; the tensor itself when no softmax made it.

    Found are a layer with `activation="softmax"` (which becomes linear, in place), a softmax layer or operation (which
    is left out), and either at the end of a model inside the model.
    """
    import keras

    operation, node, _ = outputs._keras_history
    if isinstance(operation, keras.Model):
        inner = operation.outputs[0]
        if remove_softmax(inner) is inner:
            return outputs
        return log_probabilities(outputs)
    if _is_softmax(operation) or (isinstance(operation, keras.layers.Activation) and _has_softmax(operation)):
        return operation._inbound_nodes[node].input_tensors[0]
    if _has_softmax(operation):
        operation.activation = keras.activations.linear
    return outputs


def ends_in_softmax(outputs: Any) -> bool:
    """Whether a Keras tensor `[B, C]` comes out of a softmax, as far as that can be seen."""
    import keras

    operation = outputs._keras_history[0]
    if isinstance(operation, keras.Model):
        return ends_in_softmax(operation.outputs[0])
    return _is_softmax(operation) or _has_softmax(operation)


def log_probabilities(outputs: Any) -> Any:
    """Logits of probabilities: their softmax is what they were."""
    import keras

    return keras.ops.log(keras.ops.maximum(outputs, SMALLEST_PROBABILITY))


def _is_softmax(operation: Any) -> bool:
    """Whether it is a layer or an operation that does nothing but a softmax over the classes."""
    return type(operation).__name__ == "Softmax" and operation.axis in (-1, 1)


def _has_softmax(operation: Any) -> bool:
    import keras

    return getattr(operation, "activation", None) is keras.activations.softmax
