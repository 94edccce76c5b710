"""What a `.keras` file says of its network, read without Keras: a zip with `config.json`, `metadata.json`, the weights.

Nothing is believed that is not there: a file of another form, or a network that cannot be adapted, is refused.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autotl.errors import UsageError

NATIVE_SIZE = 224  # of a network that takes any
MIN_IMAGE_SIZE = 32
SIZE_MULTIPLE = 32  # five halvings: with other sizes two paths of one network may round a half differently
MAX_JSON_BYTES = 64 * 2**20

# Layers and operations of Keras that do the same at every resolution. What is not here, or in _ON_CHANNELS or is a
# reshaping of single pixels, is taken to have one resolution: flattening, tables of positions, fixed resizing.
_AT_ANY_SIZE = {
    "InputLayer", "Functional", "Sequential", "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense", "Dropout",
    "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization", "Activation", "ReLU",
    "LeakyReLU", "ELU", "Softmax", "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D",
    "ZeroPadding2D", "Add", "Multiply", "Subtract", "Average", "Maximum", "Minimum", "Rescaling", "Identity", "Relu",
    "Relu6", "Silu", "Sigmoid", "Gelu", "HardSilu", "HardSigmoid", "Elu", "Tanh",
}  # fmt: skip
_ON_CHANNELS = {"BatchNormalization", "LayerNormalization", "Normalization", "Concatenate", "Flip"}
_NOT_A_FILE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError)  # encrypted, unknown compression


class Network(NamedTuple):
    """The image sizes of a saved network, in pixels."""

    image_size: int
    min_image_size: int
    size_multiple: int
    is_resizable: bool


def read_network(path: Path) -> Network:
    """Read which images a saved network takes.

    Raises:
        UsageError: it is no Keras file, or holds no network that can be adapted.
    """
    config = _read_config(path)
    try:
        _check_kind(config, path)
        side = _side(config, path)
        if side is None:
            return Network(NATIVE_SIZE, MIN_IMAGE_SIZE, 1, True)
        if side % SIZE_MULTIPLE or not all(_is_size_free(layer) for layer in _layers(config["config"]["layers"])):
            return Network(side, side, 1, False)
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UsageError(
            f"A .keras file describes a Keras model, {path} does not ({error!r}). Save it again."
        ) from error
    smallest = max(MIN_IMAGE_SIZE, -(-side // (2 * SIZE_MULTIPLE)) * SIZE_MULTIPLE)
    return Network(side, smallest, SIZE_MULTIPLE, True)


def read_json(path: Path, content: bytes) -> dict[str, Any]:
    """Parse a JSON object that may come from anywhere.

    Raises:
        UsageError: it is none.
    """
    try:
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}. Copy it again from where it was made.") from error
    return found


def check_bytes(path: Path, count: int) -> None:
    """Insist that a description is not so large that only reading it would do harm.

    Raises:
        UsageError: it is.
    """
    if count > MAX_JSON_BYTES:
        raise UsageError(
            f"The description of a network has at most {MAX_JSON_BYTES} bytes, that in {path} has {count}."
        )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            check_bytes(path, archive.getinfo("config.json").file_size)
            content = archive.read("config.json")
    except (*_NOT_A_FILE, KeyError) as error:
        raise UsageError(f"A .keras file holds a Keras model, {path} does not ({error}). Save it again.") from error
    return read_json(path, content)


def _check_kind(config: Mapping[str, Any], path: Path) -> None:
    kind = config.get("class_name")
    if kind not in ("Functional", "Sequential"):
        raise UsageError(
            f"A network to adapt is a Functional or Sequential Keras model, {path} holds a {kind}. Build it with "
            "keras.Model(inputs, outputs) and save that."
        )
    if any(item.get("class_name") in ("Lambda", "__lambda__") for item in _everything(config)):
        raise UsageError(
            f"A network must load in Keras's safe mode, and {path} has a Lambda layer, which is code. Write it as "
            "operations of keras.ops, or as a layer that an installed plugin registers, and save the network again."
        )
    outputs = config["config"].get("output_layers", [""])
    if len(outputs) != 1 and not isinstance(outputs[0], str):
        raise UsageError(
            f"A network to adapt has one output, {path} has {len(outputs)}. Save keras.Model(model.inputs, "
            "model.outputs[0]), or whichever it is."
        )


def _side(config: Mapping[str, Any], path: Path) -> int | None:
    """The side of the images that a network takes, in pixels; `None` where it takes any."""
    inputs = [layer for layer in config["config"]["layers"] if layer["class_name"] == "InputLayer"]
    shapes = [layer["config"].get("batch_shape") for layer in inputs]
    if len(shapes) != 1 or not isinstance(shapes[0], list) or len(shapes[0]) != 4 or shapes[0][3] != 3:
        raise UsageError(f"A network to adapt has one input [B, S, S, 3] of RGB images, {path} has {shapes}.")
    height, width = shapes[0][1:3]
    if height != width:
        raise UsageError(f"autotl adapts networks of square images, {path} takes {height} x {width} pixels.")
    return None if height is None else int(height)


def _everything(item: Any) -> Iterator[Mapping[str, Any]]:
    """All objects of a configuration, wrapped layers included."""
    if isinstance(item, dict):
        yield item
    if isinstance(item, dict | list):
        for inner in item.values() if isinstance(item, dict) else item:
            yield from _everything(inner)


def _layers(layers: list[Any]) -> Iterator[Mapping[str, Any]]:
    """The layers and operations of a model, and those of models inside it."""
    for layer in layers:
        yield layer
        yield from _layers(layer["config"].get("layers", []))


def _is_size_free(layer: Mapping[str, Any]) -> bool:
    kind, settings = layer["class_name"], layer["config"]
    if not str(layer["module"]).startswith("keras.") or layer.get("registered_name") not in (None, kind):
        return False  # somebody's own layer, whatever it is called
    if settings.get("data_format") == "channels_first":
        return False
    if kind == "Reshape":
        return list(settings["target_shape"])[:2] == [1, 1]
    if kind in _ON_CHANNELS:
        axis = settings.get("axis", -1)
        return axis in (-1, 3, [-1], [3])
    return kind in _AT_ANY_SIZE
