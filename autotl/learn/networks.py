"""Backbones as live Keras models in this worker, always handed out with their original weights.

Building a network and reading its weights takes seconds, so the last few stay in memory. Trials train tails in place
(prefix and tail share the backbone's variables), hence every borrower gets the weights restored first.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from autotl.backbones.cuts import Cut, choose_cut, split_model, stage_cuts
from autotl.backbones.graph import calls, flatten
from autotl.backbones.registry import load_backbone
from autotl.errors import PluginError
from autotl.learn.ledger import Ledger
from autotl.learn.pooling import pool, pool_stored, tapped
from autotl.learn.seeding import seed_building

RANDOM_WEIGHTS_SEED = 20_240_229  # random weights are a fixed network, so that their features can be cached by key


@dataclass(frozen=True, eq=False)  # a live model: equal to itself alone
class Network:
    """A built backbone: its model, its offered cuts and a copy of its original variables."""

    name: str
    model: Any
    cuts: list[Cut]
    originals: list[Any]
    parts: dict[Any, Any] = field(default_factory=dict)
    """What was built of it, by what it is: models that share its variables, and live as long as it does."""

    @property
    def joints(self) -> list[Cut]:
        """The cuts where a pass over images is rounded to float16, so that it can go on from a store of them.

        Not the first one: it costs the most precision (its activations are the largest), saves the least, and is the
        largest store. Where cuts of several packed tensors are, there are none.
        """
        return [] if any(cut.tensors > 1 for cut in self.cuts) else self.cuts[1:-1]

    def joint_before(self, cut: Cut) -> Cut | None:
        """The joint that a pass to a cut starts from, or None for the image."""
        return max((joint for joint in self.joints if joint.index < cut.index), key=lambda one: one.index, default=None)

    def between(self, start: Cut | None, end: Cut, pools: bool) -> Any:
        """The network from a joint (None: the image) to a cut.

        Args:
            start: where `joint_before` says.
            end: a cut.
            pools: whether it gives what a store keeps of each stage that ends in this part as well.

        Returns:
            A model with one output; with `pools` a list: activations `[B, h, w, c]`, then `[B, 3c]` for each stage.
        """
        import keras

        prefix, _ = _split(self, end, "", "last")
        if start is None and pools:
            graph = flatten(self.model)
            tensors = _tap_tensors(graph, [cut for cut in self.cuts if cut.index <= end.index])
            return keras.Model(graph.inputs[0], [tensors[-1], *_stored(tensors)])
        core: Any = prefix if start is None else split_model(prefix, start)[1]
        return keras.Model(core.inputs[0], [core.outputs[0], *_stored(core.outputs)]) if pools else core

    def restore(self) -> None:
        for variable, value in zip(self.model.variables, self.originals, strict=True):
            variable.assign(value)


def borrow_network(name: str, image_size: int, weights: str, ledger: Ledger) -> Network:
    """Build (or take from memory) a backbone in inference mode with its original weights."""
    with ledger.phase("import"):
        import keras  # noqa: F401
    with ledger.phase("build"):
        network = _build(name, image_size, weights)
        network.restore()
    return network


@lru_cache(maxsize=4)
def _build(name: str, image_size: int, weights: str) -> Network:
    import keras

    seed_building(RANDOM_WEIGHTS_SEED)
    model = load_backbone(name).build(image_size, weights)
    for layer in model._flatten_layers(include_self=False):
        # short fine-tunes would evaluate with a mixture of old and new statistics
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    return Network(name, model, stage_cuts(model), [variable.numpy() for variable in model.variables])


def cut_network(
    network: Network, freeze_depth: float, pooling: str = "avg", taps: str = "last"
) -> tuple[Cut | None, Any, Any]:
    """The cut nearest to a freeze depth, and what the head stands on, before and after it.

    With one tap the parts of the network itself, to the last feature map, whatever its pooling; with more of them the
    parts of `tap_model`: then the prefix also hands on the taps that lie before the cut, pooled, and its output shape
    is its own, not the cut's.

    Returns:
        (cut, prefix, tail): cut and prefix are None when nothing is frozen, tail is None when everything is.
    """
    cut = choose_cut(network.cuts, freeze_depth)
    return cut, *_split(network, cut, "" if taps == "last" else pooling, taps)


@lru_cache(maxsize=16)
def _split(network: Network, cut: Cut | None, pooling: str, taps: str) -> tuple[Any, Any]:
    model = network.model if taps == "last" else tap_model(network.model, network.cuts, pooling, taps)
    return split_model(model, cut)


def tap_model(model: Any, cuts: Sequence[Cut], pooling: str, taps: str) -> Any:
    """The same network, to the pooled features of several stages side by side, `[B, n]`; it shares all variables."""
    return _with_outputs(model, cuts, taps, lambda tensor, name: pool(tensor, pooling, name), "tapped")


def stored_taps(network: Network) -> tuple[Any, list[int]]:
    """The network to all that a store keeps of all its stages, `[B, 3 * sum(channels)]`, and each stage's channels."""
    model = _with_outputs(network.model, network.cuts, "all", pool_stored, "stored")
    return model, stage_channels(network)


def stage_channels(network: Network) -> list[int]:
    """The channels of each stage's last tensor."""
    return [int(tensor.shape[-1]) for tensor in _tap_tensors(flatten(network.model), network.cuts)]


def _with_outputs(model: Any, cuts: Sequence[Cut], taps: str, reduce: Callable[[Any, str], Any], suffix: str) -> Any:
    import keras

    graph = flatten(model)
    tensors = tapped(_tap_tensors(graph, cuts), taps)
    reduced = [reduce(tensor, f"pool{number}") for number, tensor in enumerate(tensors)]
    together = keras.layers.Concatenate(name="pool_taps")(reduced) if len(reduced) > 1 else reduced[0]
    return keras.Model(graph.inputs[0], together, name=f"{graph.name}_{suffix}")


def _stored(tensors: Sequence[Any]) -> list[Any]:
    return [pool_stored(tensor, f"pool{number}") for number, tensor in enumerate(tensors)]


def _tap_tensors(graph: Any, cuts: Sequence[Cut]) -> list[Any]:
    """The tensor at each cut; of a cut that several tensors cross, the one that its operation makes."""
    nodes = calls(graph)
    return [nodes[cut.index].outputs[0] for cut in cuts]


def multiply_adds(model: Any) -> int:
    """Multiplications of one image's forward pass, from the shapes of the kernels and of what they are applied to.

    What makes one model cheaper than another: unlike a measured time it is the same in every run. Layers without a
    kernel (normalisation, activation, attention's products) are left out.
    """
    try:
        layers = flatten(model).layers
    except PluginError:  # somebody's own model, which has no graph
        layers = model.layers
    counted: set[int] = set()
    return sum(_layer_multiply_adds(layer, None, counted) for layer in layers)


def _layer_multiply_adds(layer: Any, around: int | None, counted: set[int]) -> int:
    """Of a layer and all layers inside it, each once.

    Args:
        layer: of a model.
        around: positions that the layer around it gives, for want of better knowledge.
        counted: ids of the layers that were counted before.
    """
    if id(layer) in counted:
        return 0
    counted.add(id(layer))
    positions = _positions(layer)
    positions = around if positions is None else positions
    kernels = [getattr(layer, name, None) for name in ("kernel", "depthwise_kernel", "pointwise_kernel")]
    sizes = [math.prod(kernel.shape) for kernel in kernels if kernel is not None and hasattr(kernel, "shape")]
    own = 0 if positions is None else positions * sum(sizes)
    inner = layer._flatten_layers(include_self=False, recursive=False)
    return own + sum(_layer_multiply_adds(one, positions, counted) for one in inner)


def _positions(layer: Any) -> int | None:
    """How many positions a layer gives, its channels left out: from its call in a graph, or from how it was built.

    Layers inside a layer of somebody's own are in no graph, but know what they were built for. None where the sizes
    are open.
    """
    shapes = [node.outputs[0].shape for node in layer._inbound_nodes]
    built_for = getattr(layer, "_build_shapes_dict", None)
    if not shapes and built_for:
        try:
            shapes = [layer.compute_output_shape(**built_for)]
        except Exception:  # a foreign layer's own arithmetic may fail in any way, also on what it was built for
            return None
    inner = [tuple(shape)[1:-1] for shape in shapes]
    return next((math.prod(one) for one in inner if all(isinstance(length, int) for length in one)), None)
