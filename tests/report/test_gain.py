"""The plot of transfer gain: each curve is named once, beside its end."""

from itertools import pairwise
from xml.etree import ElementTree

from autotl.report.gain_plot import draw_gain

NAMES = ("pretrained, frozen", "pretrained, trained", "from scratch", "random, frozen")
ARMS = ("frozen", "tuned", "scratch", "random")


def make_tier(per_class, labels, *accuracies):
    arms = {
        arm: {"accuracy": value, "accuracy_ci95": [value - 0.04, value + 0.04]}
        for arm, value in zip(ARMS, accuracies, strict=True)
    }
    return {"per_class": per_class, "labels": labels, "arms": arms}


def test_names_of_curves_that_end_together_do_not_overlap():
    tiers = [make_tier(1, 1.0, 0.3, 0.29, 0.1, 0.09), make_tier(None, 31.75, 0.61, 0.61, 0.27, 0.26)]
    drawing = draw_gain({"tiers": tiers, "images": {"test": 71}})
    texts = ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")
    places = [(text.text, float(text.get("y"))) for text in texts if text.text in NAMES]
    assert sorted(name for name, _ in places) == sorted(NAMES)
    heights = sorted(height for _, height in places)
    assert all(after - before >= 9.0 for before, after in pairwise(heights))  # letters of 9 pt
    assert dict(places)["pretrained, frozen"] < dict(places)["random, frozen"]
