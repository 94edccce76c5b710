from types import SimpleNamespace
from typing import Any

import pytest

from autotl.backbones.cuts import find_cuts, split_model, stage_cuts
from autotl.backbones.graph import call_names, calls
from autotl.errors import PluginError


@pytest.mark.keras
def test_cuts_are_found_inside_nested_models(networks: SimpleNamespace) -> None:
    import keras

    inner_input = keras.Input((16, 16, 3))
    x = networks.conv(4, "inner_stem")(inner_input)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    inner = keras.Model(
        inner_input, keras.layers.Add(name="inner_join")([x, networks.conv(4, "inner")(x)]), name="inner_model"
    )
    inputs = networks.image()
    x = inner(keras.layers.Rescaling(1 / 255, name="normalisation")(inputs))
    x = keras.Sequential([networks.conv(4, "sequential", strides=2), keras.layers.ReLU(name="relu")], name="block")(x)
    model = keras.Model(inputs, x)
    assert networks.names(model) == ["normalisation", "inner_stem", "dropout", "inner_join", "sequential", "relu"]
    networks.assert_splits_equal_whole(model, find_cuts(model))
    prefix, tail = split_model(model, find_cuts(model)[3])
    split = {id(variable) for part in (prefix, tail) for variable in part.weights}
    assert split == {id(variable) for variable in model.weights}


@pytest.mark.keras
def test_models_without_one_input_and_one_output_are_refused(networks: SimpleNamespace) -> None:
    import keras

    class Subclassed(keras.Model):
        pass

    one, two = networks.image(), keras.Input((16, 16, 3))
    with pytest.raises(PluginError, match="has 1 and 2"):
        find_cuts(keras.Model(one, [networks.conv(1, "a")(one), networks.conv(1, "b")(one)]))
    with pytest.raises(PluginError, match="has 2 and 1"):
        find_cuts(keras.Model([one, two], one + two))
    with pytest.raises(PluginError, match="Functional"):
        find_cuts(Subclassed())
    with pytest.raises(PluginError, match="parameters"):
        stage_cuts(keras.Model(one, keras.layers.ReLU()(one)))


def transformer(networks: SimpleNamespace, kind: str) -> Any:
    """An embedding, a stack of four blocks that is one layer, and a normalisation; the blocks share a table."""
    import keras

    custom = networks.custom_layers()
    inputs = networks.image()
    x = keras.layers.Reshape((16, 4))(keras.layers.Conv2D(4, 4, strides=4, name="patches")(inputs))
    x, _every = getattr(custom, kind)(depth=8, name="encoder")(x, table=custom.Table(name="table")(inputs))
    return keras.Model(inputs, keras.layers.LayerNormalization(name="norm")(x))


@pytest.mark.keras
def test_a_layer_that_stacks_most_of_a_network_is_looked_into(networks: SimpleNamespace) -> None:
    model = transformer(networks, "Stack")
    assert networks.names(model)[-9:] == [*(f"block{number}" for number in range(8)), "norm"]
    networks.assert_splits_equal_whole(model, find_cuts(model))
    prefix, tail = split_model(model, find_cuts(model)[-4])
    split = {id(variable) for part in (prefix, tail) for variable in part.weights}
    assert split == {id(variable) for variable in model.weights}


@pytest.mark.keras
@pytest.mark.parametrize("kind", ["ClosedStack", "UnsavableStack"])
def test_a_stack_that_cannot_be_looked_into_stays_whole(networks: SimpleNamespace, kind: str) -> None:
    model = transformer(networks, kind)
    assert networks.names(model)[-2:] == ["encoder", "norm"]


@pytest.mark.keras
def test_something_shorter_beside_the_output_leaves_the_order_of_the_calls(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image()
    x = networks.conv(4, "stem")(inputs)
    early = keras.layers.GlobalAveragePooling2D()(x)
    for _ in range(2):
        x = keras.layers.Add()([keras.layers.ReLU()(x), keras.layers.Conv2D(4, 3, padding="same")(x)])
    model = keras.Model(inputs, x)
    late = keras.layers.GlobalAveragePooling2D()(x)
    more = keras.Model(inputs, keras.layers.Concatenate()([early, late]))
    plain = call_names(calls(model))
    assert call_names(calls(more))[: len(plain)] == plain
