from types import SimpleNamespace

import pytest

from autotl.backbones.cuts import find_cuts, split_model, stage_cuts
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
