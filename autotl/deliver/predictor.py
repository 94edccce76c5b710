"""One function for a model of any format: from images to probabilities."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.deliver.artefact import KERAS, Artefact, load_model
from autotl.errors import AutotlError

BATCH_SIZE = 32
Predictor = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From uint8 `[b, S, S, 3]`, any b >= 1, to float32 `[b, C]`."""


def open_predictor(artefact: Artefact) -> Predictor:
    """Loads the model of an opened artefact with the runtime of its format.

    Raises:
        AutotlError: the runtime is not installed, or it cannot load the model. What is returned raises it when the
            model fails, or gives something else than probabilities of the artefact's classes.
    """
    run = keras_predictor(load_model(artefact)) if artefact.format == KERAS else _open_runtime(artefact)
    classes = len(artefact.class_names)

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            found = np.asarray(run(images), dtype=np.float32)
        except AutotlError:
            raise
        except Exception as error:
            raise _unusable(artefact, error) from error
        if found.shape != (len(images), classes):
            raise AutotlError(
                f"A model of {classes} classes gives [{len(images)}, {classes}] for {len(images)} images; "
                f"{artefact.model_path} gives {list(found.shape)}. Copy the whole folder again."
            )
        return found

    return predict


def keras_predictor(model: Any) -> Predictor:
    """A Keras model that only ever sees batches of one size, the last one filled up with black images.

    So one graph is compiled, and an image gets the same probabilities whatever stands beside it and however many
    images there are.

    Args:
        model: from uint8 `[B, S, S, 3]` to probabilities `[B, C]`.
    """

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        starts = range(0, len(images), BATCH_SIZE)
        return np.concatenate([_predict_padded(model, images[start : start + BATCH_SIZE]) for start in starts])

    return predict


def _predict_padded(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    padding = BATCH_SIZE - len(images)
    if padding:
        images = np.concatenate([images, np.zeros((padding, *images.shape[1:]), dtype=np.uint8)])
    probabilities = model.predict_on_batch(np.ascontiguousarray(images))
    return np.asarray(probabilities, dtype=np.float32)[: BATCH_SIZE - padding]


def _open_runtime(artefact: Artefact) -> Predictor:
    from autotl.exporters.registry import load_exporter, require_runtime

    exporter = load_exporter(artefact.format)
    require_runtime(exporter)
    try:
        return import_module(exporter.runtime).load(artefact.folder)
    except Exception as error:
        raise _unusable(artefact, error) from error


def _unusable(artefact: Artefact, error: Exception) -> AutotlError:
    return AutotlError(
        f"A model must run with the runtime of its format; {artefact.model_path} does not: {type(error).__name__}: "
        f"{error}. Copy the whole folder again, or export the model anew with the versions that are installed here."
    )
