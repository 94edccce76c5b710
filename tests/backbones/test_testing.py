from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autotl.backbones.contract import Backbone, Weights, check_image_size, load_weights
from autotl.errors import PluginError
from autotl.testing import check_backbone

pytestmark = pytest.mark.keras

PARAMETERS = 4 * 9 * 3 + 4 + 4 * 4


def backbone(change: Callable[[Any], Any] = lambda x: x, *, before: Callable[[Any], Any] | None = None) -> Backbone:
    """A tiny network that keeps the contract; `change` acts on its output, `before` replaces its normalisation."""

    def build(image_size: int, weights: str) -> Any:
        import keras

        check_image_size("tiny", image_size, 8)
        inputs = keras.Input((image_size, image_size, 3))
        x = keras.layers.Rescaling(1 / 255)(inputs) if before is None else before(inputs)
        x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, strides=2, padding="same")(x))
        model = keras.Model(inputs, change(x), name="tiny")
        load_weights(model, weights, lambda: None)
        return model

    source = Weights("drawn at random", None, "CC0-1.0", "none")
    return Backbone("tiny", build, 16, 8, PARAMETERS, source, None, "https://example.org", lambda: True)


def test_a_good_backbone_passes_and_is_measured() -> None:
    conformance = check_backbone(backbone(), image_size=16)
    assert (conformance.name, conformance.image_size) == ("tiny", 16)
    assert conformance.stages[-1].shape == (8, 8, 4)
    assert conformance.split_difference <= 1e-5


def test_the_smallest_image_is_the_default() -> None:
    assert check_backbone(backbone()).image_size == 8


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("parameters", 7, "The record says 7 parameters"),
        ("api_version", 2, "api_version"),
        ("min_image_size", 12, r"build\(11, 'random'\) must raise a UsageError"),
        ("weights", Weights("", None, "CC0-1.0", "none"), r"weights\.source"),
    ],
)
def test_a_record_that_says_what_is_not_so_fails(field: str, value: object, message: str) -> None:
    with pytest.raises((AssertionError, PluginError), match=message):
        check_backbone(replace(backbone(), **{field: value}))


def test_pooled_features_fail() -> None:
    import keras

    with pytest.raises(AssertionError, match="rank 2"):
        check_backbone(backbone(keras.layers.GlobalAveragePooling2D()))


def test_a_lambda_layer_fails() -> None:
    import keras

    with pytest.raises(AssertionError, match="Lambda"):
        check_backbone(backbone(keras.layers.Lambda(lambda x: x * 2.0, output_shape=lambda shape: shape)))


def test_features_that_ignore_the_range_of_the_input_fail() -> None:
    import keras

    with pytest.raises(AssertionError, match=r"0\.\.255"):
        check_backbone(backbone(before=lambda inputs: keras.ops.sign(inputs)))


def test_features_that_are_not_finite_fail() -> None:
    import keras

    with pytest.raises(AssertionError, match="finite"):
        check_backbone(backbone(before=lambda inputs: keras.ops.log(inputs - 1.0)))


def test_batch_normalisation_stuck_in_training_mode_fails() -> None:
    import keras

    def stuck(inputs: Any) -> Any:
        return keras.layers.BatchNormalization(center=False, scale=False)(inputs, training=True)

    with pytest.raises(AssertionError, match="batch"):
        check_backbone(replace(backbone(before=stuck), parameters=PARAMETERS + 6))


def test_a_subclassed_model_fails() -> None:
    import keras

    class Subclassed(keras.Model):
        pass

    def build(image_size: int, weights: str) -> Any:
        check_image_size("tiny", image_size, 8)
        load_weights(None, weights, lambda: None)
        return Subclassed()

    with pytest.raises(PluginError, match="Functional"):
        check_backbone(replace(backbone(), build=build))
