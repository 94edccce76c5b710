"""The graph of a Functional Keras model as a list of calls, and running a part of it on other tensors.

Keras 3 keeps the graph in `tensor._keras_history` (which call of which operation made it) and
`operation._inbound_nodes` (the calls): see `keras/src/ops/node.py` and `function.py`. Only this module reads them.
"""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from autotl.errors import PluginError

STACK_SHARE = 0.4
"""A layer with more than this share of a network's weights is looked into: as one call it could not be cut."""


def functional(model: Any) -> Any:
    """Return the Functional graph behind a model: itself, a Sequential's, never a subclassed model's.

    Raises:
        PluginError: there is no such graph, or it has not exactly one input and one output.
    """
    import keras

    graph = getattr(model, "_functional", model)
    if not isinstance(graph, keras.Function):
        raise PluginError(
            f"A backbone must be a Functional Keras model, {getattr(model, 'name', model)!r} is a "
            f"{type(model).__name__}. Build it with keras.Model(inputs, outputs)."
        )
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise PluginError(
            f"A backbone must have one input and one output, {graph.name} has {len(graph.inputs)} and "
            f"{len(graph.outputs)}. Wrap it in a keras.Model that has one of each."
        )
    return graph


def flatten(model: Any) -> Any:
    """Return a Functional model without models nested in it; it shares every layer, hence every variable.

    A layer that is a stack of other layers (the encoder of a transformer that holds all its blocks) is taken apart too,
    where that is possible. A model that holds neither is returned as it is, so nothing is copied in the usual case.
    """
    graph = functional(model)
    kept_whole: set[int] = set()
    while True:
        operations = [node.operation for node in calls(graph)]
        nested = {id(operation) for operation in operations if _is_nested(operation)}
        if nested:
            graph = _taken_apart(graph, nested)
            continue
        sizes = {id(one): sum(math.prod(weight.shape) for weight in weights_of(one)) for one in operations}
        large = [one for one in operations if sizes[id(one)] > STACK_SHARE * sum(sizes.values())]
        stack = next((one for one in large if id(one) not in kept_whole and _is_stack(one)), None)
        if stack is None:
            return graph
        opened = _opened(graph, stack)
        if opened is None:
            kept_whole.add(id(stack))
        else:
            graph = opened


def calls(graph: Any) -> list[Any]:
    """Return the calls that lead to the output, in topological order; the order depends on the graph alone.

    Depth first, and of the inputs of a call the one farthest from the image first. So the calls of a network keep
    their order when something shorter is added beside its output, such as pooled features of earlier stages.
    """
    depths: dict[int, int] = {}

    def depth(tensor: Any) -> int:
        return depths.get(id(_producer(tensor)), 0)

    for node in _depth_first(graph, list):
        depths[id(node)] = 1 + max(map(depth, node.input_tensors), default=0)
    return _depth_first(graph, lambda tensors: sorted(tensors, key=depth, reverse=True))


def call_names(nodes: Sequence[Any]) -> list[str]:
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


def run(
    nodes: Sequence[Any],
    tensors: Mapping[int, Any],
    output: Any,
    taken_apart: Collection[int] = (),
) -> Any:
    """Call the operations of `nodes` again, on the tensors given for the ids of the old ones.

    Args:
        nodes: calls in topological order.
        tensors: new tensor for the `id` of each old one that comes from outside.
        output: the old tensor whose new counterpart is returned.
        taken_apart: ids of operations of which not the call is repeated, but the calls inside it.
    """
    known = dict(tensors)
    for node in nodes:
        arguments, options = node.arguments.fill_in(known)
        call = _unfold if id(node.operation) in taken_apart else _call
        results = call(node.operation, arguments, options)
        known.update({id(old): new for old, new in zip(node.outputs, results, strict=True)})
    return known[id(output)]


def weights_of(operation: Any) -> list[Any]:
    """The weights that training could change; statistics of the input are not such."""
    import keras

    if not isinstance(operation, keras.layers.Layer) or isinstance(operation, keras.layers.Normalization):
        return []
    return list(operation.weights)


def _depth_first(graph: Any, in_order: Any) -> list[Any]:
    ordered: list[Any] = []
    seen: set[int] = set()
    stack: list[tuple[Any, Iterator[Any]]] = []

    def enter(tensor: Any) -> None:
        node = _producer(tensor)
        if node is None or id(node) in seen:
            return
        seen.add(id(node))
        stack.append((node, iter(in_order(node.input_tensors))))

    # Depth first with an explicit stack: chains of a thousand operations exceed Python's recursion limit.
    enter(graph.outputs[0])
    while stack:
        node, pending = stack[-1]
        tensor = next(pending, None)
        if tensor is None:
            stack.pop()
            ordered.append(node)
        elif tensor is not graph.inputs[0]:
            enter(tensor)
    return [node for node in ordered if not node.is_input]


def _producer(tensor: Any) -> Any | None:
    operation, index, _ = tensor._keras_history
    return None if operation is None else operation._inbound_nodes[index]


def _automatic_name(kind: str) -> str:
    """Keras's rule, `keras/src/utils/naming.py`: `BatchNormalization` is called `batch_normalization`."""
    return re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()


def _is_nested(operation: Any) -> bool:
    import keras

    return isinstance(getattr(operation, "_functional", operation), keras.Function)


def _is_stack(layer: Any) -> bool:
    """Whether all weights of a layer belong to layers inside it; Keras's own layers are units."""
    own = layer._trainable_variables + layer._non_trainable_variables
    return not own and not type(layer).__module__.startswith("keras.")


def _opened(graph: Any, stack: Any) -> Any | None:
    """The same model with the calls inside a stack in place of the stack.

    Gives `None` where these are no symbolic calls, or call a layer that could not be saved by itself: models made from
    the graph are.
    """
    try:
        opened = _taken_apart(graph, {id(stack)})
        for layer in opened.layers:
            if layer not in graph.layers:
                type(layer).from_config(layer.get_config())
    except Exception:  # what a foreign layer does may fail in any way
        return None
    same = {id(weight) for weight in opened.weights} == {id(weight) for weight in graph.weights}
    return opened if same and opened.output_shape == graph.output_shape else None


def _taken_apart(graph: Any, operations: Collection[int]) -> Any:
    import keras

    image = keras.Input(batch_shape=graph.inputs[0].shape, dtype=graph.inputs[0].dtype, name="image")
    output = run(calls(graph), {id(graph.inputs[0]): image}, graph.outputs[0], operations)
    return keras.Model(image, output, name=f"{graph.name.removesuffix('_flat')}_flat")


def _call(operation: Any, arguments: Any, options: dict[str, Any]) -> list[Any]:
    import keras

    return list(keras.tree.flatten(operation(*arguments, **options)))


def _unfold(operation: Any, arguments: Any, options: dict[str, Any]) -> list[Any]:
    """The outputs of a nested model or of a stack, by calls of what is inside.

    `training=` of the call is dropped: Keras replaces it by that of the whole model anyway (`operation_fn` in
    `keras/src/models/functional.py`). What a stack itself decides by `training` is decided as for inference; the layers
    inside it decide for themselves, as ever.
    """
    import keras

    if not _is_nested(operation):
        others = {name: value for name, value in options.items() if name != "training"}
        return list(keras.tree.flatten(operation.call(*arguments, **others)))
    inner = functional(operation)
    image = keras.tree.flatten((arguments, options))[0]
    return [run(calls(inner), {id(inner.inputs[0]): image}, inner.outputs[0])]
