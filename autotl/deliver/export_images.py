"""The images that an export needs: some to compare models on, some to calibrate int8 with; laid down as files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autotl.data.arrays import release_pages
from autotl.data.check import check_dataset
from autotl.data.images import open_images
from autotl.data.manifest import Manifest
from autotl.data.samples import resolve_dataset
from autotl.data.store import Cache
from autotl.deliver.artefact import Artefact
from autotl.deliver.evaluate import class_indices
from autotl.deliver.origin import is_data_of, manifest_of_run
from autotl.deliver.parity import choose_balanced, synthetic_images
from autotl.errors import DataError, UsageError

PARITY_IMAGES = 64
CALIBRATION_IMAGES = 200
_CHUNK_ROWS = 256


@dataclass(frozen=True)
class ExportImages:
    """Paths of `.npy` files with images uint8 `[n, S, S, 3]`, for processes that know nothing of autotl's stores."""

    chosen: Path | None
    """Real ones of the validation split, then a black, a white and a noise one."""
    chosen_count: int
    """How many of them are real."""
    validation: Path | None
    labels: NDArray[np.int64]
    """True classes of the validation split, as the model counts them, `[v]`."""
    calibration: Path | None


NO_IMAGES = ExportImages(None, 0, None, np.zeros(0, dtype=np.int64), None)


def gather_images(
    artefact: Artefact, dataset: str | None, cache: Cache, folder: Path, *, verify: bool, calibrate: bool
) -> ExportImages:
    """Finds a model's data, decodes them as in the search (or takes them from the cache), and writes what is needed.

    Args:
        artefact: an opened model folder.
        dataset: whose images to take; by default those of the search, from its run or from where they lay.
        folder: where to write.
        verify: whether models are to be compared.
        calibrate: whether int8 is to be written.

    Raises:
        DataError: the images cannot be used, or are not where they were.
        UsageError: nobody knows where they are.
    """
    if not verify and not calibrate:
        return NO_IMAGES
    manifest = _find_manifest(artefact, dataset, cache)
    images = open_images(manifest, artefact.image_size, cache, resize=artefact.resize)
    seed = artefact.data.get("seed", 0)
    classes = manifest.labels()
    calibration = None
    if calibrate:
        rows = _rows(manifest, "train")
        chosen = rows[choose_balanced(classes[rows], CALIBRATION_IMAGES, seed)]
        calibration = _write_rows(images, chosen, folder / "calibration.npy")
    if not verify:
        return ExportImages(None, 0, None, NO_IMAGES.labels, calibration)
    rows = _rows(manifest, "val")
    labels = class_indices(manifest.classes, artefact.class_names)[classes[rows]]
    some = images[rows[choose_balanced(labels, PARITY_IMAGES, seed)]]
    np.save(folder / "chosen.npy", np.concatenate([some, synthetic_images(artefact.image_size, seed)]))
    validation = _write_rows(images, rows, folder / "validation.npy")
    return ExportImages(folder / "chosen.npy", len(some), validation, labels, calibration)


def _find_manifest(artefact: Artefact, dataset: str | None, cache: Cache) -> Manifest:
    if dataset is not None:
        return _check(artefact, dataset, cache)
    recorded = manifest_of_run(artefact)
    if recorded is not None:
        return recorded
    name = artefact.data.get("name")
    if isinstance(name, str) and _is_here(name, cache):
        manifest = _check(artefact, name, cache)
        if is_data_of(manifest, artefact):
            return manifest
        raise DataError(
            f"A model is compared on the images that it was made of; those in {name} have changed since. Give other "
            "labelled images with --data, or compare nothing with --no-verify (int8 needs images in any case)."
        )
    raise UsageError(
        f"Checking a model and calibrating int8 take labelled images; those that {artefact.folder} was made of "
        f"({name}) are not here. Give some with --data DATASET, or leave the check out with --no-verify."
    )


def _check(artefact: Artefact, dataset: str, cache: Cache) -> Manifest:
    seed = artefact.data.get("seed", 0)
    sizes = (artefact.image_size,)
    return check_dataset(dataset, seed=seed, image_sizes=sizes, resize=artefact.resize, cache=cache).manifest


def _is_here(name: str, cache: Cache) -> bool:
    """Whether a data set is found by the name that a model's description has for it, which may be any text."""
    try:
        resolve_dataset(name, cache)
    except (DataError, OSError, ValueError):
        return False
    return True


def _rows(manifest: Manifest, split: str) -> NDArray[np.int64]:
    rows = manifest.rows(split)
    if not len(rows):
        raise DataError(f"The split {split!r} of {manifest.root} holds no images. Give other data with --data.")
    return rows


def _write_rows(images: NDArray[np.uint8], rows: NDArray[np.int64], path: Path) -> Path:
    """Copies rows of a mapped array into a file of their own; memory holds a chunk."""
    written = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(rows), *images.shape[1:]))
    for start in range(0, len(rows), _CHUNK_ROWS):
        written[start : start + _CHUNK_ROWS] = images[rows[start : start + _CHUNK_ROWS]]
        release_pages(images)
    written.flush()
    return path
