"""Cuts at which several tensors are alive, and cuts in models that add something to a backbone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotl.backbones.cuts import find_cuts, split_model, stage_cuts

pytestmark = pytest.mark.keras


def cells(networks: SimpleNamespace, size: int = 32, per_resolution: int = 3) -> Any:
    """Each cell reads the outputs of the two cells before it, as in NASNet; three resolutions after the stem."""
    import keras

    layers = keras.layers
    inputs = networks.image(size)
    before = x = networks.conv(4, "stem", strides=2)(inputs)
    for level in range(3):
        for number in range(per_resolution):
            name = f"cell{level}_{number}"
            strides = 2 if level and number == 0 else 1
            width = 4 * 2**level
            shrink = before.shape[1] // x.shape[1]
            left = networks.conv(width, f"{name}_left", strides=strides * shrink)(before)
            right = layers.BatchNormalization()(networks.conv(width, f"{name}_right", strides=strides)(x))
            before, x = x, layers.Concatenate(name=name)([left, layers.ReLU()(right)])
    return keras.Model(inputs, layers.ReLU(name="output")(x), name="cells")


def tapped(model: Any, cuts: list[Any]) -> Any:
    """The backbone's stages, pooled and side by side; the added layers have automatic names, as bad as can be."""
    import keras

    from autotl.backbones.graph import calls, flatten

    graph = flatten(model)
    nodes = calls(graph)
    pooled = [keras.layers.GlobalAveragePooling2D()(nodes[cut.index].outputs[0]) for cut in cuts]
    return keras.Model(graph.inputs[0], keras.layers.Concatenate()(pooled), name="tapped")


def test_a_network_of_cells_gets_a_stage_at_each_resolution(networks: SimpleNamespace) -> None:
    model = cells(networks)
    assert networks.names(model) == ["stem", "cell2_2", "output"]
    found = stage_cuts(model)
    assert len(found) == 3
    assert [cut.tensors for cut in found] == [2, 3, 1]
    assert all(cut.shape == (sum(np.prod(shape) for shape in alive(model, cut)),) for cut in found[:2])
    networks.assert_splits_equal_whole(model, found, 32)


def alive(model: Any, cut: Any) -> list[tuple[int, ...]]:
    from autotl.backbones.graph import call_names, calls

    nodes = calls(model)
    made = dict(zip(call_names(nodes), nodes, strict=True))
    return [made[name].outputs[0].shape[1:] for name in (*cut.beside, cut.name)]


def test_a_stage_with_several_tensors_is_the_cheapest_place_near_the_change(networks: SimpleNamespace) -> None:
    first, second, _last = stage_cuts(cells(networks))
    # the last two cells of a resolution are 2 x 16 x 16 x 8 and 2 x 8 x 8 x 16 numbers, the next cells are smaller
    assert first.shape[0] < 2 * 16 * 16 * 8 / 1.5
    assert second.shape[0] < 2 * 8 * 8 * 16


def test_variables_are_shared_and_trained_on_one_side_only(networks: SimpleNamespace) -> None:
    model = cells(networks)
    left = [id(variable) for variable in model.trainable_variables]
    for cut in stage_cuts(model)[:-1]:
        prefix, tail = split_model(model, cut)
        frozen = {id(variable) for variable in prefix.variables}
        trained = {id(variable) for variable in tail.variables}
        assert not frozen & trained
        assert frozen | trained == {id(variable) for variable in model.variables}
        assert len(tail.trainable_variables) < len(left)
        left = tail.trainable_variables


def test_both_parts_of_a_packed_cut_can_be_saved_in_safe_mode(networks: SimpleNamespace, tmp_path: Path) -> None:
    import keras

    model = cells(networks)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    features = images
    for number, part in enumerate(split_model(model, stage_cuts(model)[0])):
        part.save(tmp_path / f"{number}.keras")
        features = keras.saving.load_model(tmp_path / f"{number}.keras", safe_mode=True)(features)
    np.testing.assert_allclose(features, model(images), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", ["chain", "cells"])
def test_a_tapped_backbone_is_split_at_the_stages_of_the_plain_one(networks: SimpleNamespace, kind: str) -> None:
    import keras

    model = cells(networks) if kind == "cells" else chain(networks)
    cuts = stage_cuts(model)
    assert len(cuts) > 2
    more = tapped(model, cuts)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    whole = np.asarray(more(images, training=False))
    channels = 0
    for cut in cuts:
        prefix, tail = split_model(more, cut)
        again = np.asarray(tail(prefix(images, training=False), training=False))
        np.testing.assert_allclose(again, whole, atol=1e-5 * max(1.0, float(np.abs(whole).max())), err_msg=cut.name)
        plain_prefix, plain_tail = split_model(model, cut)
        assert ids(prefix) == ids(plain_prefix)
        assert ids(tail) == (set() if plain_tail is None else ids(plain_tail))
        # earlier stages travel as pooled vectors, never as maps
        assert int(np.prod(prefix.output_shape[1:])) == int(np.prod(cut.shape)) + channels
        channels += keras.Model(model.inputs, alive_output(model, cut)).output_shape[-1]


def ids(model: Any) -> set[int]:
    return {id(variable) for variable in model.variables}


def alive_output(model: Any, cut: Any) -> Any:
    from autotl.backbones.graph import calls

    return calls(model)[cut.index].outputs[0]


def chain(networks: SimpleNamespace) -> Any:
    """Poolings and additions without names of their own, inside and between the stages."""
    import keras

    layers = keras.layers
    inputs = networks.image(32)
    x = networks.conv(4, "stem")(inputs)
    for level in range(3):
        x = networks.conv(4, f"down{level}", strides=2)(x)
        gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
        x = layers.Add()([x, networks.conv(4, f"inside{level}")(x * layers.Reshape((1, 1, 4))(gate))])
    return keras.Model(inputs, x, name="chain")


def test_a_table_without_a_batch_is_no_part_of_a_cut(networks: SimpleNamespace) -> None:
    import keras

    custom = networks.custom_layers()
    inputs = networks.image()
    table = custom.Table(name="table")(inputs)
    x = keras.layers.Reshape((16, 8))(keras.layers.Conv2D(8, 4, strides=4, name="patches")(inputs))
    for number in range(3):
        x = custom.Block(name=f"block{number}")(x, table=table)
    model = keras.Model(inputs, x)
    assert [name for name in networks.names(model) if name.startswith("block")] == ["block0", "block1", "block2"]
    assert all(cut.shape == (16, 8) for cut in stage_cuts(model))
    networks.assert_splits_equal_whole(model, find_cuts(model))
