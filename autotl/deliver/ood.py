"""`ood.npz` beside a delivered model: what tells images that are unlike all that it was made for.

Distances are fitted to training images (`learn/novelty.py`). What distance is usual must be read off images that the
model has not seen, and after the last fit only those of the test split are: the model knows its training and validation
images, which lie nearer. So percentiles are among test images. That is no test of anything: nothing is chosen by it,
no score contains it, and how many test images are above a percentile says nothing about others.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotl.backbones.graph import calls, functional
from autotl.data.arrays import release_pages
from autotl.data.manifest import Manifest
from autotl.data.npz_rows import read_array, read_members
from autotl.deliver.artefact import KERAS, Artefact, load_model
from autotl.deliver.predictor import BATCH_SIZE, Predictor, keras_predictor
from autotl.deliver.trust import sha256_of
from autotl.errors import AutotlError, DataError, PluginError, UsageError
from autotl.learn.novelty import (
    FIT_IMAGES,
    Novelty,
    as_percentiles,
    fit_novelty,
    measure_distances,
    stratified_rows,
    threshold,
)

OOD_FILE = "ood.npz"
METHOD = "mahalanobis"
LAYER = "standardise"
"""The first layer of every head that autotl builds: what goes into it are the features."""
HELD_OUT_IMAGES = 500
UNUSUAL, VERY_UNUSUAL = 95.0, 99.0
_MAX_BYTES = 256 * 2**20
_DAMAGE = (DataError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
_ARRAYS = ("means", "directions", "variances", "remainder", "held_out")


class OodScores(NamedTuple):
    """Of each image of a batch: its distance from the training images, and the percentile of that.

    The percentile is the share of held-out images that are nearer, in 0..100. See `UNUSUAL` and `VERY_UNUSUAL`.
    """

    distances: NDArray[np.float32]
    percentiles: NDArray[np.float64]


OodPredictor = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], OodScores]]
"""From uint8 `[b, S, S, 3]`, any b >= 1, to probabilities float32 `[b, C]` and the scores of the same images."""


def open_ood(artefact: Artefact) -> OodPredictor:
    """Loads a model together with what tells unusual images.

    Raises:
        UsageError: the artefact is of another format than Keras's, or its model has no such score.
        AutotlError: its files are damaged.
    """
    recorded = artefact.description.get("ood")
    if artefact.format != KERAS:
        raise UsageError(
            f"Scores of unusual images need the features inside the model, which {artefact.format} does not give: "
            f"{artefact.folder}. Give the model folder of the run that it was exported from."
        )
    if not isinstance(recorded, Mapping) or recorded.get("file") != OOD_FILE:
        why = recorded.get("reason") if isinstance(recorded, Mapping) else None
        raise UsageError(
            f"Scores of unusual images come with models that were delivered with {OOD_FILE}; {artefact.folder} was "
            f"not{f', since {why}' if why else ''}. Leave --ood out, or search again with this version of autotl."
        )
    novelty, held_out = _read(artefact.folder / OOD_FILE, recorded, len(artefact.class_names))
    model = with_features(load_model(artefact), str(recorded.get("layer")))
    classes, size = len(artefact.class_names), novelty.means.shape[1]
    if model is None or model.output_shape[-1] != classes + size:
        raise _unusable(artefact.folder / OOD_FILE, "it was made for another model")
    run = keras_predictor(model)

    def predict(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], OodScores]:
        found = run(images)
        distances = measure_distances(novelty, found[:, classes:])
        return found[:, :classes], OodScores(distances, as_percentiles(distances, held_out))

    return predict


def write_ood(
    model: Any,
    manifest: Manifest,
    images: np.ndarray,
    path: Path,
    sample: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fits to a sample of the images that a model was fitted to, and writes the file.

    Args:
        model: as delivered, fitted to the training and validation rows of `manifest`.
        images: of the manifest, uint8 `[N, S, S, 3]`, as the model sees them.
        path: of the file.
        sample: rows of the manifest, and the path of a `.npy` with what the head stands on `[n, D]`, where that was
            computed before; None runs the model.

    Returns:
        `ood` of `autotl.json`: {file, sha256, bytes, method, layer, features, images, held_out {split, n}, thresholds
        {"95", "99"}: distances}. Where a model cannot have it: {file: None, reason}, and nothing is written.
    """
    classes = len(manifest.classes)
    fitted, unseen = manifest.rows("train", "val"), manifest.rows("test")
    if sample is None:
        rows = fitted[stratified_rows(manifest.labels()[fitted], FIT_IMAGES)]
    else:
        rows = np.asarray(sample["rows"], np.int64)
    tapped = with_features(model, LAYER)
    if not len(unseen):
        return _without("no image was kept from the model, so nothing says what distance is usual")
    if tapped is None:
        return _without("the model has no head of autotl's, whose features could be compared")
    if len(rows) <= classes:
        return _without("no class has two training images")
    run = keras_predictor(tapped)
    known = _features(run, images, rows, classes) if sample is None else _of_unit_length(np.load(sample["features"]))
    novelty = fit_novelty(known, manifest.labels()[rows], classes)
    unseen = unseen[stratified_rows(manifest.labels()[unseen], HELD_OUT_IMAGES)]
    held_out = np.sort(measure_distances(novelty, _features(run, images, unseen, classes)))
    np.savez(path, held_out=held_out, **novelty._asdict())
    return {
        "file": OOD_FILE,
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "method": METHOD,
        "layer": LAYER,
        "features": novelty.means.shape[1],
        "images": len(rows),
        "held_out": {"split": "test", "n": len(unseen)},
        "thresholds": {f"{level:g}": threshold(held_out, level) for level in (UNUSUAL, VERY_UNUSUAL)},
    }


def with_features(model: Any, layer: str) -> Any | None:
    """A model to its probabilities and, beside them, the features that its heads stand on, each head's of unit length.

    Args:
        model: Functional, to probabilities `[B, C]`.
        layer: name of the heads' first layer.

    Returns:
        A model to float32 `[B, C + D]` that shares all variables, or None where no layer has the name.
    """
    import keras

    features = _inputs_of(functional(model), layer)
    if not features or any(len(tensor.shape) != 2 for tensor in features):
        return None
    units = [keras.layers.UnitNormalization(dtype="float32")(tensor) for tensor in features]
    together = keras.layers.Concatenate(dtype="float32")([model.outputs[0], *units])
    return keras.Model(model.inputs[0], together)


def _inputs_of(graph: Any, layer: str) -> list[Any]:
    """What goes into the layers of a name, also those of nested models, as tensors of the graph."""
    import keras

    found = []
    for node in calls(graph):
        operation = node.operation
        if operation.name == layer:
            found.append(node.input_tensors[0])
        elif isinstance(operation, keras.Model):
            try:
                inner = functional(operation)
            except PluginError:  # somebody's own model, which has no graph
                continue
            for tensor in _inputs_of(inner, layer):
                outside = node.input_tensors[0]
                is_input = tensor is inner.inputs[0]
                found.append(outside if is_input else keras.Model(inner.inputs[0], tensor)(outside))
    return found


def _features(run: Predictor, images: Any, rows: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    parts = []
    for start in range(0, len(rows), BATCH_SIZE):
        parts.append(run(images[rows[start : start + BATCH_SIZE]])[:, classes:])
        release_pages(images)
    return np.concatenate(parts)


def _of_unit_length(features: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, np.finfo(np.float32).tiny)


def _without(reason: str) -> dict[str, Any]:
    return {"file": None, "reason": reason}


def _read(path: Path, recorded: Mapping[str, Any], classes: int) -> tuple[Novelty, NDArray[np.float32]]:
    """The arrays of a file that may come from anywhere: the recorded one, of the right shapes, all of it numbers."""
    if path.is_symlink() or not path.is_file():
        raise _unusable(path, "it is not there, or no regular file")
    if path.stat().st_size > _MAX_BYTES:
        raise _unusable(path, f"it is larger than {_MAX_BYTES} bytes")
    if sha256_of(path) != recorded.get("sha256"):
        raise _unusable(path, "its sha256 is not the recorded one")
    try:
        with zipfile.ZipFile(path) as archive:
            members = read_members(archive)
            if sorted(members) != sorted(_ARRAYS) or sum(m.info.file_size for m in members.values()) > _MAX_BYTES:
                raise ValueError(f"its arrays are {', '.join(sorted(members)[:8])}")
            if any(member.form.dtype.kind != "f" for member in members.values()):
                raise ValueError("its arrays are not all floats")
            arrays = {name: read_array(archive, m).reshape(m.form.shape) for name, m in members.items()}
    except _DAMAGE as error:
        raise _unusable(path, str(error)) from error
    held_out = arrays.pop("held_out")
    novelty = Novelty(**arrays)
    shapes = [array.shape for array in (*novelty, held_out)]
    size, kept = novelty.means.shape[-1] if novelty.means.ndim else 0, novelty.variances.size
    if shapes[:4] != [(classes, size), (kept, size), (kept,), ()] or held_out.ndim != 1 or not size:
        raise _unusable(path, f"its arrays have the shapes {shapes}")
    is_finite = all(np.isfinite(array).all() for array in (*novelty, held_out))
    if not is_finite or (novelty.variances <= 0).any() or novelty.remainder <= 0:
        raise _unusable(path, "its numbers are no distances")
    return novelty, held_out


def _unusable(path: Path, why: str) -> AutotlError:
    return AutotlError(
        f"A model's {OOD_FILE} is the one that was delivered with it; {path} cannot be used: {why}. Copy the whole "
        "folder again, or leave --ood out."
    )
