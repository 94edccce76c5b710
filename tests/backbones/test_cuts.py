from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotl.backbones.cuts import Cut, find_cuts, split_model
from autotl.errors import PluginError


@pytest.mark.keras
def test_inside_a_residual_block_two_tensors_are_alive_and_there_is_no_cut(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    x = networks.conv(4, "stem")(inputs)
    y = networks.conv(4, "second")(networks.conv(4, "first")(x))
    x = keras.layers.Add(name="join")([x, y])
    model = keras.Model(inputs, networks.conv(4, "head")(x))
    assert networks.names(model) == ["stem", "join", "head"]
    networks.assert_splits_equal_whole(model, find_cuts(model))


@pytest.mark.keras
def test_a_skip_from_the_input_leaves_only_what_comes_after_it(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    x = networks.conv(3, "second")(networks.conv(3, "first")(inputs))
    x = keras.layers.Concatenate(name="join")([inputs, x])
    model = keras.Model(inputs, networks.conv(4, "head")(x))
    assert networks.names(model) == ["join", "head"]
    networks.assert_splits_equal_whole(model, find_cuts(model))


@pytest.mark.keras
def test_parallel_branches_are_cut_before_and_after(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    x = networks.conv(4, "stem")(inputs)
    branches = [networks.conv(2, f"branch{number}")(x) for number in range(3)]
    x = keras.layers.Concatenate(name="join")(branches)
    model = keras.Model(inputs, x)
    assert networks.names(model) == ["stem", "join"]
    assert [round(cut.frozen_fraction, 3) for cut in find_cuts(model)] == [pytest.approx(112 / 334, abs=1e-3), 1.0]
    networks.assert_splits_equal_whole(model, find_cuts(model))


@pytest.mark.keras
def test_constants_and_keyword_tensors_are_handled(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    x = networks.conv(4, "stem")(inputs)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    x = x * (gate + 1.0) / np.float32(6.0)
    x = keras.ops.where(condition=x > 0, x1=x, x2=0.1 * x)
    model = keras.Model(inputs, networks.conv(4, "head")(x))
    assert networks.names(model)[0] == "stem"
    assert networks.names(model)[-2:] == ["where", "head"]
    assert not any(name.startswith(("squeeze", "greater", "add")) for name in networks.names(model))
    networks.assert_splits_equal_whole(model, find_cuts(model))


@pytest.mark.keras
def test_an_operation_with_two_outputs_is_cut_where_they_meet_again(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    x = networks.conv(4, "stem")(inputs)
    left, right = keras.ops.split(x, 2, axis=-1)
    x = keras.layers.Concatenate(name="join")([networks.conv(4, "left")(left), right])
    model = keras.Model(inputs, networks.conv(2, "head")(x))
    assert networks.names(model) == ["stem", "join", "head"]
    networks.assert_splits_equal_whole(model, find_cuts(model))


@pytest.mark.keras
def test_an_unused_output_of_an_operation_is_not_alive(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    left, _unused = keras.ops.split(networks.conv(4, "stem")(inputs), 2, axis=-1)
    model = keras.Model(inputs, networks.conv(2, "head")(left))
    assert networks.names(model) == ["stem", "split", "head"]
    networks.assert_splits_equal_whole(model, find_cuts(model))


@pytest.mark.keras
def test_a_layer_with_variables_is_never_on_both_sides_of_a_cut(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    shared = networks.conv(4, "shared")
    x = shared(networks.conv(4, "stem")(inputs))
    x = networks.conv(4, "last")(shared(networks.conv(4, "middle")(x)))
    model = keras.Model(inputs, x)
    assert networks.names(model) == ["stem", "shared_1", "last"]
    networks.assert_splits_equal_whole(model, find_cuts(model))


@pytest.mark.keras
def test_a_layer_without_variables_may_be_called_on_both_sides(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    relu = keras.layers.ReLU(name="relu")
    x = relu(networks.conv(4, "last")(relu(networks.conv(4, "stem")(inputs))))
    model = keras.Model(inputs, x)
    assert networks.names(model) == ["stem", "relu", "last", "relu_1"]
    networks.assert_splits_equal_whole(model, find_cuts(model))


@pytest.mark.keras
def test_training_the_tail_changes_the_model_and_not_the_prefix(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    model = keras.Model(inputs, networks.conv(4, "head")(networks.conv(4, "stem")(inputs)))
    prefix, tail = split_model(model, find_cuts(model)[0])
    before = [np.array(value) for value in prefix.get_weights()]
    tail.trainable_variables[0].assign_add(np.ones(tail.trainable_variables[0].shape))
    images = np.ones((1, 16, 16, 3), "float32")
    np.testing.assert_allclose(model(images), tail(prefix(images)), atol=1e-5)
    for old, new in zip(before, prefix.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.keras
def test_cuts_do_not_depend_on_what_the_process_built_before(networks: SimpleNamespace) -> None:
    import keras

    def build() -> Any:
        inputs = networks.image()
        x = keras.layers.ReLU()(keras.layers.Conv2D(4, 3)(inputs))
        return keras.Model(inputs, x + keras.layers.BatchNormalization()(x))

    first, second = build(), build()
    assert find_cuts(first) == find_cuts(second)
    assert networks.names(first) == ["conv2d", "re_lu", "add"]
    prefix, tail = split_model(second, find_cuts(first)[1])
    assert prefix is not None
    assert tail is not None


@pytest.mark.keras
def test_a_cut_of_another_model_is_refused(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    model = keras.Model(inputs, networks.conv(4, "head")(networks.conv(4, "stem")(inputs)))
    with pytest.raises(PluginError, match="has none called 'elsewhere'"):
        split_model(model, Cut("elsewhere", 0, (16, 16, 4), 0.5))
    with pytest.raises(PluginError, match="has none called 'elsewhere'"):
        split_model(model, Cut("head", 1, (16, 16, 4), 0.5, 2, ("elsewhere",)))
    assert split_model(model, None) == (None, model)


@pytest.mark.keras
def test_a_cut_fits_the_same_network_at_another_image_size(networks: SimpleNamespace) -> None:
    import keras

    def build(size: int) -> Any:
        inputs = networks.image(size)
        return keras.Model(inputs, networks.conv(4, "head")(networks.conv(4, "stem")(inputs)))

    prefix, tail = split_model(build(32), find_cuts(build(16))[0])
    assert prefix.output_shape == tail.input_shape == (None, 32, 32, 4)


@pytest.mark.keras
def test_a_layer_with_variables_cannot_be_frozen_and_trained(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    shared = networks.conv(4, "shared")
    model = keras.Model(inputs, shared(networks.conv(4, "middle")(shared(networks.conv(4, "stem")(inputs)))))
    with pytest.raises(PluginError, match="shared is called before and after middle"):
        split_model(model, Cut("middle", 2, (16, 16, 4), 0.5))


@pytest.mark.keras
def test_a_place_without_a_single_tensor_is_found_by_its_name_alone(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    x = networks.conv(4, "stem")(inputs)
    side = networks.conv(2, "side", strides=2)(x)
    y = networks.conv(3, "second", strides=2)(networks.conv(4, "first")(x))
    model = keras.Model(inputs, networks.conv(4, "head")(keras.layers.Concatenate(name="join")([side, y])))
    prefix, tail = split_model(model, Cut("first", 1, (), 0.5))
    assert prefix.output_shape == (None, 16 * 16 * 4 + 8 * 8 * 2)  # what does not depend on "first" is computed before
    assert [layer.name for layer in tail.layers if layer.weights] == ["second", "head"]
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    np.testing.assert_allclose(tail(prefix(images)), model(images), rtol=1e-5, atol=1e-3)
