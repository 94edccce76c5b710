"""`--backbone kerashub:REFERENCE`: presets in folders of your own, and on Kaggle and Hugging Face."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from autotl.backbones.contract import PRETRAINED, RANDOM, Backbone, Weights, check_weights, load_weights
from autotl.errors import PluginError, UsageError
from autotl_kerashub import folders
from autotl_kerashub.configs import (
    arguments_of_config,
    check_config,
    family_of_config,
    image_size_of,
    licence_of,
)
from autotl_kerashub.families import NORMALISATIONS, Family, Sizes, image_sizes
from autotl_kerashub.table import preset_of_handle

SOURCE = "kerashub"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Source:
    """An opened preset: where it is, and what its files said."""

    name: str
    place: str
    """A handle, or an absolute path: workers may run elsewhere."""
    family: Family
    image_size: int
    sizes: Sizes
    weights: Weights

    @property
    def is_folder(self) -> bool:
        return not folders.is_handle(self.place)


def open_preset(reference: str) -> Backbone:
    """The record of a preset; its files are read, KerasHub is not imported.

    Args:
        reference: a folder that `backbone.save_to_preset(FOLDER)` made, or a handle: `kaggle://OWNER/MODEL/keras/NAME`,
            `hf://OWNER/MODEL`. Of a handle that is not on this machine, the configuration is downloaded.

    Raises:
        UsageError: there is no such folder.
        PluginError: it is no image backbone of KerasHub, or the server cannot be reached.
    """
    name = f"{SOURCE}:{reference}"
    folder = _folder(reference, name)
    config = folders.read_json(folder / folders.CONFIG)
    check_config(config, folder)
    family = family_of_config(config)
    assert family is not None  # checked above
    image_size = image_size_of(config, folder)
    sizes = image_sizes(family, arguments_of_config(config), image_size)
    if image_size % sizes.multiple or image_size < sizes.minimum:
        sizes = Sizes(False, 1, image_size)  # its own resolution has worked, others are not known to
    place = reference if folders.is_handle(reference) else str(folder)
    return _record(Source(name, place, family, image_size, sizes, _weights(reference, folder, family)))


def _record(source: Source) -> Backbone:
    download: Callable[[], Any] | None = None if source.is_folder else partial(folders.fetch, source.place, source.name)
    return Backbone(
        name=source.name,
        build=partial(_build, source),
        image_size=source.image_size,
        min_image_size=source.sizes.minimum,
        parameters=None,
        weights=source.weights,
        imagenet_top1=None,
        reference=source.family.reference,
        available=partial(folders.is_here, source.place),
        fetch=download,
        resizable=source.sizes.resizable,
        size_multiple=source.sizes.multiple,
    )


def _folder(reference: str, name: str) -> Path:
    """Where the files lie that say what a preset is; of a handle, they are downloaded if need be."""
    if folders.is_handle(reference):
        folders.check_handle(reference)
        folder = folders.folder_of(reference)
        if (folder / folders.CONFIG).is_file():
            return folder
        return folders.fetch(reference, name, only=[folders.CONFIG])
    if "://" in reference:
        raise UsageError(f"A preset is a folder, or begins with kaggle:// or hf://, unlike {reference!r}.")
    folder = folders.folder_of(reference)
    if not folder.is_dir():
        raise UsageError(
            f"There is no folder {reference} in {Path.cwd()}. Give one that backbone.save_to_preset(FOLDER) made, or a "
            "handle that begins with kaggle:// or hf://."
        )
    return folder


def _weights(reference: str, folder: Path, family: Family) -> Weights:
    """What is known of the weights. A licence that restricts a family is assumed unless the folder states another."""
    sha256 = None if folders.is_handle(reference) else _digest(folder)
    known = preset_of_handle(reference)
    if known is not None:
        return Weights(reference, sha256, known.licence, known.dataset, known.restriction)
    stated = licence_of(folder)
    if stated is None and family.restriction is not None:
        return Weights(reference, sha256, family.licence, UNKNOWN, family.restriction)
    return Weights(reference, sha256, UNKNOWN if stated is None else stated, UNKNOWN)


def _digest(folder: Path) -> str | None:
    """SHA-256 of the files with the weights, one after the other; `None` where there are none."""
    files = folders.weights_files(folder)
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest() if files else None


def _build(source: Source, image_size: int, weights: str) -> Any:
    _record(source).resolve_size(image_size)
    check_weights(weights)
    folder = _obtain(source) if weights == PRETRAINED else folders.folder_of(source.place)
    from autotl_kerashub.loading import left_out_arguments, load_folder

    known = preset_of_handle(source.place)
    normalisation = NORMALISATIONS[source.family.normalisation] if known is None else known.normalisation
    kind = PRETRAINED if weights == PRETRAINED else RANDOM
    left_out = None if known is None else left_out_arguments(known)
    model = load_folder(folder, source.name, image_size, normalisation, source.family, kind, left_out)
    if weights != PRETRAINED:
        load_weights(model, weights, lambda: None)
    return model


def _obtain(source: Source) -> Path:
    """The folder with the weights, which are the ones that were there when it was opened."""
    folder = folders.folder_of(source.place)
    if not source.is_folder:
        return folder if folders.is_here(source.place) else folders.fetch(source.place, source.name)
    found = _digest(folder)
    if found is None:
        raise PluginError(
            f"A preset needs its weights, there is neither {folders.WEIGHTS} nor {folders.SHARDS} in {folder}. "
            "Save it with backbone.save_to_preset(FOLDER)."
        )
    if found != source.weights.sha256:
        raise PluginError(
            f"The weights of {source.name} had the sha256 {source.weights.sha256} when it was opened, they now have "
            f"{found}. Begin anew, and leave the folder as it is during a search."
        )
    return folder
