"""The published architectures of KerasHub's image presets, as constructor arguments; for networks with random weights.

A preset's own `config.json` is not in KerasHub's wheel, so these come from what its weights were converted from:

- ResNet, ResNetV2, CSPNet, DenseNet, VGG, MobileNetV3, EfficientNet, HGNetV2: the arguments that KerasHub's timm
  converters make (`keras_hub/src/utils/timm/convert_*.py`), asked from there;
- the others: the papers' tables, in the terms of KerasHub's constructors, with the deviations that its conversion
  scripts make (keras-team/keras-hub, tools/checkpoint_conversion).

Each is held to the number of parameters that KerasHub publishes for the preset (tools/make_table.py, and a test).
Nothing here imports KerasHub before it is called.
"""

import importlib
from typing import Any

Arguments = dict[str, Any]

# layers, heads, hidden, mlp: https://arxiv.org/abs/2010.11929 table 1, https://arxiv.org/abs/2012.12877 table 1
_VIT = {
    "tiny": (12, 3, 192, 768),
    "small": (12, 6, 384, 1536),
    "base": (12, 12, 768, 3072),
    "large": (24, 16, 1024, 4096),
    "huge": (32, 16, 1280, 5120),
    "giant": (40, 24, 1536, 6144),
    "so400m": (27, 16, 1152, 4304),
    "giant_opt": (40, 16, 1536, 6144),
}
_SWIN = {  # embedding, depths, heads: https://arxiv.org/abs/2103.14030 section 3.3
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "large": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}
_RESNET_VD = {  # blocks: https://arxiv.org/abs/1812.01187, PaddleClas
    "18": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
    "200": (3, 12, 48, 3),
}
_MIT = {  # depths, widths: https://arxiv.org/abs/2105.15203 table 6
    "b0": ((2, 2, 2, 2), (32, 64, 160, 256)),
    "b1": ((2, 2, 2, 2), (64, 128, 320, 512)),
    "b2": ((3, 4, 6, 3), (64, 128, 320, 512)),
    "b3": ((3, 4, 18, 3), (64, 128, 320, 512)),
    "b4": ((3, 8, 27, 3), (64, 128, 320, 512)),
    "b5": ((3, 6, 40, 3), (64, 128, 320, 512)),
}


def vit(size: str, patch: int, image_size: int) -> Arguments:
    """ViT: google/vit-* on Hugging Face; KerasHub leaves the epsilon of the normalisations at its own 1e-6."""
    layers, heads, hidden, mlp = _VIT[size]
    return {
        "image_shape": (image_size, image_size, 3),
        "patch_size": (patch, patch),
        "num_layers": layers,
        "num_heads": heads,
        "hidden_dim": hidden,
        "mlp_dim": mlp,
    }


def deit(size: str, image_size: int) -> Arguments:
    """Distilled DeiT: facebook/deit-*-distilled-* on Hugging Face."""
    layers, heads, hidden, intermediate = _VIT[size]
    return {
        "image_shape": (image_size, image_size, 3),
        "patch_size": 16,
        "num_layers": layers,
        "num_heads": heads,
        "hidden_dim": hidden,
        "intermediate_dim": intermediate,
        "layer_norm_epsilon": 1e-12,
    }


def swin(size: str, window: int, image_size: int) -> Arguments:
    """Swin: microsoft/swin-* on Hugging Face."""
    embedding, depths, heads = _SWIN[size]
    return {
        "image_shape": (image_size, image_size, 3),
        "embed_dim": embedding,
        "depths": depths,
        "num_heads": heads,
        "window_size": window,
    }


def dinov2(size: str, registers: bool) -> Arguments:
    """DINOv2: facebook/dinov2-* on Hugging Face."""
    layers, heads, hidden, intermediate = _VIT[size]
    return {
        "patch_size": 14,
        "num_layers": layers,
        "hidden_dim": hidden,
        "num_heads": heads,
        "intermediate_dim": intermediate,
        "num_register_tokens": 4 if registers else 0,
        "use_swiglu_ffn": size == "giant",
        "image_shape": (518, 518, 3),
        "position_embedding_shape": (518, 518),
        "antialias_in_interpolation": registers,
    }


def dinov3(size: str) -> Arguments:
    """DINOv3: https://arxiv.org/abs/2508.10104 table 2, facebook/dinov3-vit* on Hugging Face."""
    gated = size == "small_plus"
    layers, heads, hidden, intermediate = _VIT[size.removesuffix("_plus")]
    return {
        "patch_size": 16,
        "num_layers": layers,
        "hidden_dim": hidden,
        "num_heads": heads,
        "intermediate_dim": intermediate,
        "num_register_tokens": 4,
        "hidden_activation": "silu" if gated else "gelu",
        "use_gated_mlp": gated,
        "use_key_bias": False,
        "image_shape": (224, 224, 3),
    }


def siglip(size: str, patch: int, image_size: int) -> Arguments:
    """The vision encoder of SigLIP: https://arxiv.org/abs/2303.15343, https://arxiv.org/abs/2502.14786."""
    layers, heads, hidden, intermediate = _VIT[size]
    return {
        "patch_size": patch,
        "hidden_dim": hidden,
        "num_layers": layers,
        "num_heads": heads,
        "intermediate_dim": intermediate,
        "image_shape": (image_size, image_size, 3),
    }


def resnet_vd(layers: str) -> Arguments:
    """ResNet-vd, as PaddleClas has it."""
    return {
        "input_conv_filters": [32, 32, 64],
        "input_conv_kernel_sizes": [3, 3, 3],
        "stackwise_num_filters": [64, 128, 256, 512],
        "stackwise_num_blocks": list(_RESNET_VD[layers]),
        "stackwise_num_strides": [1, 2, 2, 2],
        "block_type": "basic_block_vd" if layers in ("18", "34") else "bottleneck_block_vd",
    }


def mit(size: str) -> Arguments:
    """The encoder of SegFormer: nvidia/segformer-* on Hugging Face."""
    depths, widths = _MIT[size]
    return {
        "layerwise_depths": depths,
        "num_layers": 4,
        "layerwise_num_heads": (1, 2, 5, 8),
        "layerwise_sr_ratios": (8, 4, 2, 1),
        "max_drop_path_rate": 0.1,
        "layerwise_patch_sizes": (7, 3, 3, 3),
        "layerwise_strides": (4, 2, 2, 2),
        "hidden_dims": widths,
        "image_shape": (224, 224, 3),
    }


def xception() -> Arguments:
    """Xception: https://arxiv.org/abs/1610.02357 figure 5."""
    middle = [[728, 728, 728]] * 8
    return {
        "stackwise_conv_filters": [
            [32, 64],
            [128, 128],
            [256, 256],
            [728, 728],
            *middle,
            [728, 1024],
            [1536, 2048],
        ],
        "stackwise_pooling": [False, True, True, True, *[False] * len(middle), True, False],
    }


def timm(module: str, architecture: str, tag: str = "") -> Arguments:
    """What KerasHub's own converter of timm checkpoints would construct."""
    converter = importlib.import_module(f"keras_hub.src.utils.timm.convert_{module}")
    arguments: Arguments = converter.convert_backbone_config(
        {"architecture": architecture, "pretrained_cfg": {"tag": tag}}
    )
    return arguments
