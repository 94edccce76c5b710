"""The rows of `benchmarks/formats.py`: one shape whatever happened, merged with those of earlier calls."""

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def formats(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("formats")


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("formats_report")


def an_entry(name, precision="float32", state="ok", problem=None):
    return {
        "format": name, "precision": precision, "folder": None, "file": None, "bytes": 1_500_000, "state": state,
        "problem": problem, "parity": None, "latency": None, "test": None,
    }  # fmt: skip


def a_row(*exports, error=None):
    return {"load": 0.5, "error": error, "parameters": 7, "exports": list(exports)}


def test_formats_that_are_not_measured_again_stay(formats):
    earlier = a_row(an_entry("keras"), an_entry("onnx", state="failed", problem="it crashed"))
    row = formats.merged(earlier, a_row(an_entry("onnx"), an_entry("onnx", "int8")))
    found = [(formats.format_of(entry), entry["state"]) for entry in row["exports"]]
    assert found == [("keras:float32", "ok"), ("onnx:float32", "ok"), ("onnx:int8", "ok")]
    failed = a_row(error="no memory")
    assert formats.merged(earlier, failed) is failed and formats.merged(None, earlier) is earlier


def test_a_row_is_called_the_same_whether_or_not_its_network_can_be_built(formats):
    arguments = formats.read_arguments(["xception", "--random"])
    assert formats.title_of("xception", arguments) == "xception, 96 px, random weights"
    assert formats.title_of("no-such-network", arguments) == "no-such-network"
    assert formats.title_of("no-such-run", formats.read_arguments(["no-such-run"])) == "no-such-run"


@pytest.mark.process
def test_a_network_that_takes_too_long_is_a_row_of_the_same_shape(formats):
    row = formats.in_a_process("vgg16", formats.read_arguments(["vgg16", "--random", "--limit-seconds", "0.2"]))
    assert row == {"error": "not done after 0.2 s", "parameters": None, "exports": []}


def test_the_committed_tables_are_those_of_the_committed_figures(report):
    path = BENCHMARKS / "results" / "formats.json"
    record = json.loads(path.read_text())
    assert path.with_suffix(".md").read_text() == report.make_report(record)
    assert {tuple(row) for row in record["rows"].values()} == {("load", "error", "parameters", "exports")}
    assert {tuple(sorted(entry)) for row in record["rows"].values() for entry in row["exports"]} == {
        tuple(sorted(an_entry("any")))
    }


def test_what_failed_says_why_in_its_table(report):
    told = report.section("net", a_row(an_entry("onnx", state="failed", problem="a | b\nc")))
    assert r"| onnx float32 | 1.50 |  |  |  |  |  |  |  | failed: a \| b c |" in told
    assert "no memory" in report.section("net", a_row(error="no memory"))
