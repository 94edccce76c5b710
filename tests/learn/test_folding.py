"""Batch normalisation folded into the layers before it: fewer layers that compute the same."""

import keras
import numpy as np
import pytest

from autotl.backbones.cuts import split_model, stage_cuts
from autotl.backbones.registry import list_backbones, load_backbone
from autotl.learn.folding import fold_normalisation

pytestmark = pytest.mark.keras
TOLERANCE = 1e-4  # of the largest output; float32
COLOURS = (32, 32, 3)


def shake(model, seed=0):
    """Give every weight a random value, as if trained: fresh normalisations do nothing that a mistake would show in."""
    generator = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False):
        for weight in layer._trainable_variables + layer._non_trainable_variables:
            if weight.name in ("gamma", "moving_variance"):
                weight.assign(generator.uniform(0.6, 1.4, weight.shape))
            elif weight.name in ("beta", "moving_mean", "bias"):
                weight.assign(generator.normal(0.0, 0.3, weight.shape))
    return model


def outputs_of(model, seed=1):
    image = np.random.default_rng(seed).uniform(0.0, 255.0, (2, *model.inputs[0].shape[1:])).astype("float32")
    return [keras.ops.convert_to_numpy(one) for one in keras.tree.flatten(model(image, training=False))]


def difference(model, folded):
    """The largest difference of an output, relative to the largest value in it."""
    pairs = zip(outputs_of(model), outputs_of(folded), strict=True)
    return max(np.abs(new - old).max() / np.abs(old).max() for old, new in pairs)


def normalisations(model):
    return [one.name for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]


def chain(*layers, shape=(9, 9, 4)):
    image = keras.Input(shape, name="image")
    tensor = image
    for layer in layers:
        tensor = layer(tensor)
    return shake(keras.Model(image, tensor))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: keras.layers.Conv2D(6, 3, padding="same", strides=2, use_bias=False), (9, 9, 4)),
        (lambda: keras.layers.Conv2D(6, 3, padding="valid"), (9, 9, 4)),
        (lambda: keras.layers.Conv2D(6, 3, groups=2, padding="same"), (9, 9, 4)),
        (lambda: keras.layers.Conv2D(6, 3, dilation_rate=2, padding="same"), (9, 9, 4)),
        (lambda: keras.layers.Conv2D(6, 3, kernel_regularizer="l2", bias_constraint="non_neg"), (9, 9, 4)),
        (lambda: keras.layers.DepthwiseConv2D(3, padding="same", strides=2, use_bias=False), (9, 9, 4)),
        (lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=3), (9, 9, 4)),
        (lambda: keras.layers.SeparableConv2D(5, 3, depth_multiplier=2, padding="same", use_bias=False), (9, 9, 4)),
        (lambda: keras.layers.SeparableConv2D(5, 3), (9, 9, 4)),
        (lambda: keras.layers.Dense(7, use_bias=False), (11,)),
        (lambda: keras.layers.Dense(7), (5, 11)),
    ],
    ids=[
        "conv",
        "valid",
        "groups",
        "dilation",
        "constraint",
        "depthwise",
        "multiplier",
        "separable",
        "separable_bias",
        "dense",
        "dense_tokens",
    ],
)
@pytest.mark.parametrize(
    "parts",
    [{}, {"scale": False}, {"center": False}, {"scale": False, "center": False}],
    ids=["both", "centre", "scale", "neither"],
)
def test_each_layer_takes_up_its_normalisation(layer, shape, parts):
    model = chain(layer(), keras.layers.BatchNormalization(epsilon=0.02, **parts), keras.layers.ReLU(6), shape=shape)
    folded = fold_normalisation(model)
    assert normalisations(folded) == []
    assert [type(one) for one in folded.layers] == [type(one) for one in model.layers if one is not model.layers[2]]
    assert difference(model, folded) < TOLERANCE


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.BatchNormalization()],
        lambda: [keras.layers.BatchNormalization(), keras.layers.Conv2D(4, 3)],
        lambda: [keras.layers.Conv2D(4, 3, padding="same"), keras.layers.BatchNormalization(axis=1)],
        lambda: [keras.layers.Conv2D(4, 3, data_format="channels_first"), keras.layers.BatchNormalization(axis=1)],
        lambda: [keras.layers.Conv2D(4, 3), keras.layers.ReLU(), keras.layers.BatchNormalization()],
        lambda: [keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16"), keras.layers.BatchNormalization()],
        lambda: [keras.layers.Conv2D(4, 3), keras.layers.LayerNormalization()],
    ],
    ids=[
        "not linear",
        "normalised before",
        "over rows",
        "channels first",
        "activation between",
        "half precision",
        "of each image",
    ],
)
def test_a_network_with_nothing_to_fold_is_returned_itself(layers):
    model = chain(*layers())
    assert fold_normalisation(model) is model


def test_the_given_model_and_its_variables_are_untouched():
    model = chain(keras.layers.Conv2D(6, 3), keras.layers.BatchNormalization(), keras.layers.Conv2D(5, 3))
    weights, before = model.get_weights(), outputs_of(model)
    folded = fold_normalisation(model)
    assert folded.layers[-1] is model.layers[-1]  # what is not folded is shared
    assert not {id(one) for one in folded.layers[1].weights} & {id(one) for one in model.weights}
    folded.layers[1].set_weights([np.zeros_like(one) for one in folded.layers[1].get_weights()])
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(before[0], outputs_of(model)[0])


def test_folding_draws_no_random_numbers():
    model = chain(keras.layers.Conv2D(6, 3), keras.layers.BatchNormalization())
    keras.utils.set_random_seed(5)
    expected = keras.layers.Dense(3).build((None, 4)) or keras.random.normal((3,))
    keras.utils.set_random_seed(5)
    fold_normalisation(model)
    keras.layers.Dense(3).build((None, 4))
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(expected), keras.ops.convert_to_numpy(keras.random.normal((3,)))
    )


def test_a_tensor_that_is_used_elsewhere_keeps_its_meaning():
    image = keras.Input(COLOURS)
    before = keras.layers.Conv2D(6, 3, padding="same", name="used_twice")(image)
    tensor = keras.layers.Add()([before, keras.layers.BatchNormalization(name="stays")(before)])
    tapped = keras.layers.Conv2D(6, 3, padding="same", name="output")(tensor)
    tensor = keras.layers.BatchNormalization(name="stays_too")(tapped)
    tensor = keras.layers.Conv2D(4, 3, name="folded")(tensor)
    normalised = keras.layers.BatchNormalization(name="goes")(tensor)
    pooled = keras.layers.GlobalAveragePooling2D()(normalised)
    model = shake(keras.Model(image, [tapped, normalised, pooled]))
    folded = fold_normalisation(model)
    assert normalisations(folded) == ["stays", "stays_too"]
    assert [one.name for one in folded.layers] == [one.name for one in model.layers if one.name != "goes"]
    assert folded.output_shape == model.output_shape
    assert difference(model, folded) < TOLERANCE


def test_a_layer_that_is_called_twice_is_not_folded():
    image = keras.Input(COLOURS)
    shared, norm = keras.layers.Conv2D(3, 3, padding="same"), keras.layers.BatchNormalization(name="twice")
    tensor = keras.layers.BatchNormalization(name="once")(shared(keras.layers.ReLU()(shared(image))))
    tensor = norm(keras.layers.Conv2D(3, 1)(norm(keras.layers.Conv2D(3, 1)(tensor))))
    last = keras.layers.BatchNormalization(name="goes")(keras.layers.Conv2D(4, 1)(tensor))
    model = shake(keras.Model(image, last))
    folded = fold_normalisation(model)
    assert set(normalisations(folded)) == {"once", "twice"}
    assert difference(model, folded) < TOLERANCE


def test_a_use_outside_the_model_does_not_hinder():
    image = keras.Input(COLOURS)
    between = keras.layers.Conv2D(6, 3)(image)
    keras.layers.ReLU()(between)  # of somebody else's graph
    model = shake(keras.Model(image, keras.layers.BatchNormalization()(between)))
    folded = fold_normalisation(model)
    assert normalisations(folded) == []
    assert difference(model, folded) < TOLERANCE


def test_models_inside_a_model_are_folded_too():
    inner = keras.Sequential([keras.layers.Conv2D(6, 3), keras.layers.BatchNormalization(), keras.layers.ReLU()])
    image = keras.Input(COLOURS)
    model = shake(keras.Model(image, keras.layers.GlobalMaxPooling2D()(inner(image))))
    folded = fold_normalisation(model)
    assert [type(one).__name__ for one in folded.layers] == ["InputLayer", "Conv2D", "ReLU", "GlobalMaxPooling2D"]
    assert difference(model, folded) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "remaining"),
    [("mobilenet-v2", 0), ("resnet50-v2", 17), ("densenet121", 62), ("efficientnet-v2-b0", 0)],
)
def test_networks_of_keras_compute_the_same_at_every_stage(name, remaining):
    model = shake(load_backbone(name).build(32, "random"))
    tapped = keras.Model(model.inputs[0], [model.get_layer(cut.name).output for cut in stage_cuts(model)])
    folded = fold_normalisation(tapped)
    assert len(normalisations(folded)) == remaining  # those that come before a convolution, or after a sum
    assert difference(tapped, folded) < TOLERANCE


@pytest.mark.skipif(
    "efficientnet-lite0" not in {listing.name for listing in list_backbones()},
    reason="needs the plugin with real weights",
)
def test_the_parts_of_a_network_with_real_weights_compute_the_same():
    model = load_backbone("efficientnet-lite0").build(64, "pretrained")
    cut = stage_cuts(model)[2]
    for part in (*split_model(model, cut), model):
        folded = fold_normalisation(part)
        assert normalisations(folded) == []
        assert difference(part, folded) < TOLERANCE
