"""Freeze points, read off the graph: where a backbone can be split into a frozen prefix and a trainable tail.

A cut is a place where one single tensor is alive: walking the calls in topological order, every later call needs
nothing else that came before. (In graph terms: a vertex that dominates the output. Such a place is found in any
topological order, since every call leads either to it or away from it.) Everything before a cut can therefore be run
once and cached as that one tensor.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from autotl.backbones.graph import calls, flatten, run
from autotl.errors import PluginError, UsageError

MAX_REGULAR_STAGES = 12


@dataclass(frozen=True)
class Cut:
    """One place to split a backbone."""

    name: str
    """The operation that makes the tensor. It does not depend on what else this process has built."""
    index: int
    """Position of that operation in topological order."""
    shape: tuple[int | None, ...]
    """Of the tensor, without the batch: `[h, w, c]` or `[T, c]`."""
    frozen_fraction: float
    """Share of the backbone's parameters that lie before the cut, 0 to 1."""


class _Place(NamedTuple):
    cut: Cut
    node: Any
    tensor: Any
    parameters: int
    octave: int
    """How often the resolution has been halved so far."""

    @property
    def elements(self) -> int:
        return math.prod(1 if size is None else size for size in self.cut.shape)


def find_cuts(model: Any) -> list[Cut]:
    """Return every place of the model's graph where a single tensor is alive, from input to output.

    The input itself is not one; the output always is. A place is left out when a layer with variables is called on
    both sides of it, because training the tail would then change the frozen prefix.

    Args:
        model: a Functional Keras model with one input and one output, which may hold nested Functional models.

    Raises:
        PluginError: it is no such model.
    """
    return [place.cut for place in _places(flatten(model))]


def stage_cuts(model: Any) -> list[Cut]:
    """Return the cuts worth offering as freeze depths: the end of each stage, the model's output last.

    A stage ends where the resolution changes; a network of one resolution is divided at the ends of its residual
    blocks, into at most twelve stages. Every stage holds parameters that the one before it does not.

    Of the straight run of operations around such a change, the cut with the smallest tensor is taken, and the latest
    of equally small ones: in inverted residuals that is the end of the block instead of the six times wider
    expansion after it, in VGG it is behind the pooling. The store is smaller and the frozen blocks are the same.

    Raises:
        PluginError: the model is not a Functional one, or nothing in it has parameters.
    """
    everything = _places(flatten(model))
    places = [place for place in everything if place.parameters > 0]
    if not places:
        raise PluginError(f"A backbone must have parameters, {model.name} has none. Pass the network itself.")
    ends = [number for number, (one, next_) in enumerate(pairwise(places)) if one.octave != next_.octave]
    if len(ends) > 1:
        stages = [_narrowest(places, end) for end in ends]
    else:  # at most a patch embedding before one trunk
        stages = [*(places[end] for end in ends), *_regular(places[ends[0] + 1 :] if ends else places)]
    stages.append(places[-1])
    return [one.cut for one, next_ in pairwise(stages) if one.parameters < next_.parameters] + [places[-1].cut]


def choose_cut(cuts: Sequence[Cut], freeze_depth: float) -> Cut | None:
    """Snap a fraction of stages to a cut: 1.0 freezes the whole backbone, 0.0 nothing (`None`).

    Args:
        cuts: the stages, as `stage_cuts` returns them.
        freeze_depth: share of the stages to freeze, counted from the input.

    Raises:
        UsageError: the fraction is not between 0 and 1.
    """
    if not 0.0 <= freeze_depth <= 1.0:
        raise UsageError(
            f"freeze_depth is a fraction from 0.0 (nothing frozen) to 1.0 (all frozen), not {freeze_depth}."
        )
    frozen = round(freeze_depth * len(cuts))
    return None if frozen == 0 else cuts[frozen - 1]


def split_model(model: Any, cut: Cut | None) -> tuple[Any | None, Any | None]:
    """Split a backbone at a cut into two models that share its variables: `tail(prefix(x))` is `model(x)`.

    Args:
        model: the backbone that the cut was found in, or the same one built again.
        cut: `None` leaves everything in the tail.

    Returns:
        `(prefix, tail)`; the prefix is `None` without a cut, the tail is `None` when the cut is the output.

    Raises:
        PluginError: the cut is not one of this model.
    """
    import keras

    if cut is None:
        return None, model
    graph = flatten(model)
    image = graph.inputs[0]
    places = _places(graph)
    place = next((place for place in places if (place.cut.index, place.cut.name) == (cut.index, cut.name)), None)
    if place is None or place.cut.shape != cut.shape:
        raise PluginError(
            f"A cut must come from the model that it splits, {model.name} has none called {cut.name!r} at position "
            f"{cut.index} with shape {cut.shape}. Find the cuts of this model, at this image size."
        )
    prefix = keras.Model(image, place.tensor, name=f"{graph.name}_prefix")
    if place is places[-1]:
        return prefix, None
    # Called anew instead of keras.Model(tensor, output): that replaces every use of the operation which made the
    # tensor by the new input, also uses inside the tail (one ReLU layer called twice).
    features = keras.Input(batch_shape=place.tensor.shape, dtype=place.tensor.dtype, name="features")
    later = calls(graph)[place.cut.index + 1 :]
    output = run(later, {id(place.tensor): features}, graph.outputs[0])
    return prefix, keras.Model(features, output, name=f"{graph.name}_tail")


def _places(graph: Any) -> list[_Place]:
    nodes = calls(graph)
    last_use = {id(graph.outputs[0]): len(nodes)}
    for position, node in enumerate(nodes):
        last_use.update({id(tensor): position for tensor in node.input_tensors})
    shared_until = {id(node.operation): position for position, node in enumerate(nodes) if _parameters(node.operation)}
    total = sum(_parameters(operation) for operation in {id(n.operation): n.operation for n in nodes}.values())
    names = _stable_names(nodes)

    places: list[_Place] = []
    alive = {id(graph.inputs[0])}
    counted: set[int] = set()
    parameters, shared_end, octave = 0, -1, 0
    for position, node in enumerate(nodes):
        alive = {tensor for tensor in alive if last_use.get(tensor, -1) > position}
        made = [tensor for tensor in node.outputs if last_use.get(id(tensor), -1) > position]
        alive.update(id(tensor) for tensor in made)
        if id(node.operation) not in counted:
            counted.add(id(node.operation))
            parameters += _parameters(node.operation)
            shared_end = max(shared_end, shared_until.get(id(node.operation), -1))
        if len(alive) == 1 and made and shared_end <= position:
            fraction = parameters / total if total else 0.0
            cut = Cut(names[position], position, tuple(made[0].shape[1:]), fraction)
            octave = max(octave, _octave(graph.inputs[0].shape[1:], cut.shape))
            places.append(_Place(cut, node, made[0], parameters, octave))
    return places


def _octave(image: Sequence[int | None], shape: Sequence[int | None]) -> int:
    """Halvings between the image and a feature map, rounded, so that padding and unpadded kernels are no change."""
    if len(image) != 3 or len(shape) != 3 or not image[0] or not shape[0]:
        return 0  # tokens and vectors keep the resolution of what they were made from
    return round(math.log2(image[0] / shape[0]))


def _parameters(operation: Any) -> int:
    """Number of weights that training could change; statistics of the input are not such."""
    import keras

    if not isinstance(operation, keras.layers.Layer) or isinstance(operation, keras.layers.Normalization):
        return 0
    return int(operation.count_params())


def _stable_names(nodes: Sequence[Any]) -> list[str]:
    """Name the calls; automatic names ("add_17" of this process) are counted anew within the graph.

    Keras numbers unnamed operations over the life of the process, so the same backbone built twice has other names.
    """
    counts: Counter[str] = Counter()
    names = []
    for node in nodes:
        name = node.operation.name
        automatic = _automatic_name(type(node.operation).__name__)
        if re.fullmatch(rf"{automatic}(_\d+)?", name):
            name = automatic
        names.append(name if counts[name] == 0 else f"{name}_{counts[name]}")
        counts[name] += 1
    return names


def _automatic_name(kind: str) -> str:
    """Keras's rule, `keras/src/utils/naming.py`: `BatchNormalization` is called `batch_normalization`."""
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()


def _narrowest(places: Sequence[_Place], end: int) -> _Place:
    """The smallest tensor around the change of resolution after `end`, the latest of equals."""
    around: list[_Place] = [places[end]]
    for number in range(end, 0, -1):  # back along the straight run of the same resolution
        before, here = places[number - 1], places[number]
        straight = [id(tensor) for tensor in here.node.input_tensors] == [id(before.tensor)]
        if not straight or before.octave != here.octave:
            break
        around.insert(0, before)
    for later in places[end + 1 :]:  # on, past pooling and the like, which costs no trainable tail
        if later.parameters != places[end].parameters:
            break
        around.append(later)
    return min(reversed(around), key=lambda place: place.elements)


def _regular(trunk: Sequence[_Place]) -> list[_Place]:
    """Evenly spaced ends of residual blocks, or evenly spaced cuts in a trunk that has none."""
    blocks = [place for place in trunk if type(place.node.operation).__name__ == "Add"]
    blocks = blocks if len(blocks) > 1 else list(trunk)
    count = min(MAX_REGULAR_STAGES, len(blocks))
    return [blocks[round((number + 1) * len(blocks) / count) - 1] for number in range(count)]
