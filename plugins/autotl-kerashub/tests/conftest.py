"""A small network of every family, saved the way a user saves a preset."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("keras_hub") is None or find_spec("autotl_kerashub") is None:  # where only the core is tested
    collect_ignore_glob = ["test_*.py"]

TRANSFORMER = {"num_layers": 3, "num_heads": 2, "hidden_dim": 16}
SMALL: dict[str, dict[str, Any]] = {
    "ViTBackbone": {**TRANSFORMER, "image_shape": (32, 32, 3), "patch_size": 8, "mlp_dim": 32},
    "DeiTBackbone": {**TRANSFORMER, "image_shape": (32, 32, 3), "patch_size": 8, "intermediate_dim": 32},
    "SwinTransformerBackbone": {
        "image_shape": (32, 32, 3),
        "embed_dim": 8,
        "depths": (2, 2),
        "num_heads": (1, 2),
        "window_size": 4,
        "qkv_bias": False,
    },
    "DINOV2Backbone": {
        **TRANSFORMER,
        "patch_size": 7,
        "intermediate_dim": 32,
        "num_register_tokens": 2,
        "image_shape": (49, 49, 3),
        "position_embedding_shape": (49, 49),
        "antialias_in_interpolation": True,
    },
    "DINOV3Backbone": {
        **TRANSFORMER,
        "patch_size": 8,
        "intermediate_dim": 32,
        "use_key_bias": False,
        "image_shape": (32, 32, 3),
    },
    "SigLIPVisionEncoder": {**TRANSFORMER, "patch_size": 8, "intermediate_dim": 32, "image_shape": (32, 32, 3)},
    "HGNetV2Backbone": {
        "depths": [1, 1],
        "embedding_size": 8,
        "hidden_sizes": [16, 24],
        "stem_channels": [3, 8, 8],
        "hidden_act": "relu",
        "use_learnable_affine_block": True,
        "stackwise_stage_filters": [[8, 8, 16, 1, 2, 3], [16, 8, 24, 2, 2, 3]],
        "apply_downsample": [False, True],
        "use_lightweight_conv_block": [False, True],
    },
    "MobileNetBackbone": {
        "stackwise_expansion": [[16, 24], [24]],
        "stackwise_num_blocks": [2, 1],
        "stackwise_num_filters": [[8, 8], [16]],
        "stackwise_kernel_size": [[3, 3], [5]],
        "stackwise_num_strides": [[2, 1], [2]],
        "stackwise_se_ratio": [[None, 0.25], [0.25]],
        "stackwise_activation": [["relu", "relu"], ["hard_swish"]],
        "stackwise_padding": [[1, 1], [2]],
        "output_num_filters": 32,
        "depthwise_filters": 8,
        "depthwise_stride": 2,
        "depthwise_residual": False,
        "last_layer_filter": 32,
        "squeeze_and_excite": 0.5,
    },
    "EfficientNetBackbone": {
        "stackwise_width_coefficients": [1.0] * 4,
        "stackwise_depth_coefficients": [1.0] * 4,
        "stackwise_kernel_sizes": [3, 3, 3, 3],
        "stackwise_num_repeats": [1, 2, 1, 2],
        "stackwise_input_filters": [8, 8, 16, 16],
        "stackwise_output_filters": [8, 16, 16, 16],
        "stackwise_expansion_ratios": [1, 4, 4, 4],
        "stackwise_squeeze_and_excite_ratios": [0, 0, 0.25, 0.25],
        "stackwise_strides": [1, 2, 1, 2],
        "stackwise_block_types": ["cba", "fused", "v1", "unfused"],
    },
    "ResNetBackbone": {
        "input_conv_filters": [8, 8],
        "input_conv_kernel_sizes": [3, 3],
        "stackwise_num_filters": [64, 64],
        "stackwise_num_blocks": [1, 2],
        "stackwise_num_strides": [1, 2],
        "block_type": "basic_block_vd",
    },
    "ResNetBackbone-v2": {
        "input_conv_filters": [8],
        "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": [64, 64],
        "stackwise_num_blocks": [1, 2],
        "stackwise_num_strides": [1, 2],
        "block_type": "bottleneck_block",
        "use_pre_activation": True,
    },
    "CSPNetBackbone": {
        "stem_filters": 8,
        "stem_kernel_size": 3,
        "stem_strides": 1,
        "stackwise_depth": [1, 2],
        "stackwise_strides": [2, 2],
        "stackwise_num_filters": [16, 32],
        "block_type": "dark_block",
        "stage_type": "csp",
        "bottle_ratio": [0.5],
        "expand_ratio": [2.0],
        "stem_padding": "same",
        "down_growth": True,
    },
    "DenseNetBackbone": {"stackwise_num_repeats": [1, 2], "growth_rate": 8},
    "VGGBackbone": {"stackwise_num_repeats": [1, 2], "stackwise_num_filters": [8, 16]},
    "XceptionBackbone": {
        "stackwise_conv_filters": [[8, 8], [16, 16], [16, 16, 16], [24]],
        "stackwise_pooling": [False, True, False, False],
    },
    "MiTBackbone": {
        "layerwise_depths": [1, 2],
        "num_layers": 2,
        "layerwise_num_heads": [1, 2],
        "layerwise_sr_ratios": [2, 1],
        "max_drop_path_rate": 0.1,
        "layerwise_patch_sizes": [7, 3],
        "layerwise_strides": [4, 2],
        "image_shape": (64, 64, 3),
        "hidden_dims": [8, 16],
    },
}
IMAGE_SIZE = 32
NOWHERE = "http://127.0.0.1:9"
SCALE, OFFSET = [1 / 60, 1 / 55, 1 / 50], [-2.0, -2.1, -2.2]
"""Of no network in the table, so that a test sees whether a preset's own are used."""


@cache
def make_small(kind: str) -> Any:
    """A small backbone with random weights; nothing in it is at a neutral start, so that a test sees what is lost."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    backbone = getattr(keras_hub.models, kind.partition("-")[0])(**SMALL[kind])
    for variable in backbone.weights:
        if "float" in variable.dtype and len(variable.shape) == 1:
            variable.assign(variable + keras.random.uniform(variable.shape, 0.0, 0.2))
    return backbone


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a small preset of that kind, saved once; with an image converter of its own."""
    import keras_hub

    made: dict[str, Path] = {}

    def save(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("presets") / kind
            backbone = make_small(kind)
            backbone.save_to_preset(str(made[kind]))
            name = kind.partition("-")[0].replace("Backbone", "").replace("VisionEncoder", "")
            size = (SMALL[kind].get("image_shape") or (IMAGE_SIZE,))[0]
            converter = getattr(keras_hub.layers, f"{name}ImageConverter")
            converter(image_size=(size, size), scale=SCALE, offset=OFFSET).save_to_preset(str(made[kind]))
        return made[kind]

    return save


@pytest.fixture(scope="session")
def original() -> Callable[[str], Any]:
    """The backbone that `saved` saves."""
    return make_small


@pytest.fixture(scope="session")
def kinds() -> tuple[str, ...]:
    return tuple(SMALL)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network, and an empty cache."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path
