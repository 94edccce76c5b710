"""One operation that tf2onnx does not know: the complement of the error function, which is inside of GELU."""

from typing import Any


def teach_erfc() -> None:
    """Registers it with tf2onnx, as the handlers of tf2onnx itself are; a second time changes nothing."""
    from tf2onnx.handler import tf_op

    tf_op.register_handler(_write_erfc, 9, ["Erfc"], "", {})


def _write_erfc(graph: Any, node: Any, **kwargs: Any) -> None:
    """Puts 1 - erf(x) in the place of a node."""
    import numpy as np

    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    one = graph.make_const(f"{node.name}/one", np.array(1.0, dtype=np.float32))
    erf = graph.make_node("Erf", [node.input[0]], shapes=shapes, dtypes=dtypes)
    ends = {"name": node.name, "outputs": [node.output[0]], "shapes": shapes, "dtypes": dtypes}
    graph.make_node("Sub", [one.output[0], erf.output[0]], **ends)
