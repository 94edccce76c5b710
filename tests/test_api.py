import html

import pytest

import autotl
from autotl.api import parse_seconds
from autotl.result import SearchResult

VALUES = {
    "run": "/r", "model": "/r/model", "best": {"backbone": "<b>vgg16</b>", "image_size": 224},
    "trials": {"complete": 3, "pruned": 1, "failed": 0}, "validation": {"accuracy": 0.8, "log_loss": 0.5},
    "test": {"n": 9, "accuracy": 0.75, "accuracy_ci95": [0.5, 1.0]}, "seconds": 12.0, "cost": {"forward": 3.0},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), (" 1H 30M ".replace(" ", ""), 5400),
     ("1h1m1s", 3661), (90, 90), (0.5, 0.5), (None, None)],
)  # fmt: skip
def test_times_are_written_with_units(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "10 minutes", "-5m", "1m1h", "1e3s", "\u0661m\n", "nan"])
def test_what_is_no_time_is_a_usage_error_that_shows_how(text):
    with pytest.raises(autotl.UsageError, match="10m"):
        parse_seconds(text)


def test_a_wrong_request_fails_before_the_data_is_looked_at():
    for wrong in ({"budget": "soon"}, {"metric": "f1"}, {"trials": 0}, {"seed": -1}, {"jobs": 0}):
        with pytest.raises(autotl.UsageError):
            autotl.search("nowhere", **wrong)


def test_a_result_is_readable_in_programs_terminals_and_notebooks():
    result = SearchResult(VALUES)
    assert (result.test["accuracy"], result.model.name, result.seconds) == (0.75, "model", 12.0)
    assert "accuracy 0.750 [0.500, 1.000] on 9 images" in repr(result)
    assert html.escape("<b>vgg16</b>") in result._repr_html_() and "<b>vgg16" not in result._repr_html_()
