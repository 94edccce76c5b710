"""What `autotl search` refuses of networks and licences, before anything starts."""

import zipfile

import pytest

from autotl.runs.files import write_json

BOUND = """
from autotl.backbones.contract import Backbone, Weights

NET = Backbone(
    name="cli-bound-net", build=lambda image_size, weights: None, image_size=64, min_image_size=32, parameters=1,
    weights=Weights("PyPI", None, "Meta-X", "nothing", "No military use."), imagenet_top1=None, reference="",
    available=lambda: True,
)
"""


@pytest.fixture
def bound_net(tmp_path, monkeypatch):
    metadata = tmp_path / "site" / "cli_bound_nets-1.2.dist-info"
    metadata.mkdir(parents=True)
    (tmp_path / "site" / "cli_bound_nets.py").write_text(BOUND)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: cli-bound-nets\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text("[autotl.backbones]\ncli-bound-net = cli_bound_nets:NET\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return "cli-bound-net"


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_restricting_licence_is_refused_with_the_flag_that_accepts_it(autotl, autotl_json, bound_net, here):
    answer, code = autotl_json("search", "sample:clipart", "--backbone", bound_net, "-q")
    assert (code, answer["error"]["kind"]) == (2, "usage")
    for words in ("cli-bound-net", "Meta-X", "No military use.", "--accept-licence Meta-X"):
        assert words in answer["error"]["message"]
    answer, code = autotl_json(
        "search",
        "no-such-photos",
        "--backbone",
        bound_net,
        "--accept-licence",
        "MIT",
        "--accept-licence",
        "Meta-X",
        "-q",
    )
    assert code in (2, 3) and "no-such-photos" in answer["error"]["message"]  # it came as far as the data
    assert list(here.iterdir()) == []


def test_a_file_of_keras_without_a_normalisation_is_refused_with_the_modes(autotl_json, here):
    with zipfile.ZipFile(here / "mine.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    answer, code = autotl_json("search", "sample:clipart", "--backbone", "mine.keras", "-q")
    assert (code, answer["error"]["kind"]) == (2, "usage")
    assert "--normalisation MODE, one of inside, unit, symmetric, caffe, torch" in answer["error"]["message"]
    assert [path.name for path in here.iterdir()] == ["mine.keras"]


def test_a_normalisation_without_a_network_of_your_own_is_refused(autotl_json, here):
    answer, code = autotl_json("search", "sample:clipart", "--normalisation", "unit", "-q")
    assert code == 2
    assert "--backbone my-network.keras" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--latency-budget", "20"],
            "A latency is a time greater than zero with its unit, like 20ms or 0.5s, not '20'.",
        ),
        (["--max-size", "ten MB"], "like 10MB, 9.5MiB or 800KB"),
        (["--max-size", "5MB", "--ensemble"], "Leave out --ensemble"),
        (["--deploy", "onxx"], "onxx"),
        (["--deploy", "keras:int8"], "keras"),
    ],
)
def test_budgets_that_cannot_be_meant_are_refused(autotl_json, here, options, says):
    answer, code = autotl_json("search", "sample:clipart", *options, "-q")
    assert (code, answer["error"]["kind"]) == (2, "usage")
    assert says in answer["error"]["message"]
    assert list(here.iterdir()) == []


BUDGETS = {
    "format": "litert:int8",
    "latency": {"budget": 20.0, "measured": 24.31, "unit": "milliseconds", "holds": False},
    "size": {"budget": 10_000_000, "measured": 3_996_430, "unit": "bytes", "holds": True},
}
EXPORT = {"format": "litert", "precision": "int8", "folder": "run/export/litert-int8", "state": "ok", "problem": None}


def test_a_finished_search_shows_its_budgets_and_fails_where_one_was_broken(autotl, autotl_json, finished_run, result):
    write_json(finished_run.result_path, {**result, "budgets": BUDGETS, "export": EXPORT})
    answer = autotl("resume", finished_run.path, "-q")
    assert answer.code == 1
    for words in (
        "latency budget: 24.3 ms of 20.0 ms, DOES NOT HOLD (litert:int8)", "size budget: 4.00 MB of 10.00 MB, holds",
        "export: litert int8, ok: run/export/litert-int8",
    ):  # fmt: skip
        assert words in answer.out
    assert "break its budget of latency" in answer.err
    found, code = autotl_json("resume", finished_run.path, "-q")
    assert (code, found["budgets"]) == (1, BUDGETS)


@pytest.mark.parametrize(("state", "code"), [("rejected", 5), ("failed", 1), ("ok", 0)])
def test_a_model_that_could_not_be_deployed_has_its_exit_code(autotl, finished_run, result, state, code):
    export = {**EXPORT, "state": state, "folder": None if state == "failed" else "x", "problem": "too far off"}
    write_json(finished_run.result_path, {**result, "export": export})
    answer = autotl("resume", finished_run.path, "-q")
    assert answer.code == code
    assert ("too far off" in answer.err) == (code != 0)
