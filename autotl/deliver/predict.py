"""Predictions of a delivered model, in constant memory, through the same decoding as training."""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.data.decode import ImageError
from autotl.data.images import read_images
from autotl.data.source import open_source
from autotl.deliver.artefact import load_model, open_artefact
from autotl.errors import UsageError

BATCH_SIZE = 32


def predict_batches(model: Any, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
    """Probabilities of batches of images.

    The model only ever sees batches of one size, the last one filled up with black images. So one graph is compiled,
    and an image gets the same probabilities whatever stands beside it and however many images there are.

    Args:
        model: from uint8 `[B, S, S, 3]` to probabilities `[B, C]`.
        batches: uint8 `[b, S, S, 3]`, any `b`.

    Yields:
        float32 `[b, C]` for each batch.
    """
    for images in batches:
        parts = [
            _predict_padded(model, images[start : start + BATCH_SIZE]) for start in range(0, len(images), BATCH_SIZE)
        ]
        if parts:
            yield np.concatenate(parts)


def predict_paths(
    model_dir: Path | str,
    paths: Iterable[Path | str],
    top_k: int = 1,
    on_skip: Callable[[str, str], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Predicts files, folders (recursively, sorted) and zips, one after the other.

    Args:
        model_dir: a model folder or a run directory.
        top_k: how many classes to name for each image.
        on_skip: called with (path, reason) for each file that is no readable image.

    Yields:
        `{"path", "label", "probability", "top": [{"label", "probability"}, ...]}`, most probable first.

    Raises:
        UsageError: a path does not exist, or `top_k` is below 1. Raised by the call, before anything is loaded.
        AutotlError: the model folder is damaged.
    """
    sources = [Path(path) for path in paths]
    missing = [str(path) for path in sources if not path.exists()]
    if missing:
        raise UsageError(
            f"Every path to predict must exist; these do not: {', '.join(missing[:5])}. Check the spelling."
        )
    if top_k < 1:
        raise UsageError(f"At least one class is named for each image; top_k is {top_k}. Give 1 or more.")
    artefact = open_artefact(model_dir)

    def predictions() -> Iterator[dict[str, Any]]:
        model = load_model(artefact)
        for names, images in _read(sources, artefact.image_size, on_skip):
            for probabilities in predict_batches(model, [images]):
                for name, row in zip(names, probabilities, strict=True):
                    yield {"path": name, **_named(row, artefact.class_names, top_k)}

    return predictions()


def _read(
    paths: list[Path], image_size: int, on_skip: Callable[[str, str], None] | None
) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
    """Batches of images with their paths; files that stand next to each other share batches."""

    def skip(name: str, error: ImageError) -> None:
        if on_skip is not None:
            on_skip(name, str(error))

    for is_container, group in groupby(paths, key=lambda path: path.is_dir() or zipfile.is_zipfile(path)):
        if not is_container:
            yield from read_images(list(group), image_size, BATCH_SIZE, on_skip=skip)
            continue
        for path in group:
            yield from _read_container(path, image_size, skip)


def _read_container(
    path: Path, image_size: int, skip: Callable[[str, ImageError], None]
) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
    """A folder or a zip; what is in it is named by its whole path."""

    def inside(name: str) -> str:
        return str(path / name)

    with open_source(path) as source:
        for name, reason in source.refused():
            skip(inside(name), ImageError("unsupported", reason))
        batches = read_images(source, image_size, BATCH_SIZE, on_skip=lambda name, error: skip(inside(name), error))
        for names, images in batches:
            yield [inside(name) for name in names], images


def _predict_padded(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    padding = BATCH_SIZE - len(images)
    if padding:
        images = np.concatenate([images, np.zeros((padding, *images.shape[1:]), dtype=np.uint8)])
    probabilities = model.predict_on_batch(np.ascontiguousarray(images))
    return np.asarray(probabilities, dtype=np.float32)[: BATCH_SIZE - padding]


def _named(row: NDArray[np.float32], class_names: tuple[str, ...], top_k: int) -> dict[str, Any]:
    order = np.argsort(-row, kind="stable")[:top_k]
    top = [{"label": class_names[index], "probability": float(row[index])} for index in order]
    return {**top[0], "top": top}
