"""What a request may say, and that a run directory gives it back."""

import json
import shlex

import pytest

from autotl.cli.search import search
from autotl.errors import UsageError
from autotl.search.request import (
    SearchRequest,
    absolute,
    check_paths,
    check_request,
    command_line,
    read_request,
    references,
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "auc"}, "log_loss, accuracy, balanced_accuracy, macro_f1, auroc, not 'auc'"),
        ({"trials": 0}, "at least one trial, not 0"),
        ({"trials": -3}, "at least one trial, not -3"),
        ({"budget": 0.0}, "greater than zero"),
        ({"budget": -1.0}, "greater than zero"),
        ({"jobs": 0}, "at least one job"),
        ({"seed": -1}, "from 0 to 2147483647, not -1"),
        ({"seed": 2**31}, "not 2147483648"),
        ({"normalisation": "unit"}, "Give --backbone my-network.keras too"),
        ({"normalisation": "unit", "backbones": ("vgg16",)}, "networks of your own"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused_with_what_was_given(fields, message):
    with pytest.raises(UsageError, match=message):
        check_request(SearchRequest("photos", **fields))


@pytest.mark.parametrize("fields", [{}, {"trials": 1}, {"budget": 0.1}, {"jobs": 1}, {"seed": 2**31 - 1}])
def test_the_smallest_and_largest_that_can_be_meant_are_accepted(fields):
    request = SearchRequest("photos", **fields)
    assert check_request(request) == request


def test_a_budget_that_is_no_number_is_refused():
    with pytest.raises(UsageError):
        check_request(SearchRequest("photos", budget=float("nan")))


def test_a_request_survives_the_run_directory():
    request = SearchRequest(
        "photos", space="flat", trials=7, budget=90.0, seed=3, backbones=("a", "b.keras"), jobs=2, normalisation="unit",
        accept_licences=("CC-BY-NC-4.0", "X"),
    )  # fmt: skip
    assert read_request(json.loads(json.dumps(request.to_json()))) == request


def test_the_version_of_autotl_beside_a_request_is_no_field_of_it():
    assert read_request({"dataset": "photos", "autotl": "0.1.0"}) == SearchRequest("photos")


def test_a_request_of_another_version_names_what_is_unknown():
    with pytest.raises(UsageError, match="another version of autotl: it has colour, phase"):
        read_request({"dataset": "photos", "phase": 1, "colour": 2})


def test_a_path_becomes_absolute_and_a_named_set_stays(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute(SearchRequest("photos")).dataset == str(tmp_path / "photos")
    assert absolute(SearchRequest("sample:clipart")).dataset == "sample:clipart"


def test_networks_of_your_own_are_the_same_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = SearchRequest(
        "photos", normalisation="unit", backbones=("vgg16", "my.keras", "other.keras?normalisation=torch", "runs/birds")
    )
    meant = [
        "vgg16", f"{tmp_path}/my.keras?normalisation=unit", f"{tmp_path}/other.keras?normalisation=torch",
        f"{tmp_path}/runs/birds",
    ]  # fmt: skip
    recorded = absolute(request)
    assert references(request) == list(recorded.backbones) == meant
    monkeypatch.chdir("/")
    assert references(read_request(json.loads(json.dumps(recorded.to_json())))) == meant


def test_a_normalisation_that_is_none_is_refused_with_the_modes():
    with pytest.raises(UsageError, match="inside, unit, symmetric, caffe, torch, not 'imagenet'"):
        references(SearchRequest("photos", backbones=("my.keras",), normalisation="imagenet"))


def test_a_space_names_networks_of_your_own_by_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_paths(["vgg16", "installed", "/home/me/my.keras?normalisation=unit"])
    with pytest.raises(UsageError, match=f"nets/my.keras.* is relative. Write {tmp_path}/nets/my.keras"):
        check_paths(["vgg16", "nets/my.keras?normalisation=unit"])


def test_the_command_that_repeats_a_search_is_read_as_the_same_request():
    request = SearchRequest(
        "my photos", space="flat", trials=7, budget=90.0, seed=3, backbones=("vgg16", "my.keras"), metric="accuracy",
        normalisation="unit", accept_licences=("CC-BY-NC-4.0", "My licence"),
    )  # fmt: skip
    program, command, *arguments = shlex.split(command_line(request))
    assert (program, command) == ("autotl", "search")
    given = search.make_context("search", arguments).params
    assert {name: given[name] for name in ("dataset", "space", "trials", "seed", "metric")} == {
        "dataset": "my photos", "space": "flat", "trials": 7, "seed": 3, "metric": "accuracy"
    }  # fmt: skip
    assert (given["backbones"], given["normalisation"]) == (request.backbones, "unit")
    assert (given["accept_licences"], given["budget"]) == (request.accept_licences, "90s")
