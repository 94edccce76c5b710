"""Random views of images that a network learns from without labels: parts of the picture in other colours.

Crop, mirror image, brightness, contrast, saturation and grey, in the strengths of SimCLR (Chen et al.,
https://arxiv.org/abs/2002.05709) but for hue and blur, which small pictures have no use for.
"""

from typing import Any

SMALLEST_SIDE = 0.45  # of a crop, as a share of the picture's: its area is a fifth
JITTER = 0.4  # of brightness, contrast and saturation
GREY_SHARE = 0.2
GREY = (0.299, 0.587, 0.114)


def two_views(images: Any, seed: int) -> list[Any]:
    """Two independent views `[B, S, S, 3]` of float images in 0..255, drawn anew in training; the images themselves,
    twice, in inference."""
    import keras

    ops = keras.ops

    class RandomViews(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="views")
            self.draw = keras.random.SeedGenerator(seed)

        def call(self, inputs: Any, training: bool | None = None) -> Any:
            return [self._view(inputs) if training else inputs for _ in range(2)]

        def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
            return [keras.KerasTensor(inputs.shape, inputs.dtype) for _ in range(2)]

        def _view(self, inputs: Any) -> Any:
            drawn = ops.transpose(keras.random.uniform((ops.shape(inputs)[0], 9), seed=self.draw))
            cropped = _crop(ops, inputs, drawn[:5])
            return _colour(ops, cropped, drawn[5:])

    return list(RandomViews()(images))


def _crop(ops: Any, images: Any, drawn: Any) -> Any:
    """A rectangle of the picture, stretched to its size, perhaps mirrored; `drawn` are `[5, B]` numbers in 0..1."""
    size = images.shape[1]
    sides = SMALLEST_SIDE + (1.0 - SMALLEST_SIDE) * drawn[:2]
    corners = (1.0 - sides) * drawn[2:4] * (size - 1)
    mirror = drawn[4] < 0.5
    along = ops.where(mirror, -sides[0], sides[0])
    begin = ops.where(mirror, corners[0] + sides[0] * (size - 1), corners[0])
    none = ops.zeros_like(along)
    maps = ops.stack([along, none, begin, none, sides[1], corners[1], none, none], axis=1)
    return ops.image.affine_transform(images, maps, fill_mode="nearest", data_format="channels_last")


def _colour(ops: Any, images: Any, drawn: Any) -> Any:
    """Brighter or darker, more or less contrast and colour, or grey; `drawn` are `[4, B]` numbers in 0..1."""
    brightness, contrast, saturation = (
        ops.reshape(1.0 + JITTER * (2.0 * one - 1.0), (-1, 1, 1, 1)) for one in (drawn[0], drawn[1], drawn[2])
    )
    saturation = ops.where(ops.reshape(drawn[3] < GREY_SHARE, (-1, 1, 1, 1)), 0.0, saturation)
    grey = ops.sum(images * ops.convert_to_tensor(GREY, images.dtype), axis=-1, keepdims=True)
    coloured = grey + (images - grey) * saturation
    middle = ops.mean(grey, axis=(1, 2), keepdims=True)
    return ops.clip((middle + (coloured - middle) * contrast) * brightness, 0.0, 255.0)
