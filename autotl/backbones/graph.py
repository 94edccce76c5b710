"""The graph of a Functional Keras model as a list of calls, and running a part of it on other tensors.

Keras 3 keeps the graph in `tensor._keras_history` (which call of which operation made it) and
`operation._inbound_nodes` (the calls): see `keras/src/ops/node.py` and `function.py`. Only this module reads them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from autotl.errors import PluginError


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

    A model that nests none is returned as it is, so nothing is copied in the usual case.
    """
    import keras

    graph = functional(model)
    if not any(_is_nested(node.operation) for node in calls(graph)):
        return graph
    image = keras.Input(batch_shape=graph.inputs[0].shape, dtype=graph.inputs[0].dtype, name="image")
    output = run(calls(graph), {id(graph.inputs[0]): image}, graph.outputs[0])
    return keras.Model(image, output, name=f"{graph.name}_flat")


def calls(graph: Any) -> list[Any]:
    """Return the calls that lead to the output, in topological order; the order depends on the graph alone."""
    output = graph.outputs[0]
    ordered: list[Any] = []
    seen: set[int] = set()
    stack: list[tuple[Any, Iterator[Any]]] = []

    def enter(tensor: Any) -> None:
        node = _producer(tensor)
        if node is None or id(node) in seen:
            return
        seen.add(id(node))
        stack.append((node, iter(node.input_tensors)))

    # Depth first with an explicit stack: chains of a thousand operations exceed Python's recursion limit.
    enter(output)
    while stack:
        node, pending = stack[-1]
        tensor = next(pending, None)
        if tensor is None:
            stack.pop()
            ordered.append(node)
        elif tensor is not graph.inputs[0]:
            enter(tensor)
    return [node for node in ordered if not node.is_input]


def run(nodes: Sequence[Any], tensors: dict[int, Any], output: Any) -> Any:
    """Call the operations of `nodes` again, on the tensors given for the ids of the old ones; nested models inline.

    Args:
        nodes: calls in topological order.
        tensors: new tensor for the `id` of each old one that comes from outside.
        output: the old tensor whose new counterpart is returned.
    """
    import keras

    known = dict(tensors)
    for node in nodes:
        arguments, options = node.arguments.fill_in(known)
        operation = node.operation
        if _is_nested(operation):
            inner = functional(operation)
            value = keras.tree.flatten((arguments, options))[0]
            results = [run(calls(inner), {id(inner.inputs[0]): value}, inner.outputs[0])]
        else:
            results = keras.tree.flatten(operation(*arguments, **options))
        known.update({id(old): new for old, new in zip(node.outputs, results, strict=True)})
    return known[id(output)]


def _producer(tensor: Any) -> Any | None:
    operation, index, _ = tensor._keras_history
    return None if operation is None else operation._inbound_nodes[index]


def _is_nested(operation: Any) -> bool:
    import keras

    return isinstance(getattr(operation, "_functional", operation), keras.Function)
