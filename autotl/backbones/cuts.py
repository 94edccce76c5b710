"""Freeze points, read off the graph: where a backbone can be split into a frozen prefix and a trainable tail.

Everything before a place can be run once and cached as the tensors that are alive there (`places.py` explains which
these are). A *cut* is such a place. Usually one single tensor is alive: the output of a block. Networks whose blocks
read the outputs of the two blocks before (NASNet) hardly have such places. There a cut carries several tensors, packed
into one flat vector `[B, n]`, so that whoever caches it or trains behind it sees one array all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from autotl.backbones.graph import call_names, calls, flatten, run, weights_of
from autotl.backbones.places import Place, elements, find_places, is_constant, single
from autotl.backbones.stages import choose_stages
from autotl.errors import PluginError, UsageError


@dataclass(frozen=True)
class Cut:
    """One place to split a backbone."""

    name: str
    """The operation that makes the newest tensor. It does not depend on what else this process has built."""
    index: int
    """Position of that operation in topological order."""
    shape: tuple[int | None, ...]
    """Of what the prefix gives, without the batch: `[h, w, c]`, `[T, c]`, or `[n]` for several tensors packed."""
    frozen_fraction: float
    """Share of the backbone's parameters that lie before the cut, 0 to 1."""
    tensors: int = 1
    """How many tensors are alive; several are packed into one flat vector."""
    beside: tuple[str, ...] = ()
    """The operations that make the other tensors, in topological order."""


def find_cuts(model: Any) -> list[Cut]:
    """Return every place where one tensor is alive, in topological order.

    A place where a layer with variables is called on both sides is left out: that layer would be frozen in the prefix
    and trained in the tail. Models nested in the graph are looked into.

    Args:
        model: a Functional Keras model with one input and one output.

    Raises:
        PluginError: it is no such model.
    """
    places = find_places(flatten(model))
    return [_cut(place, places) for place in single(places)]


def stage_cuts(model: Any) -> list[Cut]:
    """Return the cuts worth offering as freeze depths: the ends of stages, and last the output itself.

    A stage ends where the resolution changes: the trunk's, for branches never are cuts. A fall of the number of tokens
    by four is such a change. In networks of one resolution (transformers) stages are regular ends of blocks, about
    12. Every stage has more parameters before it than the one before.

    Around a change of resolution the smallest tensor is taken that still has the whole stage before it, the latest
    of equally small ones: in inverted residuals that is the end of the block instead of the six times wider
    expansion after it, in VGG it is behind the pooling. The store is smaller and the frozen blocks are the same.

    Where whole resolutions pass without a place of one live tensor, each resolution ends at its cheapest place,
    whatever the number of tensors.

    Raises:
        PluginError: the model is not a Functional one, or nothing in it has parameters.
    """
    places = find_places(flatten(model))
    if not any(place.parameters > 0 for place in single(places)):
        raise PluginError(f"A backbone must have parameters, {model.name} has none. Pass the network itself.")
    return [_cut(place, places) for place in choose_stages(places)]


def feature_output(model: Any, name: str | None = None) -> Any:
    """The tensor of a classifier's graph that its head stands on: its last feature map `[B, h, w, c]` or its tokens.

    Args:
        model: a Functional model without nested ones (see `graph.flatten`).
        name: the operation that makes the tensor, where it is known; else everything from the first vector on, that
            all later operations depend on, is the head, and the features are what comes before it.

    Raises:
        PluginError: there is no such tensor.
    """
    places = find_places(model)
    if name is not None:
        places = [place for place in places if place.names[-1] == name]
    else:
        straight = single(places)
        vectors = [number for number, place in enumerate(straight) if len(place.tensors[0].shape) == 2]
        places = [place for place in straight[: vectors[0] if vectors else None] if place.parameters > 0]
    if not places:
        raise PluginError(
            f"A network to adapt has a feature map or tokens that everything after it depends on, {model.name} has "
            "none. Save the network without its classifier."
        )
    return places[-1].node.outputs[0]


def choose_cut(cuts: Sequence[Cut], freeze_depth: float) -> Cut | None:
    """Snap a freeze depth to a stage; `None` means that nothing is frozen.

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

    The place is found by names, so a model that adds to a backbone (pooled features of several stages, say) is split
    at the backbone's own cuts. What does not depend on the cut's tensors is computed before it and travels with them.

    Args:
        model: the backbone that the cut was found in, the same one built again, or a model made from it.
        cut: `None` leaves everything in the tail.

    Returns:
        `(prefix, tail)`; the prefix is `None` without a cut, the tail is `None` when the cut is the output.

    Raises:
        PluginError: the model has no such place, or would train a layer of the frozen part there.
    """
    import keras

    if cut is None:
        return None, model
    graph = flatten(model)
    image, output = graph.inputs[0], graph.outputs[0]
    early, late = _sides(graph, cut)
    needed = [tensor for node in late for tensor in node.input_tensors] or [output]
    wanted = {id(tensor) for tensor in needed}
    made = [image, *(tensor for node in early for tensor in node.outputs)]
    constants = [tensor for tensor in made if id(tensor) in wanted and is_constant(tensor, image)]
    alive = [tensor for tensor in made if id(tensor) in wanted and not is_constant(tensor, image)]
    prefix = keras.Model(image, pack(alive), name=f"{graph.name}_prefix")
    if not late:
        return prefix, None
    # Called anew instead of keras.Model(tensor, output): that replaces every use of the operation which made the
    # tensor by the new input, also uses inside the tail (one ReLU layer called twice).
    features = keras.Input(batch_shape=prefix.output_shape, dtype=prefix.output.dtype, name="features")
    known = dict(zip(map(id, alive), unpack(features, alive), strict=True)) | _values(image, constants)
    return prefix, keras.Model(features, run(late, known, output), name=f"{graph.name}_tail")


def _cut(place: Place, places: Sequence[Place]) -> Cut:
    shapes = [tuple(tensor.shape[1:]) for tensor in place.tensors]
    return Cut(
        name=place.names[-1],
        index=place.position,
        shape=shapes[0] if len(shapes) == 1 else (place.elements,),
        frozen_fraction=place.parameters / places[-1].parameters if place.parameters else 0.0,
        tensors=len(shapes),
        beside=tuple(dict.fromkeys(place.names[:-1])),
    )


def _sides(graph: Any, cut: Cut) -> tuple[list[Any], list[Any]]:
    """The calls before and after a cut; what the tensors of the cut are made from is before it, and all that does not
    depend on them."""
    nodes = calls(graph)
    named = dict(zip(call_names(nodes), nodes, strict=True))
    missing = [name for name in (cut.name, *cut.beside) if name not in named]
    if missing:
        raise PluginError(
            f"A cut must come from the model that it splits, {graph.name} has none called {missing[0]!r}. "
            "Find the cuts of this model."
        )
    ends = [named[name] for name in (cut.name, *cut.beside)]
    required = {id(tensor) for node in ends for tensor in node.outputs}
    for node in reversed(nodes):
        if any(id(tensor) in required for tensor in node.outputs):
            required.update(id(tensor) for tensor in node.input_tensors)
    reached = {id(tensor) for node in ends for tensor in node.outputs}
    early: list[Any] = []
    late: list[Any] = []
    for node in nodes:
        is_late = not any(id(tensor) in required for tensor in node.outputs) and any(
            id(tensor) in reached for tensor in node.input_tensors
        )
        (late if is_late else early).append(node)
        reached.update(id(tensor) for tensor in (node.outputs if is_late else ()))
    frozen = {id(weight): node for node in early for weight in weights_of(node.operation)}
    shared = [node for node in late for weight in weights_of(node.operation) if id(weight) in frozen]
    if shared:
        raise PluginError(
            f"A layer must not be both frozen and trained, {shared[0].operation.name} is called before and after "
            f"{cut.name} of {graph.name}. Cut this model elsewhere."
        )
    return early, late


def _values(image: Any, constants: Sequence[Any]) -> dict[int, Any]:
    """What tensors without a batch hold, by their ids: the tail has no image to compute them from."""
    import keras

    if not constants:
        return {}
    values = keras.tree.flatten(
        keras.Model(image, list(constants))(keras.ops.zeros((1, *image.shape[1:]), image.dtype))
    )
    return dict(zip(map(id, constants), values, strict=True))


def pack(tensors: Sequence[Any]) -> Any:
    """Several tensors as one flat vector `[B, n]`; a single one stays as it is."""
    import keras

    if len(tensors) == 1:
        return tensors[0]
    return keras.ops.concatenate([keras.ops.reshape(tensor, (-1, elements(tensor))) for tensor in tensors], axis=1)


def unpack(packed: Any, tensors: Sequence[Any]) -> list[Any]:
    """The inverse of `pack`: tensors of the shapes of the given ones."""
    import keras

    if len(tensors) == 1:
        return [packed]
    ends = list(accumulate(elements(tensor) for tensor in tensors))
    parts = keras.ops.split(packed, ends[:-1], axis=1)
    return [keras.ops.reshape(part, (-1, *tensor.shape[1:])) for part, tensor in zip(parts, tensors, strict=True)]
