"""Whether a model survives its `.keras` file: in safe mode, without Lambda layers, and in another process."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from autotl.conformance.listing import run_python
from autotl.conformance.measure import outputs_of
from autotl.conformance.rules import RuleError
from autotl.entry_points import LAYERS_GROUP, Listing

LOAD = """
import sys
from autotl.entry_points import import_layers
import_layers([{"distribution": sys.argv[2]}])
import keras
keras.saving.load_model(sys.argv[1], compile=False, safe_mode=True)
"""


def insist_on_no_lambda(model: Any) -> None:
    """Break the rule at a Lambda layer, which safe loading refuses."""
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Lambda):
            raise RuleError(f"{layer.name} is a Lambda layer.", "Use a layer class or keras.ops instead.")


def reload(model: Any, inputs: np.ndarray, outputs: np.ndarray, registered: Listing | None) -> Any:
    """Save a model, load it in safe mode, compare, and return what was loaded.

    With layers of its own, a model of an installed plugin is also loaded where nothing has imported the plugin: that is
    what `autotl predict` does.
    """
    import keras

    insist_on_no_lambda(model)
    with tempfile.TemporaryDirectory(prefix="autotl-check-") as directory:
        path = Path(directory) / "model.keras"
        model.save(path)
        try:
            loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
        except (TypeError, ValueError) as error:
            raise RuleError(
                f"the saved model does not load in safe mode: {str(error).strip().splitlines()[0]}",
                "Register layers of your own with keras.saving.register_keras_serializable.",
            ) from error
        again = outputs_of(loaded, inputs)
        if not np.array_equal(outputs, again):
            worst = float(np.max(np.abs(outputs - again)))
            raise RuleError(
                f"the loaded model computes something else (by {worst:.1e}).",
                "Let get_config of your own layers return all that their constructor takes.",
            )
        if registered is not None and own_layers(model):
            _load_elsewhere(path, model, registered)
    return loaded


def own_layers(model: Any) -> list[str]:
    """The classes of layers that Keras itself does not have."""
    layers = model._flatten_layers(include_self=False)
    return sorted({type(layer).__name__ for layer in layers if type(layer).__module__.partition(".")[0] != "keras"})


def _load_elsewhere(path: Path, model: Any, registered: Listing) -> None:
    code, _, errors = run_python(LOAD, str(path), registered.distribution)
    if code != 0:
        raise RuleError(
            f"with {', '.join(own_layers(model))} it does not load in a process that has not imported the plugin: "
            f"{errors}",
            f"Name the module that registers these layers in an entry point of the group {LAYERS_GROUP}.",
        )
