"""Sentences about transfer gain, and its table and plot: what they claim, and that names cannot change them."""

import xml.etree.ElementTree as ElementTree

import pytest

from autotl.report.gain_plot import draw_gain
from autotl.report.gain_table import markdown_gain
from autotl.studies.gain_words import conclude


def gained(points, low, high, arm="frozen", over="scratch"):
    sure = low > 0 or high < 0
    return {"arm": arm, "over": over, "points": points, "points_ci95": [low, high], "is_sure": sure}


def tier(per_class, *gains, needs=None, equal=None):
    arms = {
        name: {"accuracy": value, "accuracy_ci95": [value - 0.02, value + 0.02], "seconds": 2.0}
        for name, value in (("frozen", 0.5), ("tuned", 0.49), ("scratch", 0.2), ("random", 0.25))
    }
    needed = {"labels": needs, "labels_ci95": [needs and 30.0, None], "times": needs and needs / 5, "most": 80.0}
    return {
        "per_class": per_class, "images": 12 * (per_class or 80), "labels": per_class or 80.0, "draws": 3, "epochs": 8,
        "arms": arms, "gains": list(gains), "balanced": {"arms": arms, "gains": list(gains)},
        "scratch_needs": needed, "equal_seconds": equal,
    }  # fmt: skip


def words(*tiers, negative=()):
    return conclude("frozen", {"tiers": tiers, "negative": list(negative)})


def test_a_sure_gain_is_told_with_its_interval():
    said = words(tier(5, gained(31.04, 27.2, 35.0)))
    assert said[0] == "With 5 images per class transfer gains 31.0 points (95 % interval 27.2 to 35.0)."
    assert said[-1].startswith("No negative transfer")


def test_what_may_be_chance_is_no_gain_and_no_harm():
    said = words(tier(None, gained(2.0, -1.0, 5.0)))
    assert "cannot tell" in said[0] and "gains" not in said[0]


def test_harm_is_named():
    harm = {"per_class": 1, "images": 12, "is_balanced": False, **gained(-8.0, -10.0, -6.0, over="random")}
    said = words(tier(1, gained(-4.0, -7.0, -1.0)), negative=[harm])
    assert said[0] == "With 1 image per class transfer loses 4.0 points (95 % interval 1.0 to 7.0)."
    assert said[-1] == (
        "Negative transfer with 1 image per class: pretrained, frozen is 8.0 points worse than random frozen features "
        "(95 % interval 6.0 to 10.0)."
    )
    said = words(tier(1, gained(-4.0, -7.0, -1.0)), negative=[{**harm, "is_balanced": True}])
    assert "random frozen features in balanced accuracy (95 % interval" in said[-1]


@pytest.mark.parametrize(
    ("needs", "expected"),
    [(None, "more than all 960 images (80 per class)"), (60.0, "about 60 labels per class (95 % interval 30 to more")],
)
def test_labels_that_scratch_needs(needs, expected):
    assert expected in words(tier(5, gained(30.0, 20.0, 40.0), needs=needs), tier(None, gained(9.0, 5.0, 12.0)))[2]


@pytest.mark.parametrize(
    ("equal", "expected"),
    [
        ({"seconds": 4.0, "scratch": None, "seconds_to_equal": None, "longest": 90.0}, "within 90 s"),
        ({"seconds": 4.0, "scratch": 0.3, "seconds_to_equal": 70.0, "longest": 90.0}, "after 70 s"),
    ],
)
def test_equal_seconds(equal, expected):
    said = words(tier(None, gained(9.0, 5.0, 12.0), equal=equal))
    assert any(expected in sentence for sentence in said)


def test_table_and_plot_hold_whatever_the_network_is_called():
    gains = [gained(30.0, 20.0, 40.0), gained(25.0, 15.0, 35.0, over="random"), gained(1.0, -2.0, 4.0, arm="tuned")]
    result = {
        "dataset": "photos|<b>", "label": "a|b\n# c", "image_size": 64, "pretrained_on": "x`y", "classes": 12,
        "seed": 0,
        "images": {"train": 960, "test": 100}, "rates": [1e-3], "tiers": [tier(5, *gains), tier(None, *gains)],
        "conclusion": ["a | b\nc"],
    }  # fmt: skip
    lines = markdown_gain(result).splitlines()
    assert lines[0] == "# What transfer is worth on photos\\|&lt;b>"
    assert sum(line.startswith("# ") for line in lines) == 1 and lines[-1] == "- a \\| b c"
    assert sum(line.startswith("| 5 |") for line in lines) == 5
    drawing = draw_gain(result)
    texts = [
        "".join(element.itertext()).strip()
        for element in ElementTree.fromstring(drawing).iter()
        if element.tag.endswith("text")
    ]
    assert {"pretrained, frozen", "from scratch", "random, frozen", "5"} <= set(texts)
