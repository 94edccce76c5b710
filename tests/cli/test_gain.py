"""`autotl gain`: refusals before anything is made, and what is shown of a measurement that has ended."""

import pytest

from autotl.runs.directory import create_run
from autotl.runs.files import write_json
from autotl.studies.gain_plan import Request, plan

COMMAND = ("gain", "sample:clipart", "--backbone", "efficientnet-lite0", "--image-size", 64)


@pytest.fixture
def ended(tmp_path):
    asked, _ = plan(Request("sample:clipart", backbone="efficientnet-lite0", image_size=64))
    run = create_run(tmp_path / "run", asked)
    arm = {"accuracy": 0.5, "accuracy_ci95": [0.4, 0.6], "seconds": 1.0}
    gains = [{"arm": "frozen", "over": "scratch", "points": 1.0, "points_ci95": [-1.0, 3.0], "is_sure": False}]
    tier = {"per_class": 5, "images": 60, "labels": 5.0, "draws": 3, "epochs": 30, "gains": gains}
    tier["arms"] = dict.fromkeys(("frozen", "tuned", "scratch", "random"), arm)
    tier["balanced"] = {"arms": tier["arms"], "gains": gains}
    known = {"label": "efficientnet-lite0", "pretrained_on": "ImageNet-1k", "images": {"train": 381, "test": 71}}
    result = {"run": str(run.path), **asked, **known, "classes": 12, "tiers": [tier], "negative": [], "seconds": 9.0}
    write_json(run.result_path, {**result, "conclusion": ["It is \x1b[31m[bold]."]})
    return run.path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--per-class", "few"), "1,5,10"),
        (("--draws", 0), "x>=1"),
        (("--run", "nowhere"), "no folder"),
        (("--backbone", "vgg61"), "vgg16"),
    ],
)
def test_what_cannot_be_meant_ends_with_exit_code_2_and_makes_nothing(autotl, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = autotl("gain", "sample:clipart", *arguments)
    assert answer.code == 2 and words in answer.err and answer.out == ""
    assert list(tmp_path.iterdir()) == []


def test_what_has_ended_is_shown_with_its_files(autotl, autotl_json, ended):
    answer = autotl(*COMMAND, "--out", ended)
    assert answer.code == 0
    for words in ("0.500 (0.40-0.60)", "ImageNet-1k", "[bold]", str(ended / "gain.svg"), "random: a linear head"):
        assert words in answer.out
    assert "\x1b[31m" not in answer.out
    found, code = autotl_json(*COMMAND, "--out", ended)
    assert (code, found["study"], found["files"]["table"]) == (0, "gain", str(ended / "gain.md"))
