"""Run a part of a network in inference mode, or in training mode, whatever the network around it does.

Keras hands the mode of a whole Functional model down to all layers of its graph, also to those that were called with a
`training=` of their own (`operation_fn` in keras/src/models/functional.py). What a layer does inside its own `call` is
not a part of that graph.
"""

from typing import Any


def in_mode(part: Any, training: bool, name: str) -> Any:
    """A layer that calls `part`, a layer or model, always with this value of `training`; it shares its variables."""
    import keras

    class InMode(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name=name)
            self.part = part

        def call(self, inputs: Any) -> Any:
            return self.part(inputs, training=training)

    return InMode()
