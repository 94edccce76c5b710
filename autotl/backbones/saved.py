"""Your own network as a backbone, without a plugin: a `.keras` file, or a model that autotl delivered.

What is known of it without Keras is read from the file (a zip of `config.json`, `metadata.json` and the weights). Its
head is removed while building: the backbone ends with the last feature map, or the last tokens.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from autotl.backbones.contract import PRETRAINED, RANDOM, Backbone, Weights, check_image_size, check_weights
from autotl.backbones.normalisation import NORMALISATIONS
from autotl.errors import PluginError, UsageError
from autotl.references import short_name

SUFFIX = ".keras"
DESCRIPTION_FILE = "autotl.json"
QUERY = "?normalisation="
NATIVE_SIZE = 224  # of a network that takes any
MIN_IMAGE_SIZE = 32
MAX_JSON_BYTES = 64 * 2**20
UNKNOWN_LICENCE = "unknown"


class _Source(NamedTuple):
    """A model file, and what an `autotl.json` beside it says of it."""

    path: Path
    normalisation: str
    description: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The name of the file, or of the run or folder that it was delivered in."""
        return short_name(self.path.resolve().as_posix())


def is_saved(reference: str) -> bool:
    """Whether a backbone's name is meant as a path: it has a separator or `.keras` in it, or there is such a folder."""
    path = reference.partition("?")[0]
    return path.endswith(SUFFIX) or "/" in path or "\\" in path or (Path(path) / DESCRIPTION_FILE).is_file()


def declare(reference: str, normalisation: str | None) -> str:
    """The reference of a path with an absolute path, and with the normalisation that was declared for it.

    Raises:
        UsageError: another mode than those of `NORMALISATIONS`.
    """
    path, mark, written = reference.partition("?")
    absolute = str(Path(path).expanduser().resolve())
    if mark:
        return f"{absolute}?{written}"
    if normalisation is None or not path.endswith(SUFFIX):
        return absolute
    return f"{absolute}{QUERY}{_checked_mode(normalisation)}"


def open_saved(reference: str) -> Backbone:
    """The record of a network in a file; Keras is not imported.

    Args:
        reference: the path of a `.keras` file, a model folder or a run directory; a plain file with
            `?normalisation=MODE`, since nobody can see it from the network.

    Raises:
        UsageError: there is no such file, it is no such model, or its normalisation is not declared.
    """
    source = _find(reference)
    stat = source.path.stat()
    return _open(reference, source.path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _open(reference: str, path: Path, _changed: int, _bytes: int) -> Backbone:
    source = _find(reference)
    sha256 = _sha256(path)
    recorded = source.description.get("model", {}).get("sha256")
    if recorded is not None and recorded != sha256:
        raise UsageError(
            f"A delivered model has the sha256 that its {DESCRIPTION_FILE} records; {path} has another. It was changed "
            "or damaged; copy the whole folder again from where it was made."
        )
    size, is_static = _image_size(path)
    weights = _weights(source, sha256)
    return Backbone(
        name=reference,
        build=partial(_build, source),
        image_size=size,
        min_image_size=size if is_static else MIN_IMAGE_SIZE,
        parameters=None,
        weights=weights,
        imagenet_top1=None,
        reference="",
        available=path.is_file,
        resizable=not is_static,
        provenance=_provenance(source, weights),
    )


def _find(reference: str) -> _Source:
    written, mark, _ = reference.partition("?")
    mode = reference.partition(QUERY)[2] if mark else None
    path = Path(written).expanduser()
    folder = next((one for one in (path, path / "model", path.parent) if (one / DESCRIPTION_FILE).is_file()), None)
    if folder is not None and (path.is_dir() or path == folder / f"model{SUFFIX}"):
        description = _read_json((folder / DESCRIPTION_FILE).read_bytes(), folder / DESCRIPTION_FILE)
        return _Source(folder / f"model{SUFFIX}", "inside" if mode is None else _checked_mode(mode), description)
    if not path.is_file() or path.suffix != SUFFIX:
        raise UsageError(
            f"A network of your own is a {SUFFIX} file, a model folder or a run directory; {path} is none. "
            "Check the path; of other formats, save the model with model.save('my-network.keras')."
        )
    if mode is None:
        raise UsageError(
            f"What {path.name} expects must be declared: autotl gives RGB 0..255. Add --normalisation MODE, one of "
            f"{', '.join(NORMALISATIONS)} (inside: the network does it itself; unit: 0..1; symmetric: -1..1)."
        )
    return _Source(path, _checked_mode(mode), {})


def _checked_mode(mode: str) -> str:
    if mode not in NORMALISATIONS:
        raise UsageError(f"A normalisation is one of {', '.join(NORMALISATIONS)}, not {mode!r}.")
    return mode


def _image_size(path: Path) -> tuple[int, bool]:
    """The side of the images that a saved model takes, in pixels, and whether it takes no others."""
    config = _read_config(path)
    kind = config.get("class_name")
    if kind not in ("Functional", "Sequential"):
        raise UsageError(
            f"A network to adapt is a Functional or Sequential Keras model, {path} holds a {kind}. Build it with "
            "keras.Model(inputs, outputs) and save that."
        )
    inputs = [layer for layer in config["config"]["layers"] if layer.get("class_name") == "InputLayer"]
    shapes = [layer["config"].get("batch_shape") for layer in inputs]
    if len(shapes) != 1 or not isinstance(shapes[0], list) or len(shapes[0]) != 4 or shapes[0][3] != 3:
        raise UsageError(f"A network to adapt has one input [B, S, S, 3] of RGB images, {path} has {shapes}.")
    height, width = shapes[0][1:3]
    if height != width:
        raise UsageError(f"autotl adapts networks of square images, {path} takes {height} x {width} pixels.")
    return (NATIVE_SIZE, False) if height is None else (int(height), True)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > MAX_JSON_BYTES:
                raise UsageError(f"The description of a network has at most {MAX_JSON_BYTES} bytes, {path} has more.")
            config = _read_json(archive.read("config.json"), path)
        config["config"]["layers"]
    except (zipfile.BadZipFile, KeyError, OSError, TypeError) as error:
        raise UsageError(f"A {SUFFIX} file holds a Keras model, {path} does not ({error}). Save it again.") from error
    return config


def _read_json(content: bytes, path: Path) -> dict[str, Any]:
    try:
        if len(content) > MAX_JSON_BYTES:
            raise ValueError(f"it has more than {MAX_JSON_BYTES} bytes")
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}. Copy it again from where it was made.") from error
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _weights(source: _Source, sha256: str) -> Weights:
    name = f"{source.label}{SUFFIX}" if not source.description else f"model of {source.label}"
    parent = source.description.get("backbone", {}).get("weights", {})
    if not parent:
        return Weights(name, sha256, UNKNOWN_LICENCE, "unknown")
    data = Path(str(source.description.get("data", {}).get("name", "images"))).name
    return Weights(
        name, sha256, str(parent.get("licence", UNKNOWN_LICENCE)), f"{data}, after {parent.get('dataset', 'unknown')}",
        restriction=parent.get("restriction"),
    )  # fmt: skip


def _provenance(source: _Source, weights: Weights) -> dict[str, Any]:
    """The ancestors, the nearest first, and their licences."""
    description = source.description
    inherited = description.get("licences", [{"of": f"weights of {source.label}", "licence": weights.licence}])
    ancestor = {
        "name": source.label,
        "sha256": weights.sha256,
        "backbone": description.get("backbone", {}).get("name"),
        "data_fingerprint": description.get("data", {}).get("fingerprint"),
        "licences": inherited,
    }
    return {
        "label": source.label,
        "ancestors": [ancestor, *description.get("ancestors", [])],
        "licences": inherited,
        "plugins": description.get("plugins", []),
    }


def _build(source: _Source, image_size: int, weights: str) -> Any:
    """RGB 0..255 `[B, S, S, 3]` to features: the saved graph without its head, behind the declared normalisation."""
    check_weights(weights)
    size, is_static = _image_size(source.path)
    if is_static and image_size != size:
        raise UsageError(f"{source.label} takes images of {size} pixels and no others, {image_size} was asked for.")
    check_image_size(source.label, image_size, MIN_IMAGE_SIZE if not is_static else size)
    import keras

    from autotl.backbones.cuts import feature_output
    from autotl.backbones.graph import calls, flatten, run
    from autotl.entry_points import import_layers

    import_layers(source.description.get("plugins", []))
    try:
        model = keras.saving.load_model(source.path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a damaged or foreign file makes Keras raise
        raise PluginError(
            f"A network must load in Keras's safe mode, {source.path} does not: {error}. Save it without Lambda "
            "layers, and with layers of your own registered by an installed plugin."
        ) from error
    if weights == RANDOM:
        model = keras.models.clone_model(model)
    elif weights != PRETRAINED:
        model.load_weights(weights)
    model.trainable = True  # what was frozen when it was saved is not frozen for ever
    graph = flatten(model)
    features = feature_output(graph, source.description.get("backbone", {}).get("output"))
    whole = keras.Model(graph.inputs[0], features)
    image = keras.Input((image_size, image_size, 3), name="image")
    seen = NORMALISATIONS[source.normalisation](image)
    return keras.Model(image, run(calls(whole), {id(graph.inputs[0]): seen}, features), name="network")
