"""tf2onnx without its copies of all weights, two for each of a dozen optimisers, several rounds of them.

Before an optimiser tf2onnx copies the graph, to go on with that should it fail. After it the graph is written into
protobuf messages, which give memory back only as a whole, and which are read once, at the end, after they were written
again. ConvNeXt-tiny (111 MB) took 5.8 GB and 95 s so on a busy machine, and takes 3.2 GB and 28 s without; the graph is
the same.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SWITCH = "TF2ONNX_CATCH_ERRORS"  # tf2onnx looks whether it is there


@contextmanager
def without_copies() -> Iterator[None]:
    """An optimiser that fails is an error meanwhile, and not passed over: then convert once more without this."""
    from tf2onnx.graph import Graph

    write, earlier = Graph.update_proto, os.environ.get(_SWITCH)

    def write_at_the_end(graph: Any, *storage: Any) -> None:
        if storage:  # so it is called where the messages are read
            write(graph, *storage)

    os.environ[_SWITCH] = "FALSE"
    Graph.update_proto = write_at_the_end
    try:
        yield
    finally:
        Graph.update_proto = write
        if earlier is None:
            del os.environ[_SWITCH]
        else:
            os.environ[_SWITCH] = earlier
