"""Which arrays are a data set: their names, shapes and types, and what their numbers and labels mean."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from autotl.data.decode import MAX_PIXELS
from autotl.data.png import CHANNELS
from autotl.errors import DataError

SPLITS = {"x": None, "x_train": "train", "x_val": "val", "x_test": "test"}
"""Arrays of images, and the split that each of them is."""
CLASS_NAMES = "class_names"
MAX_IMAGES = 2_000_000
"""Of one array: as many as a zip may hold."""
LABEL_BYTES = 4 * 256
"""Of one label; numpy gives all texts of an array the room of the longest one."""
WHITE = 255
LEAST_WHITE = 128
"""Floats that go above 1 mean 0..255 only where some pixel is at least this bright: otherwise nobody can tell."""


class Form(NamedTuple):
    """What is known of an array before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype


def labels_name(images_name: str) -> str:
    """The array of labels that belongs to an array of images: `y_train` to `x_train`."""
    return images_name.replace("x", "y", 1)


def find_parts(forms: Mapping[str, Form]) -> tuple[str, ...]:
    """The arrays of images, in order: `x`, or `x_train` and perhaps `x_val` and `x_test`.

    Raises:
        DataError: there are none or no labels to them, or their shapes or types are others.
    """
    parts = tuple(name for name in SPLITS if name in forms)
    if parts != ("x",) and ("x" in parts or "x_train" not in parts):
        raise DataError(
            "Arrays of a data set are called x and y, or x_train and y_train, to which x_val, y_val, x_test, y_test "
            f"may come; these are called {_listed(sorted(forms))}. Save them under those names."
        )
    missing = [name for name in map(labels_name, parts) if name not in forms]
    if missing:
        raise DataError(f"Every array of images has one of labels; there is no {', '.join(missing)}. Save it too.")
    for name in parts:
        _check_images(name, forms[name])
        _check_labels(labels_name(name), forms[labels_name(name)], name, forms[name].shape[0])
    if CLASS_NAMES in forms:
        _check_names(forms[CLASS_NAMES])
    return parts


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Height, width and channels of an image of an array `[N, H, W]` or `[N, H, W, C]`."""
    return (shape[1], shape[2], shape[3] if len(shape) == 4 else 1)


def level_scale(name: str, low: float, high: float, dtype: np.dtype) -> float:
    """What the numbers of an array are multiplied by to make them 0..255.

    Whole numbers are levels as they stand. Floats are 0..1, or 0..255 where one of them is at least `LEAST_WHITE`.

    Args:
        low: the least number of the array, NaN where it has one.
        high: the greatest.

    Raises:
        DataError: they are neither.
    """
    if dtype.kind in "iu" and low >= 0 and high <= WHITE:
        return 1.0
    if dtype.kind == "f" and low >= 0 and high <= 1:
        return float(WHITE)
    if dtype.kind == "f" and low >= 0 and LEAST_WHITE <= high <= WHITE:
        return 1.0
    raise DataError(
        f"Pixels are 0..255 (whole numbers or floats) or 0..1 (floats); those of {name}, {dtype}, go from {low:g} to "
        f"{high:g}, which is neither for sure. Scale them so that 0 is black and 255 white, and save them as uint8."
    )


def read_labels(name: str, values: np.ndarray, class_names: Sequence[str] | None) -> list[str]:
    """The labels as text: numbers are looked up among the names, or stand for themselves.

    Raises:
        DataError: a label is empty or no text, or there is no name for a number.
    """
    flat = values.reshape(-1)
    distinct, places = np.unique(flat, return_inverse=True)
    if flat.dtype.kind in "SU":
        if class_names is not None:
            raise DataError(f"{CLASS_NAMES} names the classes of numbers; {name} holds texts. Leave {CLASS_NAMES} out.")
        texts = read_names(name, distinct)
    else:
        texts = [str(int(value)) for value in distinct]
    if class_names is not None:
        outside = [text for text in texts if not 0 <= int(text) < len(class_names)]
        if outside:
            raise DataError(
                f"A label is the place of its class among the {len(class_names)} {CLASS_NAMES}, counted from 0; {name} "
                f"has {_listed(outside)}. Name all classes."
            )
        texts = [class_names[int(text)] for text in texts]
    return [texts[place] for place in places.reshape(-1).tolist()]


def read_names(name: str, values: np.ndarray) -> list[str]:
    """Texts of an array, spaces tidied.

    Raises:
        DataError: one is empty, or holds what is no text.
    """
    names = [" ".join(_decoded(name, value).split()) for value in values.tolist()]
    for text in names:
        if not text or any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            raise DataError(f"The name of a class is a line of text; {name} holds {text!r}. Rename that class.")
    return names


def _decoded(name: str, value: str | bytes) -> str:
    try:
        return value if isinstance(value, str) else value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"Texts are UTF-8; {name} holds {value!r} ({error}). Save them as str.") from error


def _check_images(name: str, form: Form) -> None:
    _check_no_objects(name, form)
    shape = form.shape
    if len(shape) not in (3, 4) or min(shape) < 1 or image_shape(shape)[2] not in CHANNELS:
        raise DataError(
            f"Images are an array [N, H, W], or [N, H, W, C] with C one of 1, 3, 4; {name} is {list(shape)}. Reshape "
            "it; channels come last."
        )
    if shape[1] * shape[2] > MAX_PIXELS or shape[0] > MAX_IMAGES:
        raise DataError(
            f"An array holds at most {MAX_IMAGES} images of at most {MAX_PIXELS} pixels; {name} is {list(shape)}. Save "
            "fewer or smaller ones."
        )
    if form.dtype.kind not in "iuf":
        raise DataError(f"Pixels are numbers; those of {name} are {form.dtype}. Save them as uint8.")


def _check_labels(name: str, form: Form, images_name: str, count: int) -> None:
    _check_no_objects(name, form)
    if form.shape not in ((count,), (count, 1)):
        raise DataError(
            f"Labels are an array [N] or [N, 1], one for each image; {images_name} has {count} images and {name} is "
            f"{list(form.shape)}. Check that both belong together; of one-hot labels, save the argmax."
        )
    if form.dtype.kind not in "iubSU" or not 0 < form.dtype.itemsize <= LABEL_BYTES:
        raise DataError(
            f"Labels are whole numbers or short texts; those of {name} are {form.dtype}. Save them with astype(int), "
            "or as texts."
        )


def _check_names(form: Form) -> None:
    _check_no_objects(CLASS_NAMES, form)
    if len(form.shape) != 1 or form.dtype.kind not in "SU" or not 0 < form.dtype.itemsize <= LABEL_BYTES:
        raise DataError(
            f"{CLASS_NAMES} is a list of short texts; it is {form.dtype} {list(form.shape)}. Save it as such."
        )


def _check_no_objects(name: str, form: Form) -> None:
    if form.dtype.hasobject:
        raise DataError(
            f"Arrays hold numbers or texts; {name} holds Python objects, which would have to be unpickled, and that "
            f"can run code. Save {name}.astype(str), or images of one size as one uint8 array."
        )


def _listed(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "nothing"
