"""Augmentation, in the two forms it takes: cached views of frozen features, and live layers before a trained network.

A frozen prefix runs once, so what it sees must be fixed: each view of a policy is one deterministic pass over the
images (the picture itself, its mirror image, seeded random transformations), kept in the FeatureStore. Where the whole
network trains there is nothing to keep, and the same transformations are drawn afresh for every batch. Either way the
layers stay outside the saved model.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class View:
    """One deterministic way to look at every image; the fields are part of a store's key."""

    flip: bool = False
    strength: float = 0.0
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


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
    return _random_layers(view.strength, view.seed)


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
    geometric set, without the colour operations that a frozen normalisation would answer with noise."""
    import keras

    layers = [keras.layers.RandomFlip("horizontal", seed=seed)]
    if strength > 0.0:
        layers += [
            keras.layers.RandomRotation(0.05 * strength, fill_mode="nearest", seed=seed + 1),
            keras.layers.RandomZoom(0.15 * strength, fill_mode="nearest", seed=seed + 2),
            keras.layers.RandomTranslation(0.1 * strength, 0.1 * strength, fill_mode="nearest", seed=seed + 3),
        ]
    return keras.Sequential(layers, name="augmentation")
