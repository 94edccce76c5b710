"""Arrays from Python as a data set: written once into the cache, under the digest of what is in them."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.array_rules import Form, find_parts
from autotl.data.npz import NpzSource
from autotl.data.store import GIVEN, Cache, key_of
from autotl.errors import DataError

FILE = "arrays.npz"


def keep_given(dataset: Any, cache: Cache) -> Path:
    """The `.npz` file of `(x, y)`, of `((x_train, y_train), (x_test, y_test))`, or of arrays by name.

    Equal arrays are one file: a search that is begun or gone on with again finds it.

    Raises:
        DataError: they are no data set; nothing is kept then.
    """
    arrays = {name: _as_array(name, values) for name, values in _named(dataset).items()}
    find_parts({name: Form(values.shape, values.dtype) for name, values in arrays.items()})
    return keep_arrays(arrays, _digest(arrays), cache)


def keep_arrays(arrays: Mapping[str, Any], key: str, cache: Cache) -> Path:
    """Write arrays, named as in an `.npz` file, under a key of the cache, unless they are there.

    Raises:
        DataError: they are no data set.
    """
    found = find_kept(key, cache)
    if found is not None:
        return found
    with cache.building(GIVEN) as folder:
        with zipfile.ZipFile(folder / FILE, "w") as archive:  # as numpy.savez does, whose own options are names too
            for name, values in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, _as_array(name, values), allow_pickle=False)
        with NpzSource(folder / FILE) as source:
            _ = source.entries  # its rules are the same for all files; what breaks them is not kept
        return cache.publish(GIVEN, key, folder) / FILE


def find_kept(key: str, cache: Cache) -> Path | None:
    """What was kept under a key."""
    folder = cache.find(GIVEN, key)
    return None if folder is None else folder / FILE


def _named(dataset: Any) -> Mapping[str, Any]:
    if isinstance(dataset, Mapping):
        return dataset
    if not isinstance(dataset, tuple) or len(dataset) != 2:
        raise DataError(
            "A data set is a path, a name such as sample:clipart, or a pair of images and labels, (x, y) or ((x_train, "
            f"y_train), (x_test, y_test)); given was a {type(dataset).__name__}. Give one of these."
        )
    if all(isinstance(part, tuple) and len(part) == 2 for part in dataset):
        (x_train, y_train), (x_test, y_test) = dataset
        return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    return {"x": dataset[0], "y": dataset[1]}


def _as_array(name: str, values: Any) -> np.ndarray:
    """An array in C's order. Texts as pandas has them, in an array of objects, become texts."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise DataError(f"Images of one data set have one size; {name} is no array ({error}). Resize them.") from error
    if array.dtype.hasobject and all(isinstance(value, str) for value in array.flat):
        array = array.astype(str)
    return np.ascontiguousarray(array).reshape(array.shape)


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digests = {}
    for name, values in sorted(arrays.items()):
        form = json.dumps([list(values.shape), values.dtype.str])
        digest = hashlib.sha256(form.encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
        digests[name] = digest.hexdigest()
    return key_of({"arrays": digests})
