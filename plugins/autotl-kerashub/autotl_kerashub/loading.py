"""Making KerasHub backbones, from a published architecture or from a preset's folder. This imports KerasHub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotl.backbones.contract import PRETRAINED
from autotl.errors import PluginError
from autotl_kerashub import architectures, folders
from autotl_kerashub.configs import check_config, family_of_config, read_normalisation
from autotl_kerashub.families import Family, Normalisation
from autotl_kerashub.table import Preset


def construct(preset: Preset, image_size: int) -> Any:
    """Build the network of a preset with random weights, from its published architecture."""
    import keras_hub

    from autotl_kerashub.networks import assemble, resized_arguments

    assert preset.architecture is not None
    function, *arguments = preset.architecture
    # SigLIP's class for image and text comes first in its family, the one for images last.
    class_name = preset.family.classes[-1]
    options = {**getattr(architectures, function)(*arguments), **resized_arguments(class_name, image_size)}
    backbone = getattr(keras_hub.models, class_name)(**options)
    return assemble(backbone, image_size, preset.normalisation, preset.name.replace("-", "_"))


def load_folder(
    folder: Path,
    name: str,
    image_size: int,
    normalisation: Normalisation,
    family: Family,
    weights: str = PRETRAINED,
    left_out: Mapping[str, Any] | None = None,
) -> Any:
    """Build the network that lies in a preset's folder.

    Args:
        folder: with the preset's files.
        name: of the backbone, for messages and for the model.
        image_size: in pixels.
        normalisation: what its images need, unless the preset says it.
        family: what it must be.
        weights: "pretrained", or "random" for the architecture alone.
        left_out: constructor arguments that the preset's configuration lacks.

    Raises:
        PluginError: it is of another family, or damaged.
    """
    import keras_hub

    from autotl_kerashub.networks import assemble, resized_arguments

    config = folders.read_json(folder / folders.CONFIG)
    check_config(config, folder)
    found = family_of_config(config)
    if found is not family:
        raise PluginError(
            f"{name} must be a network of the family {family.name}, {folder} holds another. "
            "Delete that folder and fetch it anew."
        )
    try:
        backbone = keras_hub.models.Backbone.from_preset(
            str(folder),
            load_weights=weights == PRETRAINED,
            **_resized(config, image_size, resized_arguments),
            **({} if left_out is None else left_out),
        )
    except (ValueError, TypeError, OSError, KeyError, ImportError) as error:
        raise PluginError(
            f"KerasHub cannot load {name} from {folder} ({type(error).__name__}: {error}). "
            "Delete that folder and fetch it anew, or save the preset again."
        ) from error
    said = read_normalisation(folder)
    model_name = "".join(each if each.isalnum() else "_" for each in name)
    return assemble(backbone, image_size, normalisation if said is None else said, model_name)


def left_out_arguments(preset: Preset) -> dict[str, Any]:
    """What KerasHub 0.32 does not write into the configuration of a preset, and then cannot load it without.

    It is the width of the last layer of EfficientNetV2 (`EfficientNetBackbone.get_config` has no `num_features`).
    """
    if preset.architecture is None or preset.family_name != "efficientnet":
        return {}
    function, *arguments = preset.architecture
    known = getattr(architectures, function)(*arguments)
    return {"num_features": known["num_features"]} if "num_features" in known else {}


def _resized(config: dict[str, Any], image_size: int, resized_arguments: Any) -> dict[str, Any]:
    """What to override in a preset for this resolution; nothing where it has this one and cannot have others."""
    class_name = config.get("class_name", "")
    if class_name in ("SigLIPBackbone", "SigLIPVisionEncoder", "ViTBackbone", "DeiTBackbone"):
        return {}
    arguments: dict[str, Any] = resized_arguments(
        "EfficientNetBackbone" if str(config.get("architecture", "")).startswith("efficientnet") else class_name,
        image_size,
    )
    return arguments
