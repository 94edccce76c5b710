"""Backbones as live Keras models in this worker, always handed out with their original weights.

Building a network and reading its weights takes seconds, so the last few stay in memory. Trials train tails in place
(prefix and tail share the backbone's variables), hence every borrower gets the weights restored first.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from autotl.backbones.cuts import Cut, choose_cut, split_model, stage_cuts
from autotl.backbones.graph import calls, flatten
from autotl.backbones.registry import load_backbone
from autotl.learn.ledger import Ledger
from autotl.learn.pooling import pool, pool_stored, tapped

RANDOM_WEIGHTS_SEED = 20_240_229  # random weights are a fixed network, so that their features can be cached by key


@dataclass(frozen=True, eq=False)  # a live model: equal to itself alone
class Network:
    """A built backbone: its model, its offered cuts and a copy of its original variables."""

    name: str
    model: Any
    cuts: list[Cut]
    originals: list[Any]

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

    keras.utils.set_random_seed(RANDOM_WEIGHTS_SEED)
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
    return model, [int(tensor.shape[-1]) for tensor in _tap_tensors(flatten(network.model), network.cuts)]


def _with_outputs(model: Any, cuts: Sequence[Cut], taps: str, reduce: Callable[[Any, str], Any], suffix: str) -> Any:
    import keras

    graph = flatten(model)
    tensors = tapped(_tap_tensors(graph, cuts), taps)
    reduced = [reduce(tensor, f"pool{number}") for number, tensor in enumerate(tensors)]
    together = keras.layers.Concatenate(name="pool_taps")(reduced) if len(reduced) > 1 else reduced[0]
    return keras.Model(graph.inputs[0], together, name=f"{graph.name}_{suffix}")


def _tap_tensors(graph: Any, cuts: Sequence[Cut]) -> list[Any]:
    """The tensor at each cut; of a cut that several tensors cross, the one that its operation makes."""
    nodes = calls(graph)
    return [nodes[cut.index].outputs[0] for cut in cuts]


def multiply_adds(model: Any) -> int:
    """Multiplications of one image's forward pass, from the shapes of the kernels and of what they are applied to.

    What makes one model cheaper than another: unlike a measured time it is the same in every run. Layers without a
    kernel (normalisation, activation, attention's products) are left out.
    """
    total = 0
    for layer in model._flatten_layers(include_self=False, recursive=True):
        kernels = [getattr(layer, name, None) for name in ("kernel", "depthwise_kernel", "pointwise_kernel")]
        sizes = [math.prod(kernel.shape) for kernel in kernels if kernel is not None and hasattr(kernel, "shape")]
        if sizes and layer._inbound_nodes:
            positions = math.prod(layer.output.shape[1:-1])
            total += positions * sum(sizes)
    return total
