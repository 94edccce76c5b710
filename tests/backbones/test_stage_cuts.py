from types import SimpleNamespace

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
