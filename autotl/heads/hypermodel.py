"""A KerasTuner hypermodel as a head: named by `module:object`, or registered by a plugin as a record.

What a hypermodel is given, by the names that its constructor and its `build(hp, ...)` have parameters for:

- `inputs`, a Keras tensor of pooled features `[B, D]`: then `build` gives the output tensor;
- `features` (D) or `input_shape` (`(D,)`), and `classes` or `num_classes`: then it gives a model.

So `build(hp, inputs)`, `build(hp, features, classes)` and a plain `HyperModel(input_shape, classes)` all are heads. A
final softmax is taken out, and a dense layer is added when the outputs are not one for each class. How a compiled head
would be trained does not matter: heads train as all heads of autotl do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotl.errors import TrialError, UsageError
from autotl.heads.contract import Head, Options
from autotl.heads.logits import remove_softmax
from autotl.heads.replay import UnsettledError, make_replay
from autotl.references import check_reference


@dataclass(frozen=True)
class HyperHead:
    """The `build` of a head that a hypermodel makes."""

    owner: str
    reference: str

    def __call__(self, features: int, classes: int, options: Options) -> Any:
        """Build the head with exactly these values of its hyperparameters.

        Raises:
            UnsettledError: other values are asked for.
            UsageError: it is no hypermodel, or gives no head.
        """
        import keras

        from autotl.heads.builders import open_builder

        inputs = keras.Input((features,), name="features")
        offered = {
            "inputs": inputs, "features": features, "input_shape": (features,), "classes": classes,
            "num_classes": classes,
        }  # fmt: skip
        replay = make_replay(options)
        built = open_builder(self.reference, offered).build(replay)
        values = replay.chosen()
        if replay.needs or set(options) - set(values):
            raise UnsettledError(self.owner, replay.needs, values)
        return _to_head(built, inputs, classes, self.reference)


def open_head(reference: str) -> Head:
    """The head that the hypermodel `module:object` makes; nothing is imported.

    Raises:
        UsageError: there is no such module.
    """
    check_reference(reference)
    return head_from_hypermodel(reference, reference)


def head_from_hypermodel(name: str, hypermodel: str, summary: str = "", reference: str = "") -> Head:
    """The record of a head for a plugin to register.

    Args:
        name: the name of its entry point.
        hypermodel: `module:object`; the module is imported only when a worker builds the head.
        summary: what it is, in one line.
        reference: URL of the paper, if there is one.
    """
    described = summary if summary else f"KerasTuner hypermodel {hypermodel}"
    return Head(name, HyperHead(name, hypermodel), summary=described, reference=reference)


def build_settled(head: Head, features: int, classes: int, options: Mapping[str, Any] | None = None) -> Any:
    """Build any head, a hypermodel's hyperparameters at their defaults where `options` says nothing of them.

    Raises:
        TrialError: a hypermodel that asks for other values each time it is built.
    """
    given = dict(head.defaults) if options is None else dict(options)
    try:
        return head.build(features, classes, given)
    except UnsettledError as unsettled:
        settled = unsettled.values
    try:
        return head.build(features, classes, settled)
    except UnsettledError as again:
        raise TrialError(
            f"A hypermodel must ask for the same hyperparameters when it is built with the same values; {again}. "
            "Take what is random out of its build."
        ) from again


def _to_head(built: Any, inputs: Any, classes: int, reference: str) -> Any:
    """A Functional model from features to logits, whatever the hypermodel gave."""
    import keras

    if isinstance(built, keras.Model):
        if not built.built:
            built.build((None, inputs.shape[1]))
        if len(built.inputs) != 1 or tuple(built.inputs[0].shape[1:]) != tuple(inputs.shape[1:]):
            shapes = [tuple(item.shape) for item in built.inputs]
            raise UsageError(f"A head takes features {tuple(inputs.shape)}, {reference} takes {shapes}.")
        inputs, outputs = built.inputs[0], built.outputs[0]
    else:
        outputs = built
    if not keras.backend.is_keras_tensor(outputs) or len(outputs.shape) != 2:
        given = tuple(outputs.shape) if hasattr(outputs, "shape") else type(outputs).__name__
        raise UsageError(f"A head gives a model or a Keras tensor with outputs [B, width], {reference} gives {given}.")
    if outputs.shape[-1] == classes:
        logits = remove_softmax(outputs)
    else:
        logits = keras.layers.Dense(classes, name="logits")(outputs)
    return keras.Model(inputs, logits)
