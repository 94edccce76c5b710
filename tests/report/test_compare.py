"""The plot and the tables of a comparison, from a result as `autotl compare --json` gives it."""

import csv
import io
import re
from xml.etree import ElementTree

import pytest

from autotl.report.compare_plot import draw_comparison
from autotl.report.compare_table import csv_table, markdown_table

LEVELS = ("frozen", "partly", "full")


def make_row(label, level, accuracy, weights="pretrained", **changes):
    metrics = {"accuracy": accuracy, "balanced_accuracy": accuracy - 0.01, "log_loss": 1.0 - accuracy}
    bounds = {f"{name}_ci95": [value - 0.05, value + 0.05] for name, value in metrics.items()}
    return {
        "backbone": label, "label": label, "weights": weights, "level": level, "image_size": 96,
        "pretrained_on": "ImageNet-1k" if weights == "pretrained" else None, "state": "complete", "reason": None,
        "rate": None if level == "frozen" else 1e-4, "test": {"n": 71, **metrics, **bounds}, "is_best": False,
        "as_good_as_best": False, "behind_best": {"accuracy": -0.1, "accuracy_ci95": [-0.2, -0.01], "is_sure": True},
        "fit_seconds": 2.0 + 30.0 * LEVELS.index(level), "total_seconds": 90.0, "parameters": 3_413_024,
        "trained_parameters": 15_372, "multiply_adds": 71_000_000, "milliseconds": 4.25, "weights_bytes": 13_652_096,
        **changes,
    }  # fmt: skip


def make_result(*rows, **changes):
    return {
        "run": "/home/me/runs/photos", "dataset": "/home/me/photos", "levels": list(LEVELS), "epochs": 8,
        "rates": [1e-4, 1e-3], "seeds": 1, "seed": 0, "augmentation": "flip", "images": {"train": 381, "test": 71},
        "classes": 12, "rows": list(rows), "gains": [], "conclusion": ["The most accurate is lite0."], **changes,
    }  # fmt: skip


@pytest.fixture
def result():
    nothing = dict.fromkeys(("rate", "fit_seconds", "trained_parameters"))
    return make_result(
        make_row("lite0", "frozen", 0.70, as_good_as_best=True),
        make_row("lite0", "full", 0.75, is_best=True, as_good_as_best=True),
        make_row("vgg|16", "frozen", 0.30, weights="random"),
        make_row("vgg|16", "full", 0.0, weights="random", state="failed", reason="no memory | left", **nothing),
    )


def rows_of(table):
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line.startswith("|")]


def test_the_table_says_of_every_row_what_it_was_pretrained_on(result):
    header, rules, *rows = [[cell.strip() for cell in row] for row in rows_of(markdown_table(result))]
    assert {len(row) for row in (header, rules, *rows)} == {len(header)}
    assert [row[:3] for row in rows] == [
        ["lite0", "ImageNet-1k", "frozen"],
        ["lite0", "ImageNet-1k", "fully fine-tuned"],
        ["vgg\\|16", "random", "frozen"],
        ["vgg\\|16", "random", "from scratch"],
    ]


def test_the_best_row_and_those_that_cannot_be_told_from_it_are_marked(result):
    alike, best, other, failed = [row[3].strip() for row in rows_of(markdown_table(result))[2:]]
    assert (alike, best, other) == ("70.0 (65.0 to 75.0) †", "**75.0 (70.0 to 80.0)**", "30.0 (25.0 to 35.0)")
    assert failed == "failed: no memory \\| left"


def test_the_table_says_what_was_held_equal_and_shows_no_folder(result):
    text = markdown_table(result)
    assert "381 images to fit to, 71 test images" in text and "96 px" in text and "0.0001, 0.001" in text
    assert "/home/me" not in text


def test_the_csv_has_all_digits_of_finished_rows(result):
    rows = list(csv.DictReader(io.StringIO(csv_table(result))))
    assert [row["accuracy"] for row in rows] == ["0.7", "0.75", "0.3", ""]
    assert rows[1]["accuracy_low"] == str(0.75 - 0.05) and rows[3]["reason"] == "no memory | left"
    assert rows[2]["pretrained_on"] == ""


def test_the_plot_names_networks_levels_and_what_failed(result):
    root = ElementTree.fromstring(draw_comparison(result))
    words = " ".join("".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text"))
    for word in ("lite0", "vgg|16", "(random weights)", "frozen", "fully trained", "fully trained: failed", "71 test"):
        assert word in words
    assert "partly" not in words


def test_the_plot_is_the_same_whenever_it_is_drawn(result):
    assert draw_comparison(result) == draw_comparison(result)
