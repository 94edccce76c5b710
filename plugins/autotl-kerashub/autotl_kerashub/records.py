"""From presets to the records that autotl lists, and their `build`. Only that imports KerasHub."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from autotl.backbones.contract import PRETRAINED, RANDOM, Backbone, Weights, check_weights, load_weights
from autotl.errors import PluginError
from autotl_kerashub import folders
from autotl_kerashub.table import Preset, presets


@cache
def record(preset: str) -> Backbone:
    """The record of a preset, by its name in KerasHub.

    Raises:
        KeyError: there is none of that name in the image families.
    """
    return _record(presets()[preset])


def _record(preset: Preset) -> Backbone:
    download: Callable[[], Any] = partial(_fetch, preset)
    return Backbone(
        name=preset.name,
        build=partial(_build, preset),
        image_size=preset.image_size,
        min_image_size=preset.min_image_size,
        parameters=preset.parameters,
        weights=Weights(
            source=preset.handle.replace(folders.KAGGLE, "https://www.kaggle.com/models/"),
            sha256=None,  # Kaggle publishes none
            licence=preset.licence,
            dataset=preset.dataset,
            restriction=preset.restriction,
        ),
        imagenet_top1=None,  # KerasHub publishes none
        reference=preset.reference,
        available=partial(_is_here, preset),
        fetch=download,
        resizable=preset.resizable,
        size_multiple=preset.size_multiple,
    )


def _is_here(preset: Preset) -> bool:
    return not preset.is_misdirected and folders.is_here(preset.handle)


def _fetch(preset: Preset) -> Path:
    """Put the preset into kagglehub's cache and return its folder."""
    if preset.is_misdirected:
        raise PluginError(
            f"KerasHub 0.32 has no weights for {preset.preset}: it names the archive of another network for it, "
            f"{preset.handle}. Choose another backbone, or install a version of KerasHub that names its own."
        )
    return folders.folder_of(preset.handle) if _is_here(preset) else folders.fetch(preset.handle, preset.name)


def _build(preset: Preset, image_size: int, weights: str) -> Any:
    record(preset.preset).resolve_size(image_size)
    check_weights(weights)
    if weights == PRETRAINED:
        return _load(preset, _fetch(preset), image_size, PRETRAINED)
    model = _construct(preset, image_size)
    load_weights(model, weights, lambda: None)
    return model


def _construct(preset: Preset, image_size: int) -> Any:
    """The network with random weights."""
    if preset.architecture is not None:
        from autotl_kerashub.loading import construct

        return construct(preset, image_size)
    if _is_here(preset):
        return _load(preset, folders.folder_of(preset.handle), image_size, RANDOM)
    raise PluginError(
        f"The architecture of {preset.name} is in its preset, which is not on this machine: KerasHub's package does "
        f"not have it, and no published source confirms it. Run `autotl backbones fetch {preset.name}`."
    )


def _load(preset: Preset, folder: Path, image_size: int, weights: str) -> Any:
    from autotl_kerashub.loading import left_out_arguments, load_folder

    left_out = left_out_arguments(preset)
    model = load_folder(folder, preset.name, image_size, preset.normalisation, preset.family, weights, left_out)
    if preset.parameters is not None and model.count_params() != preset.parameters:
        raise PluginError(
            f"{preset.name} must have {preset.parameters} weights, the preset in {folder} has {model.count_params()}. "
            "Delete that folder and fetch it anew; KerasHub may also name the wrong archive for it."
        )
    return model
