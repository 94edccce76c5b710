"""`autotl pretrain`: refusals before anything is made, and what is printed of one that has ended."""

import json

import pytest

from autotl.runs.directory import create_run
from autotl.runs.files import write_json

COMMAND = ("pretrain", "sample:clipart", "--backbone", "efficientnet-lite0", "--image-size", 64, "--epochs", 25)


@pytest.fixture
def ended(tmp_path):
    """The folder of a pretraining that has ended."""
    asked = {
        "study": "pretrain", "dataset": "sample:clipart", "backbone": "efficientnet-lite0", "weights": "random",
        "image_size": 64, "labels": "given", "method": None, "epochs": 25, "budget": None, "seed": 0,
    }  # fmt: skip
    run = create_run(tmp_path / "run", asked)
    curve = [
        {"epoch": epoch, "loss": 2.0 - epoch / 20, "accuracy": epoch / 50, "log_loss": 1.5} for epoch in range(1, 24)
    ]
    scores = {"n": 71, "accuracy": 0.46, "accuracy_ci95": [0.35, 0.58], "log_loss": 1.5}
    ending = {"epochs": 23, "planned_epochs": 25, "scores": scores, "curve": curve, "classes": 12, "seconds": 61.2}
    folder = str(run.path / "model")
    write_json(run.result_path, {"run": str(run.path), **asked, "backbone_folder": folder, **ending})
    return run.path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing option '--backbone'"),
        (("--backbone", "efficientnet-lite0", "--init", "imagenet"), "random, pretrained, or the path"),
        (("--backbone", "efficientnet-lite0", "--image-size", 16), "at least 32 pixels"),
        (("--backbone", "efficientnet-lite0", "--budget", "10"), "written with its unit"),
        (("--backbone", "xception", "--init", "pretrained"), "autotl backbones fetch xception"),
        (("--backbone", "vgg61"), "vgg16"),
    ],
)
def test_what_cannot_be_meant_ends_with_exit_code_2_and_makes_nothing(autotl, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = autotl("pretrain", "sample:clipart", *arguments)
    assert answer.code == 2 and words in answer.err and answer.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_curve_is_thinned_and_its_end_and_the_way_on_are_said(autotl, ended):
    answer = autotl(*COMMAND, "--out", ended)
    assert answer.code == 0
    table = [line.split() for line in answer.out.splitlines() if line.strip()[:1].isdigit()]
    assert [row[0] for row in table] == ["2", "5", "8", "11", "14", "17", "20", "23"]
    assert "held-out accuracy 0.460 (95 % interval 0.350 to 0.580) on 71 images of 12 classes" in answer.out
    assert "stopped by the budget before epoch 25" in answer.out
    assert f"next: autotl search DATASET --backbone {ended}" in answer.out


def test_json_has_all_of_it(autotl, ended):
    found = json.loads(autotl(*COMMAND, "--out", ended, "--json").out)
    assert len(found["curve"]) == 23 and found["scores"]["accuracy_ci95"] == [0.35, 0.58]
