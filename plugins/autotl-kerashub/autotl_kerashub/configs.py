"""Reading what a preset's folder says about itself, without Keras: its family, image size, normalisation and licence.

Three kinds of `config.json` are understood, as KerasHub tells them apart: its own, of Hugging Face's transformers
("model_type") and of timm ("architecture").
"""

import math
import re
from pathlib import Path
from typing import Any

from autotl.errors import PluginError
from autotl_kerashub import folders
from autotl_kerashub.families import FAMILIES, Family, Normalisation, family_of_class, standardised

DEFAULT_IMAGE_SIZE = 224
"""For convolutional presets that name no resolution."""

_TRANSFORMERS = {
    "vit": "vit",
    "deit": "deit",
    "swin": "swin",
    "dinov2": "dinov2",
    "dinov2_with_registers": "dinov2",
    "dinov3_vit": "dinov3",
}
_TIMM = {
    "resnet": "resnet",
    "csp": "cspnet",
    "dark": "cspnet",
    "densenet": "densenet",
    "mobilenetv3": "mobilenet",
    "vgg": "vgg",
    "efficientnet": "efficientnet",
    "hgnetv2": "hgnetv2",
}


def family_of_config(config: dict[str, Any]) -> Family | None:
    """The family of a preset; `None` where it is no image network that this plugin knows."""
    if "registered_name" in config:
        return family_of_class(str(config.get("class_name", "")))
    if "model_type" in config:
        return FAMILIES.get(_TRANSFORMERS.get(str(config["model_type"]), ""))
    architecture = str(config.get("architecture", ""))
    return next((FAMILIES[family] for prefix, family in _TIMM.items() if architecture.startswith(prefix)), None)


def check_config(config: Any, folder: Path) -> None:
    """Insist that a preset is made of classes of Keras and KerasHub alone, before either sees it.

    Raises:
        PluginError: it is not, or it is no image network.
    """
    family = family_of_config(config) if isinstance(config, dict) else None
    if family is None:
        known = ", ".join(name for each in FAMILIES.values() for name in each.classes)
        raise PluginError(
            f"A preset must be an image backbone of KerasHub ({known}), {folder / folders.CONFIG} describes another "
            "network. Give the folder that backbone.save_to_preset(FOLDER) made of one of these."
        )
    if "registered_name" in config and config["registered_name"] != f"keras_hub>{config['class_name']}":
        _refuse(str(config["registered_name"]), folder)
    _check_classes(config, folder)


def _check_classes(item: Any, folder: Path) -> None:
    """Go through a configuration and refuse the first class of another package."""
    if isinstance(item, list):
        for each in item:
            _check_classes(each, folder)
    if not isinstance(item, dict):
        return
    if "class_name" in item or "module" in item:
        module, registered = item.get("module"), item.get("registered_name")
        if module is not None and str(module).partition(".")[0] not in ("keras", "keras_hub", "builtins"):
            _refuse(f"{module}.{item.get('class_name')}", folder)
        if registered is not None and ">" in str(registered) and not str(registered).startswith("keras_hub>"):
            _refuse(str(registered), folder)
    for each in item.values():
        _check_classes(each, folder)


def _refuse(name: str, folder: Path) -> None:
    raise PluginError(
        f"A preset must be made of classes of Keras and KerasHub, {folder / folders.CONFIG} names {name}. "
        "Write a backbone plugin for networks with classes of your own (autotl plugins new)."
    )


def arguments_of_config(config: dict[str, Any]) -> dict[str, Any]:
    """The constructor arguments that a configuration holds, of the images' side where there are two sides."""
    if "registered_name" not in config:
        return config
    arguments: dict[str, Any] = config["config"]
    if config["class_name"] == "SigLIPBackbone":
        arguments = arguments["vision_encoder"]["config"]
    return arguments


def image_size_of(config: dict[str, Any], folder: Path) -> int:
    """The native resolution of a preset, in pixels."""
    arguments = arguments_of_config(config)
    shape = arguments.get("image_shape") or arguments.get("input_shape") or (None,)
    pretrained = config.get("pretrained_cfg") or {}
    converter = _converter_arguments(folder)
    candidates = [
        shape[0],
        arguments.get("image_size"),
        (pretrained.get("input_size") or (None, None))[1],
        (converter.get("image_size") or (None,))[0],
        converter.get("height"),
    ]
    return next((int(size) for size in candidates if isinstance(size, int)), DEFAULT_IMAGE_SIZE)


def read_normalisation(folder: Path) -> Normalisation | None:
    """What a preset's image converter does to pixels; `None` without one.

    KerasHub's own converter files, and what its loaders read of transformers' and timm's files.
    """
    arguments = _converter_arguments(folder)
    if arguments:
        return _of_converter(arguments)
    processor = (
        folders.read_json(folder / "preprocessor_config.json") if _has(folder, "preprocessor_config.json") else {}
    )
    if {"image_mean", "image_std"} <= processor.keys():
        factor = processor.get("rescale_factor", 1 / 255)
        return standardised(tuple(processor["image_mean"]), tuple(processor["image_std"]), factor)
    config = folders.read_json(folder / folders.CONFIG)
    pretrained = config.get("pretrained_cfg") or {}
    if {"mean", "std"} <= pretrained.keys():
        return standardised(tuple(pretrained["mean"]), tuple(pretrained["std"]))
    return None


def _of_converter(arguments: dict[str, Any]) -> Normalisation:
    scale, offset = arguments.get("scale"), arguments.get("offset")
    factor = 1.0 if scale is None else scale
    if "mean" in arguments and "variance" in arguments:  # presets saved by older versions of KerasHub
        return standardised(tuple(arguments["mean"]), tuple(math.sqrt(each) for each in arguments["variance"]), factor)
    if arguments.get("norm_mean") is not None and arguments.get("norm_std") is not None:
        return standardised(tuple(arguments["norm_mean"]), tuple(arguments["norm_std"]), factor)

    def each(value: Any, nothing: float) -> Any:
        return nothing if value is None else tuple(value) if isinstance(value, list) else float(value)

    return Normalisation(each(scale, 1.0), each(offset, 0.0))


def licence_of(folder: Path) -> str | None:
    """What the head of a preset's README says, as Hugging Face's cards do; `None` where nothing does."""
    if not _has(folder, "README.md"):
        return None
    head = re.match(r"---\n(.*?)\n---", (folder / "README.md").read_text(errors="replace"), re.DOTALL)
    found = None if head is None else re.search(r"^license:\s*(\S+)\s*$", head[1], re.MULTILINE)
    return None if found is None else found[1].strip("'\"")


def _converter_arguments(folder: Path) -> dict[str, Any]:
    if not _has(folder, folders.CONVERTER):
        return {}
    arguments: dict[str, Any] = folders.read_json(folder / folders.CONVERTER).get("config", {})
    return arguments


def _has(folder: Path, name: str) -> bool:
    return (folder / name).is_file()
