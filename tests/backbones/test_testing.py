from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autotl.backbones.contract import Backbone, Weights, check_image_size, load_weights
from autotl.errors import PluginError, UsageError
from autotl.testing import BrokenRule, check_backbone

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


def test_every_check_says_what_it_measured() -> None:
    found = {check.name: check.found for check in check_backbone(backbone()).checks}
    assert list(found) == [
        "record", "import", "refusals", "build", "finite", "repeatable", "inference", "normalisation", "sizes", "cuts",
        "saving", "gradients",
    ]  # fmt: skip
    assert found["build"] == f"8 px to 4x4x4, {PARAMETERS} parameters"
    assert found["normalisation"] == "the first layer with weights sees 0 to 1"
    assert found["sizes"] == "also 9 and 12 px, with the same weights"
    assert found["gradients"] == "all 4 trainable variables; behind conv2d 2"


def test_a_broken_rule_is_told_with_what_was_found_what_to_do_and_what_had_passed() -> None:
    with pytest.raises(BrokenRule) as caught:
        check_backbone(replace(backbone(), parameters=7))
    rule = caught.value
    assert (rule.name, rule.found) == ("build", f"the record says 7 parameters, it has {PARAMETERS}.")
    assert "Correct the record" in rule.advice
    assert [check.name for check in rule.passed] == ["record", "import", "refusals"]
    assert all(part in str(rule) for part in (rule.name, rule.text, rule.found, rule.advice))


def test_a_build_that_raises_breaks_the_rule_with_its_own_words() -> None:
    def build(image_size: int, weights: str) -> Any:
        check_image_size("tiny", image_size, 8)
        load_weights(None, weights, lambda: None)
        raise ZeroDivisionError("no luck")

    with pytest.raises(BrokenRule, match=r"build.*it raised ZeroDivisionError: no luck"):
        check_backbone(replace(backbone(), build=build))


def test_checks_can_be_left_out_by_name() -> None:
    names = [check.name for check in check_backbone(backbone(), skip=("sizes", "saving")).checks]
    assert "sizes" not in names and "saving" not in names and "cuts" in names
    with pytest.raises(UsageError, match=r"The checks are record.*there is no speed to skip"):
        check_backbone(backbone(), skip=("speed",))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("parameters", 7, "the record says 7 parameters"),
        ("api_version", 2, "api_version 2"),
        ("min_image_size", 12, r"build\(11, 'random'\) returned"),
        ("size_multiple", 5, "image_size 16, min_image_size 8, size_multiple 5"),
        ("weights", Weights("", None, "CC0-1.0", "none"), r"weights\.source is empty"),
        ("available", lambda: "yes", r"available\(\) gives 'yes'"),
        ("weights", Weights("none: not trained", None, "NONE", "none"), r"pretrained.*returned.*'none: not trained'"),
    ],
)
def test_a_record_that_says_what_is_not_so_fails(field: str, value: object, message: str) -> None:
    with pytest.raises(BrokenRule, match=message):
        check_backbone(replace(backbone(), **{field: value}))


def test_what_is_no_record_fails() -> None:
    with pytest.raises(BrokenRule, match=r"A plugin publishes a Backbone\. Found: a int"):
        check_backbone(42)  # type: ignore[arg-type]


def test_a_network_without_pretrained_weights_that_refuses_them_passes() -> None:
    good = backbone()

    def build(image_size: int, weights: str) -> Any:
        model = good.build(image_size, "random" if weights == "pretrained" else weights)
        if weights == "pretrained":
            raise PluginError("tiny has no pretrained weights.")
        return model

    untrained = replace(good, build=build, weights=Weights("none: not trained", None, "NONE", "none"))
    found = {check.name: check.found for check in check_backbone(untrained, skip=("saving", "gradients")).checks}
    assert found["refusals"].endswith("pretrained weights, which it has not")


def test_pooled_features_fail() -> None:
    import keras

    with pytest.raises(BrokenRule, match="rank 2"):
        check_backbone(backbone(keras.layers.GlobalAveragePooling2D()))


def test_a_lambda_layer_fails() -> None:
    import keras

    with pytest.raises(BrokenRule, match="Lambda"):
        check_backbone(backbone(keras.layers.Lambda(lambda x: x * 2.0, output_shape=lambda shape: shape)))


def test_a_layer_that_cannot_be_loaded_safely_fails() -> None:
    import keras

    class Unregistered(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2.0 * x

    with pytest.raises(BrokenRule, match="register_keras_serializable"):
        check_backbone(backbone(Unregistered()), skip=("sizes",))


def test_features_that_ignore_the_range_of_the_input_fail() -> None:
    import keras

    with pytest.raises(BrokenRule, match=r"0\.\.255"):
        check_backbone(backbone(before=lambda inputs: keras.ops.sign(inputs)))


def test_features_that_are_not_finite_fail() -> None:
    import keras

    with pytest.raises(BrokenRule, match="finite"):
        check_backbone(backbone(before=lambda inputs: keras.ops.log(inputs - 1.0)))


def test_features_that_depend_on_the_rest_of_the_batch_fail() -> None:
    import keras

    with pytest.raises(BrokenRule, match="depend on its batch"):
        check_backbone(backbone(lambda x: x - keras.ops.mean(x, axis=0, keepdims=True)))


def test_dropout_that_is_never_off_fails() -> None:
    import keras

    @keras.saving.register_keras_serializable(package="test_testing")
    class Noise(keras.layers.Dropout):
        def call(self, x: Any, training: bool = False) -> Any:
            return super().call(x, training=True)

    with pytest.raises(BrokenRule, match="gave other features the second time"):
        check_backbone(backbone(Noise(0.5)))


def test_statistics_without_anything_to_train_are_no_stage_too_many() -> None:
    import keras

    standardised = keras.layers.BatchNormalization(center=False, scale=False)
    check_backbone(replace(backbone(before=standardised), parameters=PARAMETERS + 6), skip=("sizes", "saving"))


def test_statistics_that_cannot_be_frozen_fail() -> None:
    import keras

    class Counting(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

        def call(self, x: Any, training: bool = False) -> Any:
            if training:
                self.calls.assign_add(1.0)
            return x

    with pytest.raises(BrokenRule, match=r"with batch normalisation frozen.*changes statistics"):
        check_backbone(replace(backbone(Counting()), parameters=None))


def rescaled(*steps: tuple[float, float]) -> Callable[[Any], Any]:
    """One `Rescaling` after the other, each as (scale, offset)."""
    import keras

    def normalise(inputs: Any) -> Any:
        for scale, offset in steps:
            inputs = keras.layers.Rescaling(scale, offset)(inputs)
        return inputs

    return normalise


UNIT, SYMMETRIC, TORCH, CAFFE = (1 / 255, 0.0), (1 / 127.5, -1.0), (1 / 58.4, -2.1), (1.0, -116.0)


@pytest.mark.parametrize("normalisation", [UNIT, SYMMETRIC, TORCH, CAFFE], ids=["unit", "symmetric", "torch", "caffe"])
def test_the_usual_normalisations_pass(normalisation: tuple[float, float]) -> None:
    quick = ("refusals", "sizes", "cuts", "saving", "gradients")
    check_backbone(backbone(before=rescaled(normalisation)), skip=quick)


@pytest.mark.parametrize(
    ("steps", "advice"),
    [
        ([], "Put the normalisation of the original network inside"),
        ([(1.0, 0.0)], "Put the normalisation of the original network inside"),
        ([(0.25, 0.0)], "Put the normalisation of the original network inside"),
        ([UNIT, UNIT], "only once"),
        ([SYMMETRIC, SYMMETRIC], "only once"),
        ([UNIT, SYMMETRIC], "only once"),
        ([UNIT, TORCH], "only once"),
        ([CAFFE, CAFFE], "only once"),
        ([CAFFE, UNIT, UNIT], "only once"),
    ],
)
def test_a_normalisation_that_is_missing_or_done_twice_fails(steps: list[tuple[float, float]], advice: str) -> None:
    with pytest.raises(BrokenRule, match=rf"normalisation: .*sees .*{advice}"):
        check_backbone(backbone(before=rescaled(*steps)))


def test_a_normalisation_that_is_learnt_is_judged_with_trained_weights_only() -> None:
    import keras

    def learnt(inputs: Any) -> Any:
        return keras.layers.BatchNormalization(name="learnt")(inputs)

    network = replace(backbone(before=learnt), parameters=None)
    quick = ("sizes", "cuts", "saving", "gradients")
    found = {check.name: check.found for check in check_backbone(network, skip=quick).checks}
    assert found["normalisation"].startswith("left to a batch normalisation")
    with pytest.raises(BrokenRule, match="sees 0 to 255"):
        check_backbone(network, weights="pretrained", skip=quick)


def test_a_normalisation_in_a_nested_model_is_found() -> None:
    import keras

    def nested(inputs: Any) -> Any:
        image = keras.Input(inputs.shape[1:])
        return keras.Model(image, keras.layers.Rescaling(1 / 255)(image), name="inner")(inputs)

    quick = ("sizes", "saving", "gradients")
    found = {check.name: check.found for check in check_backbone(backbone(before=nested), skip=quick).checks}
    assert found["normalisation"] == "the first layer with weights sees 0 to 1"


def test_two_stems_are_both_looked_at() -> None:
    import keras

    layers = keras.layers

    def build(image_size: int, weights: str) -> Any:
        check_image_size("two", image_size, 8)
        inputs = keras.Input((image_size, image_size, 3))
        good = layers.Conv2D(4, 3, padding="same")(layers.Rescaling(1 / 255)(inputs))
        bad = layers.Conv2D(4, 3, padding="same")(inputs)
        model = keras.Model(inputs, layers.Add()([good, bad]), name="two")
        load_weights(model, weights, lambda: None)
        return model

    with pytest.raises(BrokenRule, match="sees 0 to 255"):
        check_backbone(replace(backbone(), build=build, parameters=None))


def test_a_gradient_that_is_stopped_fails() -> None:
    import keras

    with pytest.raises(BrokenRule, match=r"none reaches .*kernel.*stop_gradient"):
        check_backbone(backbone(keras.ops.stop_gradient), skip=("saving",))


def test_a_weight_that_is_used_for_nothing_is_no_fault() -> None:
    import keras

    @keras.saving.register_keras_serializable(package="test_testing")
    class Masked(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.mask_token = self.add_weight(shape=(shape[-1],), name="mask_token")

        def call(self, x: Any) -> Any:
            return x * 1.0

    found = {check.name: check.found for check in check_backbone(replace(backbone(Masked()), parameters=None)).checks}
    assert "1 more are used for nothing" in found["gradients"]


def test_a_zero_initialiser_that_hides_what_is_before_it_is_no_fault() -> None:
    import keras

    def scaled(x: Any) -> Any:
        return keras.layers.Add()([x, keras.layers.Conv2D(4, 1, kernel_initializer="zeros", use_bias=False)(x)])

    check_backbone(replace(backbone(scaled), parameters=PARAMETERS + 16), skip=("sizes", "saving"))


def test_the_weights_are_as_they_were_after_the_check() -> None:
    good = backbone()
    model = good.build(8, "random")
    before = model.get_weights()

    def build(image_size: int, weights: str) -> Any:
        return model if (image_size, weights) == (8, "random") else good.build(image_size, weights)

    check_backbone(replace(good, build=build))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_that_depend_on_the_size_fail_unless_the_record_says_so() -> None:
    import keras

    def positions(x: Any) -> Any:
        tokens = keras.layers.Reshape((-1, 4))(x)
        return keras.layers.Add()([tokens, keras.layers.EinsumDense("btc,tc->btc", tokens.shape[1:])(tokens)])

    good = backbone(positions)
    with pytest.raises(BrokenRule, match="One set of weights must fit every size"):
        check_backbone(replace(good, parameters=None))
    only = replace(good, parameters=None, image_size=8, resizable=False)
    found = {check.name: check.found for check in check_backbone(only, skip=("saving",)).checks}
    assert found["sizes"] == "takes 8 px and no other size"


def test_only_multiples_of_the_patch_are_built() -> None:
    conformance = check_backbone(replace(backbone(), size_multiple=8), skip=("saving", "gradients"))
    found = {check.name: check.found for check in conformance.checks}
    assert (conformance.image_size, found["sizes"]) == (8, "also 16 and 24 px, with the same weights")


def test_stages_that_carry_several_tensors_pass() -> None:
    import keras

    def woven(x: Any) -> Any:
        """Every block reads the two before it, as in NASNet."""
        layers = keras.layers
        before, here = x, x
        for strides in (1, 2, 1, 2, 1):
            old = layers.Conv2D(4, 1, strides=strides, padding="same")(before)
            new = layers.Conv2D(4, 3, strides=strides, padding="same")(here)
            before, here = layers.MaxPooling2D(strides, padding="same")(here), layers.Add()([old, new])
        return layers.Concatenate()([before, here])

    conformance = check_backbone(replace(backbone(woven), parameters=None), image_size=16, skip=("sizes",))
    assert max(cut.tensors for cut in conformance.stages) > 1
    assert conformance.split_difference <= 1e-5


def test_a_subclassed_model_fails() -> None:
    import keras

    class Subclassed(keras.Model):
        pass

    def build(image_size: int, weights: str) -> Any:
        check_image_size("tiny", image_size, 8)
        load_weights(None, weights, lambda: None)
        return Subclassed()

    with pytest.raises(BrokenRule, match="Functional"):
        check_backbone(replace(backbone(), build=build))
