"""Augmentation, in the two forms it takes: cached views of frozen features, and live layers before a trained network.

A frozen prefix runs once, so what it sees must be fixed: each view of a policy is one deterministic pass over the
images (the picture itself, its mirror image, seeded random transformations), kept in the FeatureStore. Where the whole
network trains there is nothing to keep, and the same transformations are drawn afresh for every batch. Either way the
layers stay outside the saved model.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from autotl.learn.modes import in_mode

RANDOM_RULE = 2
"""Version of how random views are drawn."""


@dataclass(frozen=True)
class View:
    """One deterministic way to look at every image; the fields are part of a store's key."""

    flip: bool = False
    strength: float = 0.0
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "rule": RANDOM_RULE} if self.strength > 0.0 else asdict(self)


PLAIN = View()
MIRRORED = View(flip=True)
STRENGTHS = {"none": 0.0, "flip": 0.0, "light": 0.5, "strong": 1.0}


def policy_views(augmentation: str) -> list[View]:
    """The cached views of a policy; the first is always the plain image. Each costs one pass, once."""
    if augmentation == "none":
        return [PLAIN]
    random = {"flip": 0, "light": 2, "strong": 6}[augmentation]
    strength = STRENGTHS[augmentation]
    return [PLAIN, MIRRORED] + [View(strength=strength, seed=seed) for seed in range(1, random + 1)]


def view_layers(view: View) -> Any | None:
    """The layer that turns uint8 images `[B, S, S, 3]` into the view's, or None for the plain image."""
    if view == PLAIN:
        return None
    if view == MIRRORED:
        return _mirror()
    return in_mode(_random_layers(view.strength, view.seed), training=True, name="view")


def live_layers(augmentation: str, seed: int) -> Any | None:
    """The layer that draws the policy's transformations afresh for every batch in training, idle in inference."""
    if augmentation == "none":
        return None
    return _random_layers(STRENGTHS[augmentation], seed)


def _mirror() -> Any:
    import keras

    image = keras.Input((None, None, 3))
    return keras.Model(image, keras.ops.flip(image, axis=2), name="mirror")


def _random_layers(strength: float, seed: int) -> Any:
    """Mirror, rotate up to 18 degrees, zoom and shift up to 15 and 10 %, at strength 1; in the style of AutoAugment's
    geometric set, without the colour operations that a frozen normalisation would answer with noise.

    All of it is one affine map, drawn for each image: pixels are interpolated once. Three layers of Keras one after the
    other take three times as long, and blur three times.
    """
    import keras

    ops = keras.ops

    class Geometry(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="augmentation")
            self.draw = keras.random.SeedGenerator(seed)

        def call(self, images: Any, training: bool | None = None) -> Any:
            images = ops.cast(images, "float32")
            if not training:
                return images
            drawn = ops.transpose(keras.random.uniform((ops.shape(images)[0], 5), -1.0, 1.0, seed=self.draw))
            mirror = ops.where(drawn[0] < 0.0, -1.0, 1.0)
            if strength == 0.0:
                return ops.where(ops.reshape(mirror < 0.0, (-1, 1, 1, 1)), ops.flip(images, axis=2), images)
            maps = _affine(ops, mirror, strength * drawn[1:], images.shape[1])
            return ops.image.affine_transform(images, maps, fill_mode="nearest", data_format="channels_last")

    return Geometry()


def _affine(ops: Any, mirror: Any, drawn: Any, size: int) -> Any:
    """Maps `[B, 8]` from places in the output to places in the input, as `keras.ops.image.affine_transform` has them.

    Args:
        mirror: -1 to swap left and right, or 1; `[B]`.
        drawn: numbers from -1 to 1 for the angle, the zoom and the shifts; `[4, B]`.
        size: of the images, in pixels.
    """
    angle, zoom, shift_x, shift_y = 0.1 * math.pi * drawn[0], 1.0 + 0.15 * drawn[1], 0.1 * drawn[2], 0.1 * drawn[3]
    along, across = zoom * ops.cos(angle), zoom * ops.sin(angle)
    centre = (size - 1) / 2
    a = [mirror * along, -mirror * across]
    b = [across, along]
    none = ops.zeros_like(along)
    offset_x = centre + size * shift_x - centre * (a[0] + a[1])
    offset_y = centre + size * shift_y - centre * (b[0] + b[1])
    return ops.stack([*a, offset_x, *b, offset_y, none, none], axis=1)
