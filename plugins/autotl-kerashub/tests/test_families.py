"""A small network of every family, opened from a folder: what autotl builds is what KerasHub computes, and cuts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autotl_kerashub import open_preset

from autotl.backbones.cuts import find_cuts, split_model, stage_cuts
from autotl.errors import UsageError
from autotl.testing import check_backbone

pytestmark = pytest.mark.keras

KINDS = (
    "ViTBackbone",
    "DeiTBackbone",
    "SwinTransformerBackbone",
    "DINOV2Backbone",
    "DINOV3Backbone",
    "SigLIPVisionEncoder",
    "HGNetV2Backbone",
    "MobileNetBackbone",
    "EfficientNetBackbone",
    "ResNetBackbone",
    "ResNetBackbone-v2",
    "CSPNetBackbone",
    "DenseNetBackbone",
    "VGGBackbone",
    "XceptionBackbone",
    "MiTBackbone",
)
SCALE, OFFSET = [1 / 60, 1 / 55, 1 / 50], [-2.0, -2.1, -2.2]  # of the small presets, conftest.py
BUILT_AT_OTHER_SIZES = ("DINOV2Backbone", "DINOV3Backbone", "ResNetBackbone", "MiTBackbone")


def images(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype("float32")


def of_keras_hub(backbone: Any, folder: Path, batch: np.ndarray) -> np.ndarray:
    """What KerasHub itself computes: its converter, then the backbone that was saved."""
    import keras
    import keras_hub

    converted = keras_hub.layers.ImageConverter.from_preset(str(folder))(batch)
    names = list(backbone.input) if isinstance(backbone.input, dict) else None
    features: Any = backbone({names[0]: converted} if names else converted, training=False)
    features = list(features.values())[-1] if isinstance(features, dict) else features
    return keras.ops.convert_to_numpy(features)


def test_every_family_has_a_small_network(kinds: tuple[str, ...]) -> None:
    from autotl_kerashub.families import FAMILIES

    assert set(kinds) == set(KINDS)
    classes = {kind.partition("-")[0] for kind in kinds}
    assert all(classes & set(family.classes) for family in FAMILIES.values())


@pytest.mark.parametrize("kind", KINDS)
def test_it_keeps_the_contract(kind: str, saved: Callable[[str], Path]) -> None:
    record = open_preset(str(saved(kind)))
    skip = () if kind in BUILT_AT_OTHER_SIZES else ("sizes",)
    conformance = check_backbone(record, record.image_size, "pretrained", skip=skip)
    assert conformance.split_difference <= 1e-5
    assert len(conformance.stages) >= 2


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "SigLIPVisionEncoder"])
def test_it_computes_what_keras_hub_computes(
    kind: str, saved: Callable[[str], Path], original: Callable[[str], Any]
) -> None:
    record = open_preset(str(saved(kind)))
    batch = images(record.image_size)
    features = np.asarray(record.build(record.image_size, "pretrained")(batch, training=False))
    np.testing.assert_allclose(features, of_keras_hub(original(kind), saved(kind), batch), atol=1e-5)


def test_the_tokens_of_siglip_are_what_its_own_head_pools(
    saved: Callable[[str], Path], original: Callable[[str], Any]
) -> None:
    folder = saved("SigLIPVisionEncoder")
    batch = images(32)
    tokens = open_preset(str(folder)).build(32, "pretrained")(batch, training=False)
    assert tuple(tokens.shape) == (2, 16, 16)
    backbone = original("SigLIPVisionEncoder")
    expected = backbone({"images": batch * np.float32(SCALE) + np.float32(OFFSET)}, training=False)
    np.testing.assert_allclose(np.asarray(backbone.head(tokens)), np.asarray(expected), atol=1e-5)


def test_the_images_part_is_taken_out_of_a_whole_siglip(tmp_path: Path) -> None:
    import keras_hub

    vision = keras_hub.models.SigLIPVisionEncoder(8, 16, 2, 2, 32, image_shape=(32, 32, 3))
    text = keras_hub.models.SigLIPTextEncoder(50, 16, 16, 1, 2, 32, max_sequence_length=8)
    keras_hub.models.SigLIPBackbone(vision, text).save_to_preset(str(tmp_path))
    record = open_preset(str(tmp_path))
    assert (record.image_size, record.resizable) == (32, False)
    model = record.build(32, "pretrained")
    batch = images(32) / 127.5 - 1  # no converter was saved: the family's normalisation
    expected = vision.post_layer_norm(vision.encoder_layers[1](vision.encoder_layers[0](vision.embedding(batch))))
    np.testing.assert_allclose(np.asarray(model(images(32))), np.asarray(expected), atol=1e-5)


def test_position_embeddings_of_dinov2_are_interpolated_as_keras_hub_does(saved: Callable[[str], Path]) -> None:
    import keras_hub

    folder = saved("DINOV2Backbone")
    record = open_preset(str(folder))
    assert (record.image_size, record.min_image_size, record.size_multiple) == (49, 28, 7)
    with pytest.raises(UsageError, match="multiples of 7"):
        record.build(30, "pretrained")
    batch = images(28)
    features = np.asarray(record.build(28, "pretrained")(batch, training=False))
    backbone = keras_hub.models.Backbone.from_preset(str(folder), image_shape=(28, 28, 3))
    converter = keras_hub.layers.ImageConverter.from_preset(str(folder), image_size=None)
    expected = backbone({"images": converter(batch)}, training=False)
    np.testing.assert_allclose(features, np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "blocks"),
    [
        ("ViTBackbone", 3),
        ("DeiTBackbone", 3),
        ("DINOV2Backbone", 3),
        ("DINOV3Backbone", 3),
        ("SwinTransformerBackbone", 4),
    ],
)
def test_every_block_of_a_transformer_can_be_frozen(kind: str, blocks: int, saved: Callable[[str], Path]) -> None:
    model = open_preset(str(saved(kind))).build((49 if kind == "DINOV2Backbone" else 32), "random")
    assert len([cut for cut in find_cuts(model) if "block" in cut.name or "layers_" in cut.name]) == blocks
    assert all(cut.tensors == 1 and None not in cut.shape for cut in stage_cuts(model))


def test_a_network_of_windows_takes_sizes_that_hold_whole_windows(saved: Callable[[str], Path]) -> None:
    record = open_preset(str(saved("SwinTransformerBackbone")))
    assert (record.image_size, record.min_image_size, record.size_multiple) == (32, 32, 32)
    with pytest.raises(UsageError, match="multiples of 32"):
        record.resolve_size(48)
    assert record.build(64, "pretrained").output_shape == (None, 64, 16)


def test_fixed_positions_take_no_other_size(saved: Callable[[str], Path]) -> None:
    for kind in ("ViTBackbone", "DeiTBackbone", "SigLIPVisionEncoder"):
        record = open_preset(str(saved(kind)))
        assert not record.resizable and record.nearest_size(224) == 32
        with pytest.raises(UsageError, match="32 pixels and no others"):
            record.build(64, "random")


def test_random_weights_are_not_the_saved_ones_and_a_file_of_weights_is(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    record = open_preset(str(saved("VGGBackbone")))
    batch = images(32)
    pretrained = record.build(32, "pretrained")
    expected = np.asarray(pretrained(batch))
    assert np.abs(np.asarray(record.build(32, "random")(batch)) - expected).max() > 1e-3
    pretrained.save_weights(tmp_path / "mine.weights.h5")
    again = record.build(32, str(tmp_path / "mine.weights.h5"))
    np.testing.assert_array_equal(np.asarray(again(batch)), expected)


def test_no_weights_are_copied_where_keras_hub_holds_many(saved: Callable[[str], Path]) -> None:
    model = open_preset(str(saved("ResNetBackbone"))).build(32, "random")
    prefix, tail = split_model(model, stage_cuts(model)[0])
    assert prefix is not None and tail is not None
    assert prefix.count_params() + tail.count_params() == model.count_params()


@pytest.mark.parametrize(
    ("config", "output"),
    [
        (
            {
                "model_type": "vit",
                "image_size": 32,
                "patch_size": 8,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "hidden_size": 16,
                "intermediate_size": 32,
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
                "qkv_bias": True,
            },
            (None, 17, 16),
        ),
        ({"architecture": "mobilenetv3_small_050", "pretrained_cfg": {"input_size": [3, 32, 32]}}, (None, 1, 1, 288)),
    ],
)
def test_architectures_of_transformers_and_timm_are_built(
    config: dict[str, Any], output: tuple[int | None, ...], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    record = open_preset(str(tmp_path))
    assert record.build(32, "random").output_shape == output
