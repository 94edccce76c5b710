"""From a KerasHub backbone to the graph that autotl wants: one image in, one tensor out, a cut after each block.

KerasHub hides all blocks of a transformer in one encoder layer, and some backbones have several inputs or outputs. Here
their blocks are called one after the other, as `Part`s. Weights are shared with the backbone, never copied, but for two
small exceptions that are said where they are.
"""

from typing import Any

import keras

from autotl_kerashub.families import Normalisation
from autotl_kerashub.parts import Part, PatchTokens, RotaryPart, arguments_of


def assemble(backbone: Any, image_size: int, normalisation: Normalisation, name: str) -> keras.Model:
    """Build the Functional model around a backbone: RGB 0..255 `[B, S, S, 3]` to a feature map or tokens."""
    image = keras.Input((image_size, image_size, 3), name="image")
    scale, offset = (list(each) if isinstance(each, tuple) else each for each in normalisation)
    x = keras.layers.Rescaling(scale, offset, name="normalisation")(image)
    assemble_family = _ASSEMBLE.get(type(backbone).__name__, _convolutional)
    return keras.Model(image, assemble_family(backbone, x, image_size), name=name)


def resized_arguments(class_name: str, image_size: int) -> dict[str, Any]:
    """The constructor argument that sets the resolution of a backbone."""
    shape = (image_size, image_size, 3)
    return {"input_shape" if class_name == "EfficientNetBackbone" else "image_shape": shape}


def _part(
    layer: Any, name: str | None = None, options: dict[str, Any] | None = None, tokens: int | None = None
) -> Part:
    name = layer.name if name is None else name
    arguments = arguments_of(layer)
    return Part(type(layer).__name__, arguments, options, tokens, layer, name=name, dtype=layer.dtype_policy)


def _run(layers: Any, x: Any) -> Any:
    for layer in layers:
        x = _part(layer)(x)
    return x


def _norm(layer: Any, x: Any) -> Any:
    """Normalise the output by a copy of the layer: the name of the original tells under which name it was saved."""
    copy = keras.layers.LayerNormalization.from_config({**layer.get_config(), "name": "norm"})
    normalised = copy(x)
    copy.set_weights(layer.get_weights())
    return normalised


def _vit(backbone: Any, x: Any, image_size: int) -> Any:
    encoder = backbone.get_layer("vit_encoder")
    x = encoder.dropout(_part(backbone.get_layer("vit_patching_and_embedding"))(x))
    return _norm(encoder.layer_norm, _run(encoder.encoder_layers, x))


def _deit(backbone: Any, x: Any, image_size: int) -> Any:
    encoder = backbone.get_layer("deit_encoder")
    x = _part(backbone.get_layer("deit_patching_and_embedding"))(x)
    return _norm(encoder.layer_norm, _run(encoder.encoder_layers, x))


def _swin(backbone: Any, x: Any, image_size: int) -> Any:
    side = image_size // backbone.patch_size
    x = backbone.get_layer("pos_drop")(_part(backbone.patch_embedding, tokens=side**2)(x))
    for number, stage in enumerate(backbone.stages):
        for position, block in enumerate(stage.blocks):
            x = _part(block, f"stage{number}_block{position}")(x)  # the blocks of all stages have the same names
        if stage.downsample is not None:
            options, side = {"H": side, "W": side}, side // 2
            x = _part(stage.downsample, f"stage{number}_merging", options, tokens=side**2)(x)
    return _norm(backbone.norm, x)


def _patch_tokens(original: Any, x: Any, grid: int, antialias: bool) -> Any:
    """Run the image through our patch embedding with the weights of KerasHub's, which are copied."""
    registers = original.num_register_tokens
    layer = PatchTokens(original.hidden_dim, original.patch_size, registers, grid, antialias, name="embeddings")
    tokens = layer(x)
    layer.projection.set_weights(original.patch_embeddings.projection.get_weights())
    layer.class_token.assign(original.cls_token)
    if registers:
        layer.register_tokens.assign(original.register_tokens)
    if grid:
        layer.positions.assign(original.position_embeddings)
    return tokens


def _dinov2(backbone: Any, x: Any, image_size: int) -> Any:
    original = backbone.embeddings
    grid = original.position_embedding_shape[0] // original.patch_size
    x = _patch_tokens(original, x, grid, original.antialias_in_interpolation)
    return _norm(backbone.layernorm, _run(backbone.encoder.layers, x))


def _dinov3(backbone: Any, x: Any, image_size: int) -> Any:
    places: dict[str, Any] = {"positions": arguments_of(backbone.rope_embedding), "image_size": image_size}
    options = {"num_prefix_tokens": 1 + backbone.num_register_tokens}
    x = _patch_tokens(backbone.embeddings, x, 0, False)
    for layer in backbone.encoder.layers:
        kind, arguments = type(layer).__name__, arguments_of(layer)
        part = RotaryPart(kind, arguments, options, layer=layer, name=layer.name, dtype=layer.dtype_policy, **places)
        x = part(x)
    return _norm(backbone.layernorm, x)


def _siglip(backbone: Any, x: Any, image_size: int) -> Any:
    """The tokens of the vision encoder; its attention pooling, which gives one vector, is left to autotl's heads."""
    encoder = getattr(backbone, "vision_encoder", backbone)
    x = _part(encoder.embedding)(x)
    return _norm(encoder.post_layer_norm, _run(encoder.encoder_layers, x))


def _hgnetv2(backbone: Any, x: Any, image_size: int) -> Any:
    return _run(backbone.encoder_layer.stages_list, _part(backbone.embedder_layer)(x))


def _convolutional(backbone: Any, x: Any, image_size: int) -> Any:
    """Any backbone with one input and one output: its own graph, with KerasHub's layers held by parts."""
    parts: dict[int, Any] = {}

    def held(operation: Any) -> Any:
        if not type(operation).__module__.startswith("keras_hub"):
            return operation
        return parts.setdefault(id(operation), _part(operation))  # one part however often the layer is called

    # What `keras.models.clone_model` does, but on a tensor that is not an input.
    return backbone._run_through_graph(x, operation_fn=held)


_ASSEMBLE = {
    "ViTBackbone": _vit,
    "DeiTBackbone": _deit,
    "SwinTransformerBackbone": _swin,
    "DINOV2Backbone": _dinov2,
    "DINOV3Backbone": _dinov3,
    "SigLIPBackbone": _siglip,
    "SigLIPVisionEncoder": _siglip,
    "HGNetV2Backbone": _hgnetv2,
}
