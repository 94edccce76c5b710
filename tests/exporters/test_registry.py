from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.errors import AutotlError, UsageError
from autotl.exporters.contract import FLOAT16, FLOAT32, INT8
from autotl.exporters.registry import (
    list_exporters,
    load_exporter,
    missing_packages,
    parse_format,
    require_runtime,
    require_writer,
)

BUILT_IN = {"keras", "saved_model", "onnx", "litert", "openvino"}


def test_the_built_in_formats_are_registered_and_whole():
    assert {listing.name for listing in list_exporters()} >= BUILT_IN
    for name in BUILT_IN:
        exporter = load_exporter(name)
        assert exporter.name == name and exporter.file and exporter.runtime_packages
        assert set(exporter.precisions) <= {FLOAT32, FLOAT16, INT8} and next(iter(exporter.precisions)) == FLOAT32


@pytest.mark.parametrize(
    ("text", "default", "expected"),
    [
        ("onnx", None, ("onnx", FLOAT32)),
        ("onnx", FLOAT16, ("onnx", FLOAT16)),
        ("onnx:int8", FLOAT16, ("onnx", INT8)),
        ("saved_model:float32", INT8, ("saved_model", FLOAT32)),
    ],
)
def test_a_format_may_name_its_precision(text, default, expected):
    exporter, precision = parse_format(text, default)
    assert (exporter.name, precision) == expected


@pytest.mark.parametrize(
    ("text", "default", "words"),
    [
        ("onxn", None, "Did you mean onnx?"),
        ("keras:int8", None, "keras is written as float32; given 'int8'"),
        ("openvino", INT8, "openvino is written as float32 or float16; given 'int8'"),
        ("litert:flaot16", None, "Did you mean float16?"),
        ("onnx:", None, "given ''"),
        ("onnx:int8:x", None, "given 'int8:x'"),
    ],
)
def test_what_there_is_not_is_a_usage_error_that_names_what_there_is(text, default, words):
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        parse_format(text, default)


@settings(deadline=None)  # the first example imports
@given(st.text() | st.builds("{}:{}".format, st.sampled_from(sorted(BUILT_IN)), st.text()))
def test_any_text_is_a_format_or_a_usage_error(text):
    try:
        exporter, precision = parse_format(text)
    except UsageError as error:
        assert "Installed:" in str(error) or "is written as" in str(error)
    else:
        assert precision in exporter.precisions and text in (exporter.name, f"{exporter.name}:{precision}")


def test_missing_packages_are_named_with_the_line_that_installs_them():
    assert missing_packages({"json": "json", "no_such_package_x": "no-such-package"}) == ("no_such_package_x",)
    lacking = replace(load_exporter("onnx"), writer_packages={"json": "json", "no_such_x": "no-such-x"})
    require_runtime(replace(lacking, runtime_packages={"json": "json"}))
    with pytest.raises(AutotlError, match=r"^Writing onnx needs no-such-x; run: pip install 'autotl\[onnx\]'$"):
        require_writer(lacking)
    with pytest.raises(AutotlError, match=r"^Running onnx needs no-such-x; run: pip install no-such-x$"):
        require_runtime(replace(lacking, runtime_packages={"no_such_x": "no-such-x"}, extra=None))
