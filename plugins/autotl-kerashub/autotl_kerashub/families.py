"""What the presets of one KerasHub image family share: class, paper, licence, image sizes. Nothing heavy is imported.

Licences are those of the checkpoints that KerasHub converted, as their publishers state them (Hugging Face cards of
the checkpoints, the repositories of Swin, PaddleClas and torchvision, the licences of DINOv3, SegFormer, MedSigLIP).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

MIN_IMAGE_SIZE = 32
MIN_PATCHES = 4
"""Per side: fewer positions say nothing about an image."""

FIXED = "fixed"
"""Position embeddings of one resolution."""
FREE = "free"
"""Convolutions: any resolution."""
HALVED = "halved"
"""Reshapes between tokens and maps five halvings deep: multiples of 32 pixels, and more than one token at the end."""
PATCHES = "patches"
"""Positions that are interpolated or computed: multiples of the patch."""
WINDOWS = "windows"
"""Attention windows that the last stage must hold whole. KerasHub would pad others, but attends to the padding then."""


class Family(NamedTuple):
    """One family of networks."""

    name: str
    classes: tuple[str, ...]
    """Backbone classes in `keras_hub.models`."""
    reference: str
    licence: str
    dataset: str
    normalisation: str
    """Key of `NORMALISATIONS`; for weights whose preset does not say."""
    sizes: str
    restriction: str | None = None


class Sizes(NamedTuple):
    """The resolutions that a network takes, in pixels."""

    resizable: bool
    multiple: int
    minimum: int


DINOV3_RESTRICTION = (
    "The DINOv3 licence must accompany every copy and derivative, publications must name DINOv3, and military, "
    "weapons, nuclear and espionage uses are forbidden (https://ai.meta.com/resources/models-and-libraries/dinov3-license)."
)
MIT_RESTRICTION = (
    "The NVIDIA Source Code License for SegFormer allows research and evaluation only, no commercial use, also of "
    "derivatives (https://github.com/NVlabs/SegFormer/blob/master/LICENSE)."
)
MEDSIGLIP_LICENCE = "LicenseRef-Health-AI-Developer-Foundations"
MEDSIGLIP_RESTRICTION = (
    "Google's Health AI Developer Foundations terms forbid clinical use without authorisation and pass their use "
    "restrictions on to derivatives (https://developers.google.com/health-ai-developer-foundations/terms)."
)

# fmt: off
FAMILIES = {family.name: family for family in (
    Family("vit", ("ViTBackbone",), "https://arxiv.org/abs/2010.11929", "Apache-2.0",
           "ImageNet-21k, then ImageNet-1k", "half", FIXED),
    Family("deit", ("DeiTBackbone",), "https://arxiv.org/abs/2012.12877", "Apache-2.0",
           "ImageNet-1k", "imagenet", FIXED),
    Family("swin", ("SwinTransformerBackbone",), "https://arxiv.org/abs/2103.14030", "MIT",
           "ImageNet-1k", "imagenet", WINDOWS),
    Family("dinov2", ("DINOV2Backbone",), "https://arxiv.org/abs/2304.07193", "Apache-2.0",
           "LVD-142M", "imagenet", PATCHES),
    Family("dinov3", ("DINOV3Backbone",), "https://arxiv.org/abs/2508.10104", "LicenseRef-DINOv3",
           "LVD-1689M", "imagenet", PATCHES, DINOV3_RESTRICTION),
    Family("siglip", ("SigLIPBackbone", "SigLIPVisionEncoder"), "https://arxiv.org/abs/2303.15343", "Apache-2.0",
           "WebLI", "half", FIXED),
    Family("hgnetv2", ("HGNetV2Backbone",), "https://arxiv.org/abs/2304.08069", "Apache-2.0",
           "ImageNet-1k", "imagenet", FREE),
    Family("mobilenet", ("MobileNetBackbone",), "https://arxiv.org/abs/1905.02244", "Apache-2.0",
           "ImageNet-1k", "imagenet", FREE),
    Family("efficientnet", ("EfficientNetBackbone",), "https://arxiv.org/abs/1905.11946", "Apache-2.0",
           "ImageNet-1k", "imagenet", FREE),
    Family("resnet", ("ResNetBackbone",), "https://arxiv.org/abs/1512.03385", "Apache-2.0",
           "ImageNet-1k", "imagenet", FREE),
    Family("cspnet", ("CSPNetBackbone",), "https://arxiv.org/abs/1911.11929", "Apache-2.0",
           "ImageNet-1k", "imagenet", FREE),
    Family("densenet", ("DenseNetBackbone",), "https://arxiv.org/abs/1608.06993", "BSD-3-Clause",
           "ImageNet-1k", "imagenet", FREE),
    Family("vgg", ("VGGBackbone",), "https://arxiv.org/abs/1409.1556", "BSD-3-Clause",
           "ImageNet-1k", "imagenet", FREE),
    Family("xception", ("XceptionBackbone",), "https://arxiv.org/abs/1610.02357", "MIT",
           "ImageNet-1k", "half", FREE),
    Family("mit", ("MiTBackbone",), "https://arxiv.org/abs/2105.15203", "LicenseRef-NVIDIA-SegFormer",
           "ImageNet-1k", "imagenet", HALVED, MIT_RESTRICTION),
)}
# fmt: on


class Normalisation(NamedTuple):
    """`image * scale + offset` for images in 0..255, one number for all channels or one for each."""

    scale: float | tuple[float, ...]
    offset: float | tuple[float, ...]


def standardised(mean: tuple[float, ...], deviation: tuple[float, ...], scale: float = 1 / 255) -> Normalisation:
    """Scale to 0..1, subtract the mean, divide by the deviation."""
    pairs = list(zip(mean, deviation, strict=True))
    return Normalisation(tuple(scale / each for each in deviation), tuple(-one / each for one, each in pairs))


NORMALISATIONS = {
    "imagenet": standardised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": Normalisation(1 / 127.5, -1.0),
    "unit": Normalisation(1 / 255, 0.0),  # https://github.com/Alibaba-MIIL/ImageNet21K
    "satellite": standardised((0.430, 0.411, 0.296), (0.213, 0.156, 0.143)),  # README of facebookresearch/dinov3
}


def family_of_class(name: str) -> Family | None:
    """The family that a backbone class belongs to, if it is an image family."""
    return next((family for family in FAMILIES.values() if name in family.classes), None)


def image_sizes(family: Family, arguments: Mapping[str, Any], image_size: int) -> Sizes:
    """The resolutions that a network takes.

    Args:
        family: what it is.
        arguments: of its constructor: `patch_size`, `window_size` and `depths`, where its family has them.
        image_size: its own resolution, in pixels.
    """
    if family.sizes == FIXED:
        return Sizes(False, 1, image_size)
    if family.sizes == PATCHES:
        patch = int(arguments["patch_size"])
        return Sizes(True, patch, MIN_PATCHES * patch)
    if family.sizes == WINDOWS:
        whole = (
            int(arguments["window_size"]) * int(arguments.get("patch_size", 4)) * 2 ** (len(arguments["depths"]) - 1)
        )
        return Sizes(True, whole, whole)
    return Sizes(True, 32, 64) if family.sizes == HALVED else Sizes(True, 1, MIN_IMAGE_SIZE)
