from types import SimpleNamespace
from typing import Any

import pytest

from autotl.backbones.cuts import Cut, choose_cut, stage_cuts
from autotl.errors import UsageError


def stages(count: int) -> list[Cut]:
    return [Cut(f"stage{number}", number, (1, 1, 1), (number + 1) / count) for number in range(count)]


@pytest.mark.parametrize(("depth", "expected"), [(0.0, None), (0.2, 0), (0.6, 2), (0.79, 3), (1.0, 4)])
def test_a_freeze_depth_snaps_to_the_nearest_stage(depth: float, expected: int | None) -> None:
    cuts = stages(5)
    assert choose_cut(cuts, depth) == (None if expected is None else cuts[expected])


@pytest.mark.parametrize("depth", [-0.1, 1.01, float("nan")])
def test_a_freeze_depth_outside_zero_to_one_is_refused(depth: float) -> None:
    with pytest.raises(UsageError, match="fraction"):
        choose_cut(stages(3), depth)


@pytest.mark.keras
def test_stages_end_before_the_resolution_changes_at_the_narrowest_place(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image(32)
    x = keras.layers.Rescaling(1 / 255, name="normalisation")(inputs)
    x = networks.conv(8, "stem")(x)
    x = keras.layers.MaxPooling2D(name="pool")(x)
    x = keras.layers.Add(name="block")([x, networks.conv(8, "inside")(x)])
    x = networks.conv(48, "expand")(x)
    x = keras.layers.ZeroPadding2D(name="pad")(x)
    x = keras.layers.Conv2D(16, 3, strides=2, name="down")(x)
    model = keras.Model(inputs, keras.layers.ReLU(name="relu")(x))
    found = stage_cuts(model)
    assert [(cut.name, cut.shape) for cut in found] == [
        ("pool", (16, 16, 8)),
        ("block", (16, 16, 8)),
        ("relu", (8, 8, 16)),
    ]
    assert found[-1].frozen_fraction == 1.0
    networks.assert_splits_equal_whole(model, found, 32)


@pytest.mark.keras
def test_a_transformer_of_one_resolution_is_staged_by_its_blocks(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image(32)
    x = keras.layers.Conv2D(16, 8, strides=8, name="patches")(inputs)
    x = keras.layers.Reshape((16, 16), name="tokens")(x)
    for number in range(15):
        x = keras.layers.Add(name=f"attention{number}")(
            [x, keras.layers.Dense(16)(keras.layers.LayerNormalization()(x))]
        )
        x = keras.layers.Add(name=f"block{number}")([x, keras.layers.Dense(16)(keras.layers.LayerNormalization()(x))])
    model = keras.Model(inputs, x)
    found = stage_cuts(model)
    assert 4 <= len(found) <= 12
    assert all(cut.name.startswith(("attention", "block")) for cut in found)
    assert found[-1].name == "block14"
    networks.assert_splits_equal_whole(model, found, 32)


def attend(x: Any, name: str) -> Any:
    """A block of a transformer; the attention is called with keyword arguments and gives two tensors."""
    import keras

    layers = keras.layers
    width = x.shape[-1]
    y = layers.LayerNormalization()(x)
    y, _scores = layers.MultiHeadAttention(2, width // 2, name=f"{name}_attention")(
        query=y, value=y, key=y, return_attention_scores=True
    )
    x = layers.Add(name=f"{name}_middle")([x, y])
    y = layers.Dense(width)(layers.Dense(2 * width, activation="gelu")(layers.LayerNormalization()(x)))
    return layers.Add(name=f"{name}_end")([x, y])


@pytest.mark.keras
def test_a_transformer_with_a_class_token_is_staged_by_its_blocks(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image(32)
    x = keras.layers.Conv2D(8, 8, strides=8, name="patches")(inputs)
    x = networks.custom_layers().Embedding(name="embedding")(keras.layers.Reshape((16, 8))(x))
    for number in range(4):
        x = attend(x, f"block{number}")
    model = keras.Model(inputs, keras.layers.LayerNormalization(name="norm")(x))
    found = stage_cuts(model)
    assert [cut.name for cut in found][1::2] == [f"block{number}_end" for number in range(4)]
    assert found[-1].name == "norm"
    assert {cut.shape for cut in found} == {(17, 8)}
    networks.assert_splits_equal_whole(model, found, 32)


@pytest.mark.keras
def test_taking_the_class_token_is_no_change_of_resolution(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image(32)
    x = keras.layers.Conv2D(8, 8, strides=8, name="patches")(inputs)
    x = networks.custom_layers().Embedding(name="embedding")(keras.layers.Reshape((16, 8))(x))
    for number in range(3):
        x = attend(x, f"block{number}")
    token = keras.layers.LayerNormalization(name="norm")(x)[:, :1]
    found = stage_cuts(keras.Model(inputs, token))
    assert {f"block{number}_end" for number in range(3)} <= {cut.name for cut in found}
    assert found[-1].shape == (1, 8)


@pytest.mark.keras
def test_a_fall_of_the_number_of_tokens_by_four_ends_a_stage(networks: SimpleNamespace) -> None:
    import keras

    layers = keras.layers
    inputs = networks.image(32)
    x = layers.Reshape((64, 8))(layers.Conv2D(8, 4, strides=4, name="patches")(inputs))
    for level, side in enumerate((8, 4, 2)):
        for number in range(2):
            x = attend(x, f"stage{level}_block{number}")
        if side > 2:  # patch merging
            width = x.shape[-1]
            x = layers.Reshape((side // 2, 2, side // 2, 2, width))(x)
            x = layers.Reshape((side * side // 4, 4 * width))(layers.Permute((1, 3, 2, 4, 5))(x))
            x = layers.Dense(2 * width, use_bias=False, name=f"merge{level}")(layers.LayerNormalization()(x))
    model = keras.Model(inputs, layers.LayerNormalization(name="norm")(x))
    found = stage_cuts(model)
    # as small as the end of the stage, and the latest such place before the next layer with a kernel
    assert [cut.shape for cut in found] == [(16, 4 * 8), (4, 4 * 16), (4, 32)]
    names = networks.names(model)
    for cut, before, after in zip(
        found, ("stage0_block1_end", "stage1_block1_end"), ("merge0", "merge1"), strict=False
    ):
        assert names.index(before) < names.index(cut.name) < names.index(after)
    networks.assert_splits_equal_whole(model, found, 32)


@pytest.mark.keras
def test_blocks_that_are_single_layers_are_the_stages_of_a_trunk(networks: SimpleNamespace) -> None:
    import keras

    inputs = networks.image(32)
    x = keras.layers.Conv2D(8, 8, strides=8, name="patches")(inputs)
    x = keras.layers.Dropout(0.1)(keras.layers.Reshape((16, 8))(x))
    for number in range(5):
        x = networks.custom_layers().Block(name=f"block{number}")(x)
    model = keras.Model(inputs, keras.layers.LayerNormalization(name="norm")(x))
    found = stage_cuts(model)
    assert [cut.name for cut in found] == [*(f"block{number}" for number in range(5)), "norm"]
    networks.assert_splits_equal_whole(model, found, 32)
