"""What a request may say, and that a run directory gives it back."""

import json

import pytest

from autotl.errors import UsageError
from autotl.search.request import SearchRequest, absolute, check_request, read_request


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "auc"}, "log_loss, accuracy, balanced_accuracy, macro_f1, not 'auc'"),
        ({"trials": 0}, "at least one trial, not 0"),
        ({"trials": -3}, "at least one trial, not -3"),
        ({"budget": 0.0}, "greater than zero"),
        ({"budget": -1.0}, "greater than zero"),
        ({"jobs": 0}, "at least one job"),
        ({"seed": -1}, "from 0 to 2147483647, not -1"),
        ({"seed": 2**31}, "not 2147483648"),
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
    request = SearchRequest("photos", space="flat", trials=7, budget=90.0, seed=3, backbones=("a", "b"), jobs=2)
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
