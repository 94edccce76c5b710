"""`autotl compare`: refusals before anything is made, and the table of a comparison that has ended."""

import json

import pytest

from autotl.runs.directory import create_run
from autotl.runs.files import write_json
from autotl.studies.compare_plan import Request, find_networks, to_json

REQUEST = Request(
    "sample:clipart", ("efficientnet-lite0", "vgg16:random"), levels=("frozen",), image_size=64, epochs=2, seed=5
)
COMMAND = (
    "compare", "sample:clipart", "--backbone", "efficientnet-lite0", "--backbone", "vgg16:random", "--level", "frozen",
    "--image-size", 64, "--epochs", 2, "--seed", 5,
)  # fmt: skip


def row_of(label, pretrained_on, **changes):
    test = {"n": 71, "accuracy": 0.5, "balanced_accuracy": 0.5, "log_loss": 1.5}
    test |= {f"{name}_ci95": [test[name] - 0.1, test[name] + 0.1] for name in list(test) if name != "n"}
    return {
        "backbone": label, "label": label, "weights": "random" if pretrained_on is None else "pretrained",
        "pretrained_on": pretrained_on, "level": "frozen", "image_size": 64, "state": "complete", "reason": None,
        "test": test, "is_best": True, "as_good_as_best": True,
        "behind_best": {"accuracy": 0.0, "accuracy_ci95": [0.0, 0.0], "is_sure": False}, "fit_seconds": 0.5,
        "trained_parameters": 15_372, "parameters": 3_413_024, "multiply_adds": 31e6, "milliseconds": 1.25,
        "weights_bytes": 13_652_096, **changes,
    }  # fmt: skip


@pytest.fixture
def ended(tmp_path):
    """The folder of a comparison that has ended."""
    asked = to_json(REQUEST, find_networks(REQUEST))
    run = create_run(tmp_path / "run", asked)
    rows = [row_of("efficientnet-lite0", "ImageNet-1k")]
    rows.append(row_of("vgg16", None, state="failed", reason="no \x1b[31mroom", fit_seconds=None))
    result = {"run": str(run.path), **asked, "images": {"train": 381, "test": 71}, "classes": 12, "rows": rows}
    write_json(run.result_path, {**result, "gains": [], "conclusion": ["It is [bold]."], "seconds": 9.0})
    return run.path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing option '--backbone'"),
        (("--backbone", "vgg16:random", "--level", "frozen,half"), "frozen, partly, full, not half"),
        (("--backbone", "vgg16:random", "--rates", "small"), "1e-4,1e-3"),
        (("--backbone", "vgg16:random", "--image-size", 16), "at least 32 pixels"),
        (("--backbone", "vgg61"), "vgg16"),
    ],
)
def test_what_cannot_be_meant_ends_with_exit_code_2_and_makes_nothing(autotl, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = autotl("compare", "sample:clipart", *arguments)
    assert answer.code == 2 and words in answer.err and answer.out == ""
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_here_are_refused_with_what_to_type(autotl_json, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    error, code = autotl_json("compare", "sample:clipart", "--backbone", "vgg16")
    assert code == 2 and "autotl backbones fetch vgg16" in error["error"]["message"]


def test_the_table_says_what_was_pretrained_and_what_failed_and_why(autotl, ended):
    answer = autotl(*COMMAND, "--out", ended)
    assert answer.code == 0
    first, second = (line for line in answer.out.splitlines() if line.strip().startswith(("efficientnet", "vgg16  ")))
    assert first.split()[:3] == ["efficientnet-lite0", "ImageNet-1k", "frozen"] and "0.400 to 0.600" in first
    assert second.split() == ["vgg16", "random", "frozen", "failed"]
    assert "vgg16 frozen: no \N{REPLACEMENT CHARACTER}[31mroom" in answer.out and "It is [bold]." in answer.out


def test_the_result_as_json_names_the_files_that_were_written(autotl_json, ended):
    result, code = autotl_json(*COMMAND, "--out", ended)
    assert code == 0 and [row["pretrained_on"] for row in result["rows"]] == ["ImageNet-1k", None]
    assert {path.name for path in ended.glob("compare.*")} == {"compare.md", "compare.csv", "compare.svg"}
    assert json.loads((ended / "result.json").read_text())["rows"] == result["rows"]


def test_another_comparison_in_the_folder_is_refused(autotl, ended):
    answer = autotl(*COMMAND, "--rates", "1e-2", "--out", ended)
    assert answer.code == 2 and "holds something else" in answer.err
