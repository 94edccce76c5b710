"""A KerasTuner hypermodel as a whole model: a record that stands where backbones stand, for the recipe "scratch" alone.

It has no weights to transfer and no cuts to freeze at: a from-scratch baseline, such as
`keras_tuner.applications:HyperXception`. What it is built and trained by is `autotl/learn/scratch.py`.
"""

from dataclasses import dataclass
from typing import Any

from autotl.backbones.contract import Backbone, Weights
from autotl.errors import UsageError
from autotl.references import check_reference

IMAGE_SIZE = 96
MIN_IMAGE_SIZE = 8
NO_WEIGHTS = Weights(source="none, trained from scratch", sha256=None, licence="NONE", dataset="none", size_bytes=0)


@dataclass(frozen=True)
class WholeModel:
    """The `build` of a record whose network comes with its classifier: it is not built as a backbone."""

    owner: str
    reference: str

    def __call__(self, image_size: int, weights: str) -> Any:
        raise UsageError(
            f"A KerasTuner hypermodel is a whole model and can only be trained from scratch; {self.owner} was to be a "
            'backbone. Search it in a stage with recipe = "scratch", as --space scratch does.'
        )


def open_hypermodel(reference: str) -> Backbone:
    """The record of the hypermodel `module:object`; nothing is imported.

    Raises:
        UsageError: there is no such module.
    """
    check_reference(reference)
    return backbone_from_hypermodel(reference, reference)


def backbone_from_hypermodel(
    name: str,
    hypermodel: str,
    image_size: int = IMAGE_SIZE,
    min_image_size: int = MIN_IMAGE_SIZE,
    reference: str = "",
) -> Backbone:
    """The record of a whole model for a plugin to register.

    Args:
        name: the name of its entry point.
        hypermodel: `module:object`; the module is imported only when a worker builds the model.
        image_size: what it is built for when the space does not say, in pixels.
        min_image_size: the smallest it can be built for, in pixels.
        reference: URL of the paper, if there is one.
    """
    return Backbone(
        name=name,
        build=WholeModel(name, hypermodel),
        image_size=image_size,
        min_image_size=min_image_size,
        parameters=None,
        weights=NO_WEIGHTS,
        imagenet_top1=None,
        reference=reference,
        available=_always,
    )


def _always() -> bool:
    return True
