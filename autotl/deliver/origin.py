"""The images that a model was made of, as far as the run that its folder lies in still has their manifest."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from autotl.data.manifest import Manifest
from autotl.deliver.artefact import Artefact
from autotl.errors import DataError

_LEVELS_ABOVE = 3  # RUN/model, RUN/export/onnx-float32, and RUN/trials/0007/model


def manifest_of_run(artefact: Artefact) -> Manifest | None:
    """The manifest of the images that a model was made of; None where its folder lies in no such run."""
    return next((found for found in _manifests_above(artefact.folder) if is_data_of(found, artefact)), None)


def is_data_of(manifest: Manifest, artefact: Artefact) -> bool:
    """Whether a manifest is of the images that a model was made of, in whatever split."""
    return manifest.fingerprint == artefact.data.get("fingerprint")


def fitted_images(artefact: Artefact) -> frozenset[str] | None:
    """The sha256 of each file that a model was fitted to; None where that is not known.

    The last fit is to training and validation images, under `--cv-test` (whose split is no other's) to all.
    """
    manifest = manifest_of_run(artefact)
    if manifest is None:
        return None
    is_split = manifest.split_fingerprint == artefact.data.get("split_fingerprint")
    rows = manifest.rows("train", "val") if is_split else range(len(manifest.samples))
    return frozenset(manifest.samples[row].sha256 for row in rows)


def _manifests_above(folder: Path) -> Iterator[Manifest]:
    for parent in folder.resolve().parents[:_LEVELS_ABOVE]:
        with suppress(DataError):  # it is not there, or somebody else's file of that name
            yield Manifest.read(parent / "manifest.csv")
