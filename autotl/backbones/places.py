"""The places where a network can be split, and what is alive at each of them.

Walk the calls in topological order and keep the set of live tensors: those that a later call, or the output, still
needs. At any place the live tensors are all that the rest of the network has to know of what came before. Where one
single tensor is alive, every later call depends on that tensor alone. (In graph terms: a vertex that dominates the
output. Such places are the same in every topological order, since each call leads either to them or away from them.)
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from autotl.backbones.graph import call_names, calls, weights_of

MIN_TOKENS = 4


class Place(NamedTuple):
    """What a network is like right behind one of its calls."""

    names: tuple[str, ...]
    """The operations that make the live tensors; the last is the call itself."""
    position: int
    """Of the call in topological order."""
    node: Any
    tensors: tuple[Any, ...]
    """All that is alive, in the order in which it was made."""
    parameters: int
    """Number of weights of all calls up to here."""
    octave: int
    """How often the resolution has been halved so far."""
    is_splittable: bool
    """Whether the image is done with, and no layer with weights is called on both sides."""

    @property
    def elements(self) -> int:
        """How many numbers per image are alive."""
        return sum(elements(tensor) for tensor in self.tensors)


def find_places(graph: Any) -> list[Place]:
    """Every place behind a call whose result is still needed, in topological order.

    Args:
        graph: a Functional model without nested ones (see `graph.flatten`).
    """
    nodes = calls(graph)
    image = graph.inputs[0]
    names = call_names(nodes)
    last_use = {id(graph.outputs[0]): len(nodes)}
    last_call: dict[int, int] = {}
    for position, node in enumerate(nodes):
        last_use.update({id(tensor): position for tensor in node.input_tensors})
        last_call.update({id(weight): position for weight in weights_of(node.operation)})

    places: list[Place] = []
    alive = [("", image)]
    counted: set[int] = set()
    parameters, shared_end, octave = 0, -1, 0
    for position, node in enumerate(nodes):
        made = [(names[position], tensor) for tensor in node.outputs if not is_constant(tensor, image)]
        alive = [(name, tensor) for name, tensor in [*alive, *made] if last_use.get(id(tensor), -1) > position]
        for weight in weights_of(node.operation):
            shared_end = max(shared_end, last_call[id(weight)])
            parameters += 0 if id(weight) in counted else math.prod(weight.shape)
            counted.add(id(weight))
        if not alive or alive[-1][0] != names[position]:
            continue
        octave = max(octave, min(_octave(image.shape[1:], tensor.shape[1:]) for _, tensor in alive))  # of the finest
        is_splittable = shared_end <= position and alive[0][1] is not image
        living = tuple(name for name, _ in alive), tuple(tensor for _, tensor in alive)
        places.append(Place(living[0], position, node, living[1], parameters, octave, is_splittable))
    return places


def single(places: Sequence[Place]) -> list[Place]:
    """Those at which one tensor is alive."""
    return [place for place in places if len(place.tensors) == 1 and place.is_splittable]


def is_constant(tensor: Any, image: Any) -> bool:
    """Whether a tensor has no batch, so that it cannot depend on the images: tables of positions and the like."""
    return image.shape[0] is None and (len(tensor.shape) == 0 or tensor.shape[0] is not None)


def elements(tensor: Any) -> int:
    """Numbers in a tensor, per image."""
    return math.prod(1 if size is None else size for size in tensor.shape[1:])


def _octave(image: Sequence[int | None], shape: Sequence[int | None]) -> int:
    """Halvings between the image and a feature map, rounded, so that padding and unpadded kernels are no change.

    Tokens `[T, c]` of a square grid have a resolution too, and a class token more or less does not change it.
    """
    if len(image) != 3 or not image[0] or len(shape) not in (2, 3) or not shape[0]:
        return 0
    if len(shape) == 2 and shape[0] < MIN_TOKENS:
        return 0  # a class token or another summary keeps the resolution of what it was made from
    side = shape[0] if len(shape) == 3 else math.sqrt(shape[0])
    return round(math.log2(image[0] / side))
