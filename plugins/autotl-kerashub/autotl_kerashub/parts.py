"""KerasHub's layers as layers that Keras can save, load and place anywhere in a graph.

KerasHub saves a backbone as a whole, by the arguments of its constructor. Its layers are not meant to be saved one by
one: many have configurations that their constructors refuse (`key_dim` of `ViTEncoderBlock`) or that leave arguments
out (`SwinTransformerBlock`), and some report wrong shapes (`SigLIPVisionEmbedding`). But a backbone that is split at a
freeze depth consists of single layers. So each of them is held by a `Part`, which knows the right arguments.

A model with parts in it can only be loaded after `import autotl_kerashub.parts`.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from autotl.errors import PluginError

PACKAGE = "autotl_kerashub"

MODULES = {
    "vit.vit_layers": ("ViTPatchingAndEmbedding", "ViTEncoderBlock"),
    "deit.deit_layers": ("DeiTEmbeddings", "DeiTEncoderBlock"),
    "swin_transformer.swin_transformer_layers": ("PatchEmbedding", "PatchMerging", "SwinTransformerBlock"),
    "dinov2.dinov2_layers": ("DINOV2Layer",),
    "dinov3.dinov3_layers": ("DINOV3Layer", "DINOV3RopePositionEmbedding"),
    "siglip.siglip_layers": ("SigLIPVisionEmbedding", "SigLIPEncoderLayer"),
    "hgnetv2.hgnetv2_layers": ("HGNetV2Embeddings", "HGNetV2Stage"),
    "mobilenet.mobilenet_backbone": ("DepthwiseConvBlock", "InvertedResidualBlock", "ConvBnActBlock"),
    "efficientnet.cba": ("CBABlock",),
    "efficientnet.fusedmbconv": ("FusedMBConvBlock",),
    "efficientnet.mbconv": ("MBConvBlock",),
    "mit.mit_layers": ("OverlappingPatchingAndEmbedding", "HierarchicalTransformerEncoder"),
}
"""Modules below `keras_hub.src.models` and the layer classes in them; nothing else is ever imported for a part."""

_PLACES = {name: module for module, names in MODULES.items() for name in names}
_BASE_ARGUMENTS = {"name", "dtype", "trainable", "self", "args", "kwargs"}

_OWN: dict[str, Callable[[Any], dict[str, Any]]] = {
    "PatchEmbedding": lambda layer: {
        "patch_size": layer.patch_size,
        "embed_dim": layer.embed_dim,
        "norm_layer": None if layer.norm is None else type(layer.norm).__name__,
    },
}
"""All constructor arguments where `get_config` fails; a class stands there by its name."""

_MISSING: dict[str, Callable[[Any], dict[str, Any]]] = {
    "ViTPatchingAndEmbedding": lambda layer: {"use_patch_bias": layer.use_patch_bias},
    "SwinTransformerBlock": lambda layer: {
        "window_size": layer.attn.win_h,  # the block's own is cut to its map, its bias table is not
        "qkv_bias": layer.attn.qkv_bias,
        "dropout_rate": layer.attn.proj_drop_rate,
        "attention_dropout": layer.attn.attn_drop_rate,
        "drop_path": float(getattr(layer.drop_path, "drop_prob", 0.0)),
    },
    "HierarchicalTransformerEncoder": lambda layer: {
        "sr_ratio": layer.attn.sr_ratio,
        "drop_prob": float(layer.drop_prop),
        "layer_norm_epsilon": layer.norm1.epsilon,
    },
}
"""Constructor arguments that the `get_config` of KerasHub 0.32 leaves out or misnames."""


def layer_class(kind: str) -> type:
    """The KerasHub layer class of that name.

    Raises:
        PluginError: it is none that a backbone of this plugin is made of.
    """
    if kind not in _PLACES:
        raise PluginError(
            f"A part of a KerasHub network must be one of {', '.join(sorted(_PLACES))}, not {kind!r}. "
            "Load the model with the version of autotl-kerashub that saved it."
        )
    found: type = getattr(importlib.import_module(f"keras_hub.src.models.{_PLACES[kind]}"), kind)
    return found


def arguments_of(layer: Any) -> dict[str, Any]:
    """The arguments that construct a layer like this one, without name and dtype."""
    kind = type(layer).__name__
    if kind in _OWN:
        return _OWN[kind](layer)
    accepted = set(inspect.signature(type(layer).__init__).parameters) - _BASE_ARGUMENTS
    arguments = {name: value for name, value in layer.get_config().items() if name in accepted}
    return arguments | _MISSING[kind](layer) if kind in _MISSING else arguments


def insist_on_values(inputs: Any) -> None:
    """Refuse to be taken apart: `call` sees a symbol only where a graph is to hold the calls inside a layer instead.

    autotl does that to large layers that hold others, and keeps those whole that refuse.

    Raises:
        TypeError: it is a symbol.
    """
    if isinstance(inputs, keras.KerasTensor):
        raise TypeError("A part of a KerasHub network cannot be taken apart: the layers in it cannot be saved.")


@keras.saving.register_keras_serializable(package=PACKAGE)
class Part(keras.layers.Layer):
    """One KerasHub layer, as a function of one tensor.

    Args:
        kind: its class, a name in `MODULES`.
        arguments: of its constructor.
        options: further arguments of every call.
        tokens: how many the output `[B, T, c]` has, where reshaping in KerasHub's layer loses their number.
        layer: the layer itself where it exists already; made from `kind` and `arguments` otherwise.
    """

    def __init__(
        self,
        kind: str,
        arguments: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        tokens: int | None = None,
        layer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.kind = kind
        self.arguments = dict(arguments)
        self.options = {} if options is None else dict(options)
        self.tokens = tokens
        self.layer = self._make() if layer is None else layer

    def _make(self) -> Any:
        arguments = {**self.arguments, "name": self.name, "dtype": self.dtype_policy}
        if arguments.get("norm_layer") is not None:
            arguments["norm_layer"] = keras.layers.LayerNormalization
        return layer_class(self.kind)(**arguments)

    def build(self, input_shape: Any) -> None:
        if not self.layer.built and type(self.layer).build is not keras.layers.Layer.build:
            self.layer.build(input_shape)  # others make their weights when they are called

    def call(self, inputs: Any) -> Any:
        insist_on_values(inputs)
        outputs = self.layer(inputs, **self.options)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs  # some also return attention scores, or None
        return outputs if self.tokens is None else keras.ops.reshape(outputs, (-1, self.tokens, outputs.shape[-1]))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kind": self.kind,
            "arguments": self.arguments,
            "options": self.options,
            "tokens": self.tokens,
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class RotaryPart(Part):
    """A DINOv3 block that computes its rotary positions itself.

    KerasHub computes them once, from the image, of which they need the size only; handed on from there they would keep
    the image alive behind every block, and no place in the graph could be cut.

    Args:
        positions: arguments of `DINOV3RopePositionEmbedding`.
        image_size: in pixels.
    """

    def __init__(self, *args: Any, positions: Mapping[str, Any], image_size: int, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.positions = dict(positions)
        self.image_size = image_size
        self.rotary = layer_class("DINOV3RopePositionEmbedding")(**self.positions, name="rotary")

    def call(self, inputs: Any) -> Any:
        insist_on_values(inputs)
        blank = keras.ops.zeros((1, self.image_size, self.image_size, 3), inputs.dtype)
        return self.layer(inputs, position_embeddings=self.rotary(blank), **self.options)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "positions": self.positions, "image_size": self.image_size}


@keras.saving.register_keras_serializable(package=PACKAGE)
class PatchTokens(keras.layers.Layer):
    """The first layer of DINOv2 and DINOv3: `[B, S, S, 3]` to class token, register tokens and patches `[B, T, c]`.

    KerasHub's `DINOV2Embedding` trains an interpolated copy of the position embeddings and interpolates that back when
    it is saved, so that a tuned network of another resolution than 518 pixels does not come back as it was saved; a
    change whose sum is negative is lost altogether. Here the original embeddings are trained and interpolated whenever
    the layer runs, and their number does not depend on the resolution. The token for masked patches, which only
    self-supervised training uses, is left out: it would never get a gradient.

    Args:
        channels: of a token.
        patch_size: in pixels.
        registers: number of register tokens.
        grid: patches per side of the images that the position embeddings were trained on; 0 without such (DINOv3).
        antialias: whether shrinking the grid of positions filters it first.
    """

    def __init__(self, channels: int, patch_size: int, registers: int, grid: int, antialias: bool, **kwargs: Any):
        super().__init__(**kwargs)
        self.channels, self.patch_size, self.registers = channels, patch_size, registers
        self.grid, self.antialias = grid, antialias
        self.projection = keras.layers.Conv2D(
            channels, patch_size, strides=patch_size, dtype=self.dtype_policy, name="projection"
        )

    def build(self, input_shape: Any) -> None:
        self.projection.build(input_shape)
        self.class_token = self._embeddings("class_token", 1)
        self.register_tokens: Any = self._embeddings("register_tokens", self.registers) if self.registers else None
        self.positions: Any = self._embeddings("positions", 1 + self.grid**2) if self.grid else None

    def _embeddings(self, name: str, count: int) -> Any:
        small = keras.initializers.TruncatedNormal(stddev=0.02)
        return self.add_weight(shape=(1, count, self.channels), initializer=small, name=name)

    def call(self, inputs: Any) -> Any:
        ops = keras.ops
        patches = self.projection(inputs)
        side = patches.shape[1]
        patches = ops.reshape(patches, (-1, side * side, self.channels))
        first = ops.cast(self.class_token, patches.dtype)
        if self.positions is not None:
            positions = ops.cast(self._interpolated(side), patches.dtype)
            first, patches = first + positions[:, :1], patches + positions[:, 1:]
        front = [first]
        if self.register_tokens is not None:
            front.append(ops.cast(self.register_tokens, patches.dtype))
        return ops.concatenate([*(ops.tile(each, (ops.shape(patches)[0], 1, 1)) for each in front), patches], axis=1)

    def _interpolated(self, side: int) -> Any:
        ops = keras.ops
        positions = ops.cast(self.positions, "float32")
        if side == self.grid:
            return positions
        square = ops.reshape(positions[:, 1:], (1, self.grid, self.grid, self.channels))
        resized = ops.image.resize(
            square, (side, side), interpolation="bicubic", antialias=self.antialias, data_format="channels_last"
        )
        return ops.concatenate([positions[:, :1], ops.reshape(resized, (1, side * side, self.channels))], axis=1)

    def get_config(self) -> dict[str, Any]:
        own = ("channels", "patch_size", "registers", "grid", "antialias")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
