import json
import re
from html.parser import HTMLParser

import pytest

from autotl.errors import UsageError
from autotl.report.html import write_report

HOSTILE = ['<script>alert("x")</script>', "a | b", "line\nbreak", "$x^2$ & co", "{{ 7 * 7 }}", "caf\udce9"]


class Page(HTMLParser):
    """Collects what a browser would see: elements, their attributes, the text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page_of(make_run):
    def read(**options):
        path = write_report(make_run(**options))
        return Page(path.read_text(encoding="utf-8"))

    return read


def test_the_report_of_an_ensemble_names_all_its_networks(make_run):
    path = make_run() / "result.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps({**result, "members": [{"backbone": "one-net"}, {"backbone": "two-net"}]}))
    assert "one-net + two-net" in Page(write_report(path.parent).read_text(encoding="utf-8")).text


def test_the_report_of_a_finished_run_shows_its_result_and_every_section(page_of):
    text = page_of().text
    for words in (
        "clipart12.zip", "Test accuracy", "95 % interval 70.2 % to 78.1 %", "Best configuration", "Leaderboard",
        "Learning curves", "Where the time went", "Test results by class", "Confusions", "Data", "Licences",
        "Apache-2.0", "To repeat this search", "autotl search clipart12.zip --space standard --seed 0",
    ):  # fmt: skip
        assert words in text
    assert "unfinished" not in text


def test_confidence_is_shown_before_and_after_the_temperature(make_run):
    page = Page(write_report(make_run()).read_text(encoding="utf-8"))
    for words in ("Confidence", "0.000 to 0.044", "0.110 to 0.180", "1.034", "as delivered", "before the temperature"):
        assert words in page.text
    labels = [attributes.get("aria-label") for tag, attributes in page.elements if tag == "svg"]
    assert "Accuracy by confidence on the test images" in labels


@pytest.mark.parametrize("reliability", [None, [], {"calibrated": [None, {"n": "many"}]}, {"calibrated": 3}])
def test_a_run_without_bins_of_confidence_has_a_report_without_their_drawing(make_run, reliability):
    run = make_run()
    description = json.loads((run / "model/autotl.json").read_text())
    description["test"] |= {"reliability": reliability, "uncalibrated": None}
    (run / "model/autotl.json").write_text(json.dumps(description))
    page = Page(write_report(run).read_text(encoding="utf-8"))
    assert "Accuracy by confidence" not in str(page.elements)
    assert "0.000 to 0.044" in page.text and "before the temperature" not in page.text


def test_the_report_runs_no_script_and_refers_to_nothing_outside(make_run):
    text = write_report(make_run()).read_text(encoding="utf-8")
    page = Page(text)
    assert "Content-Security-Policy" in text and "default-src 'none'" in text
    assert not {"script", "link", "img", "iframe", "a", "object"} & {tag for tag, _ in page.elements}
    references = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href")
    ]
    assert all(value.startswith("#") for value in references)
    assert all(reference.startswith("#") for reference in re.findall(r"url\((.*?)\)", text))
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_no_absolute_path_gets_into_the_report(make_run, tmp_path):
    text = write_report(make_run()).read_text(encoding="utf-8")
    assert "/home/me" not in text
    assert str(tmp_path) not in text
    assert "out of memory in y.py" in text


def test_names_of_classes_and_stages_are_text_and_never_markup(make_run):
    text = write_report(make_run(names=HOSTILE, dataset="<b>data</b>")).read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "b"} & {tag for tag, _ in page.elements}
    assert '<script>alert("x")</script>' in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "<b>data<" not in text


@pytest.mark.parametrize(
    ("missing", "heading"),
    [
        ("data.json", "that could not be used"),
        ("events.jsonl", "Leaderboard"),
        ("model/autotl.json", "Licences"),
    ],
)
def test_a_section_whose_file_is_missing_is_left_out(page_of, missing, heading):
    assert heading not in page_of(without=[missing]).text


def test_a_run_that_has_only_begun_still_gives_a_report(page_of):
    files = ["result.json", "data.json", "model/autotl.json", "events.jsonl"]
    text = page_of(without=files).text
    assert "this run is unfinished" in text
    assert "clipart12.zip" in text


def test_a_damaged_file_counts_as_missing(make_run):
    run = make_run()
    (run / "result.json").write_text('{"test": {"accu')
    (run / "data.json").write_text("[1, 2]")
    assert "Leaderboard" in write_report(run).read_text(encoding="utf-8")


def test_more_classes_than_a_matrix_can_show_are_listed_by_their_confusions(page_of):
    page = page_of(names=[f"class {index}" for index in range(40)])
    assert "matrix" not in [attributes.get("class") for _, attributes in page.elements]
    assert "Most frequent" in page.text


def test_the_same_run_gives_the_same_report(make_run):
    run = make_run()
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError):
        write_report(tmp_path)
