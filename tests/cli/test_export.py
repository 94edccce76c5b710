"""`autotl export` as far as it goes without Keras: what it refuses, and how it tells what became of an export."""

import pytest

from autotl.cli import export as command

PARITY = {
    "n": 12, "max_difference": 2.5e-05, "mean_difference": 1e-6, "same_label": 0.5, "passed": False, "problems": ["x"],
    "validation": {"n": 12, "accuracy": 0.75, "reference_accuracy": 0.8, "accuracy_drop": 0.05},
}  # fmt: skip
ENTRY = {
    "format": "onnx", "precision": "float32", "folder": "out/onnx-float32", "file": "model.onnx", "bytes": 2_500_000,
    "state": "ok", "problem": None, "parity": PARITY,
    "latency": {"batch_size": 1, "n": 30, "p50_milliseconds": 1.25, "p95_milliseconds": 2.5},
}  # fmt: skip
FAILED = {
    **dict.fromkeys(ENTRY),
    "format": "litert",
    "precision": "int8",
    "state": "failed",
    "problem": "[red]no[/red]",
}


@pytest.fixture
def outcome(monkeypatch):
    """Has the verb answer with these exports."""

    def answer(*exports, left_out=()):
        result = {"model": "m", "out": "out", "exports": list(exports), "left_out": list(left_out)}
        monkeypatch.setattr(command.api, "export", lambda *arguments, **options: result)

    return answer


def test_the_table_has_what_was_measured(autotl, outcome):
    outcome(ENTRY, left_out=[{"format": "openvino", "reason": "openvino is not installed"}])
    answer = autotl("export", "m", "--format", "all")
    row = next(line for line in answer.out.splitlines() if line.strip().startswith("onnx"))
    assert row.split() == [
        "onnx", "float32", "2.50", "MB", "2.5e-05", "50.0%", "0.750", "(+0.050)", "1.2", "/", "2.5", "ok",
    ]  # fmt: skip
    assert "12 real images (the validation split has no more)" in answer.out
    assert "left out openvino: openvino is not installed" in answer.out
    assert answer.code == 0


@pytest.mark.parametrize(
    ("states", "code"),
    [(["ok", "unverified"], 0), (["ok", "failed"], 1), (["rejected"], 5), (["failed", "rejected", "ok"], 5)],
)
def test_the_exit_code_tells_the_worst(autotl_json, outcome, states, code):
    outcome(*({**ENTRY, "state": state} for state in states))
    found, exit_code = autotl_json("export", "m", "--format", "onnx")
    assert exit_code == code and [item["state"] for item in found["exports"]] == states


def test_what_failed_is_told_in_its_own_words_and_never_as_markup(autotl, outcome):
    outcome(ENTRY, FAILED)
    answer = autotl("export", "m", "--format", "onnx")
    assert "litert int8 failed: [red]no[/red]" in answer.err
    assert "failed" in answer.out


def test_a_model_that_is_not_there_and_no_format_are_usage_errors(autotl, tmp_path):
    answer = autotl("export", tmp_path / "nowhere", "--format", "onnx")
    assert answer.code == 2 and "does not exist" in answer.err
    assert autotl("export", tmp_path).code == 2
