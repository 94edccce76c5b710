"""tf2onnx without its copies: the same file, and everything as before afterwards."""

import os
from collections import Counter
from contextlib import nullcontext

import numpy as np
import pytest

from autotl.exporters.contract import FLOAT32, Export
from autotl.exporters.onnx import write
from autotl.exporters.onnx_thrift import without_copies
from autotl.exporters.runtimes import onnx as runtime

pytestmark = pytest.mark.keras
SWITCH = "TF2ONNX_CATCH_ERRORS"


def graph_of(folder):
    import onnx

    model = onnx.load(folder / "model.onnx")
    weights = sorted(onnx.numpy_helper.to_array(item).tobytes() for item in model.graph.initializer)
    return [node.op_type for node in model.graph.node], weights


def test_it_writes_the_graph_that_tf2onnx_writes_and_writes_it_down_once(written, tmp_path, monkeypatch):
    from tf2onnx import graph as graphs

    from autotl.exporters import onnx as exporter

    counts = Counter()
    original = graphs.Graph.update_proto

    def counted(graph, *storage):
        counts["written"] += 1
        original(graph, *storage)

    monkeypatch.setattr(graphs.Graph, "update_proto", counted)
    write(Export(written.network, tmp_path / "model.onnx", FLOAT32))
    assert counts["written"] == 1
    found = graph_of(tmp_path)

    monkeypatch.setattr(exporter, "without_copies", nullcontext)
    write(Export(written.network, tmp_path / "model.onnx", FLOAT32))
    assert counts["written"] > 10 and graph_of(tmp_path) == found


def test_where_an_optimiser_fails_tf2onnx_goes_on_without_it(written, pictures, tmp_path, monkeypatch):
    from tf2onnx.optimizer.const_fold_optimizer import ConstFoldOptimizer

    tried = []

    def fail(*_):
        tried.append(os.environ.get(SWITCH))
        raise KeyError("an optimiser")

    monkeypatch.setattr(ConstFoldOptimizer, "_optimize", fail)
    write(Export(written.network, tmp_path / "model.onnx", FLOAT32))
    assert tried[:2] == ["FALSE", None]
    np.testing.assert_allclose(runtime.load(tmp_path)(pictures), written.expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("before", [None, "TRUE"])
def test_everything_is_as_before_afterwards(before, monkeypatch):
    from tf2onnx.graph import Graph

    if before is None:
        monkeypatch.delenv(SWITCH, raising=False)
    else:
        monkeypatch.setenv(SWITCH, before)
    original = Graph.update_proto
    with pytest.raises(KeyError), without_copies():
        assert os.environ[SWITCH] == "FALSE" and Graph.update_proto is not original
        raise KeyError
    assert os.environ.get(SWITCH) == before and Graph.update_proto is original
