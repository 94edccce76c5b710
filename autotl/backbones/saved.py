"""Your own network as a backbone, without a plugin: a `.keras` file, or a model that autotl delivered.

What is known of it without Keras is read from its files (`keras_file.py`, `delivered.py`). Its head is removed while
building: the backbone ends with the last feature map, or the last tokens.
"""

import hashlib
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from autotl.backbones.contract import RANDOM, Backbone, check_weights, load_weights
from autotl.backbones.delivered import (
    DESCRIPTION_FILE,
    MODEL_FILE,
    Delivered,
    find_delivered,
    provenance,
    read_delivered,
    weights_of,
)
from autotl.backbones.keras_file import read_network
from autotl.backbones.normalisation import NORMALISATIONS
from autotl.errors import PluginError, UsageError
from autotl.references import short_name

SUFFIX = ".keras"
QUERY = "?normalisation="


class _Source(NamedTuple):
    """A model file, and what an `autotl.json` beside it says of it."""

    path: Path
    normalisation: str
    delivered: Delivered | None

    @property
    def label(self) -> str:
        """The name of the file, or of the run or folder that it was delivered in."""
        return short_name(self.path.resolve().as_posix())


def is_saved(reference: str) -> bool:
    """Whether a backbone's name is meant as a path: it has a separator or `.keras` in it, or there is such a folder."""
    path = reference.partition("?")[0]
    return path.endswith(SUFFIX) or "/" in path or "\\" in path or find_delivered(Path(path)) is not None


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
    if not source.path.is_file():
        raise UsageError(f"A model folder holds {MODEL_FILE}, {source.path.parent} does not. Copy the folder again.")
    stat = source.path.stat()
    return _open(reference, source.path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _open(reference: str, path: Path, _changed: int, _bytes: int) -> Backbone:
    source = _find(reference)
    sha256 = _sha256(path)
    if source.delivered is not None and source.delivered.sha256 != sha256:
        raise UsageError(
            f"A delivered model has the sha256 that its {DESCRIPTION_FILE} records; {path} has another. It was changed "
            "or damaged; copy the whole folder again from where it was made."
        )
    network = read_network(path)
    return Backbone(
        name=reference,
        build=partial(_build, source),
        image_size=network.image_size,
        min_image_size=network.min_image_size,
        parameters=None,
        weights=weights_of(source.label, source.delivered, sha256),
        imagenet_top1=None,
        reference="",
        available=path.is_file,
        resizable=network.is_resizable,
        size_multiple=network.size_multiple,
        provenance=provenance(source.label, source.delivered, sha256),
    )


def _find(reference: str) -> _Source:
    written, mark, query = reference.partition("?")
    mode = _checked_mode(_mode_in(query, reference)) if mark else None
    path = Path(written).expanduser()
    folder = find_delivered(path)
    if folder is not None:
        return _Source(folder / MODEL_FILE, "inside" if mode is None else mode, read_delivered(folder))
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
    return _Source(path, mode, None)


def _mode_in(query: str, reference: str) -> str:
    name, _, mode = query.partition("=")
    if f"?{name}=" != QUERY:
        raise UsageError(f"Behind the path of a network comes {QUERY}MODE or nothing, {reference!r} has ?{query}.")
    return mode


def _checked_mode(mode: str) -> str:
    if mode not in NORMALISATIONS:
        raise UsageError(f"A normalisation is one of {', '.join(NORMALISATIONS)}, not {mode!r}.")
    return mode


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build(source: _Source, image_size: int, weights: str) -> Any:
    """RGB 0..255 `[B, S, S, 3]` to features: the saved graph without its head, behind the declared normalisation."""
    check_weights(weights)
    _check_size(source, image_size)
    import keras

    from autotl.backbones.cuts import feature_output
    from autotl.backbones.graph import calls, flatten, run

    model = _load(source)
    if weights == RANDOM:
        model = _redrawn(model)
    graph = flatten(model)
    for layer in graph.layers:
        layer.trainable = True  # what was frozen when it was saved is not frozen for ever
    features = feature_output(graph, None if source.delivered is None else source.delivered.output)
    whole = keras.Model(graph.inputs[0], features)
    image = keras.Input((image_size, image_size, 3), name="image")
    seen = NORMALISATIONS[source.normalisation](image)
    network = keras.Model(image, run(calls(whole), {id(graph.inputs[0]): seen}, features), name="network")
    if weights != RANDOM:
        load_weights(network, weights, lambda: None)  # the pretrained ones are in it
    return network


def _check_size(source: _Source, image_size: int) -> None:
    network = read_network(source.path)
    if not network.is_resizable and image_size != network.image_size:
        raise UsageError(
            f"{source.label} takes images of {network.image_size} pixels and no others, {image_size} was asked for. "
            "Leave image_size out."
        )
    if image_size < network.min_image_size or image_size % network.size_multiple:
        raise UsageError(
            f"{source.label} takes image sizes from {network.min_image_size} pixels that are multiples of "
            f"{network.size_multiple}, {image_size} was asked for. Set image_size to {network.image_size}, say."
        )


def _load(source: _Source) -> Any:
    import keras

    from autotl.entry_points import import_layers

    import_layers([] if source.delivered is None else source.delivered.plugins)
    try:
        return keras.saving.load_model(source.path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a damaged or foreign file makes Keras raise
        raise PluginError(
            f"A network must load in Keras's safe mode, {source.path} does not: {error}. Save it without Lambda "
            "layers, and with layers of your own registered by an installed plugin."
        ) from error


def _redrawn(model: Any) -> Any:
    """The same network with weights of its initialisers; the statistics of its input are no weights."""
    import keras

    drawn = keras.models.clone_model(model)
    for old, new in zip(_layers(model), _layers(drawn), strict=True):
        if isinstance(old, keras.layers.Normalization) and old.weights:
            new.set_weights(old.get_weights())
            new.finalize_state()
    return drawn


def _layers(model: Any) -> list[Any]:
    return [inner for layer in model.layers for inner in (_layers(layer) if hasattr(layer, "layers") else [layer])]
