"""The conclusion of a comparison claims what its intervals show, and no more."""

from autotl.studies.compare_words import conclude


def row(label, level, accuracy, **changes):
    return {
        "label": label, "level": level, "weights": "pretrained", "pretrained_on": "ImageNet-1k", "state": "complete",
        "is_best": False, "as_good_as_best": False, "multiply_adds": 100e6, "fit_seconds": 9.0, **changes,
        "test": {"n": 200, "accuracy": accuracy, "accuracy_ci95": [accuracy - 0.05, accuracy + 0.05]},
    }  # fmt: skip


def gain(label, level, points, low, high):
    is_sure = not low <= 0 <= high
    return {
        "label": label, "level": level, "weights": "pretrained", "accuracy": points / 100,
        "accuracy_ci95": [low / 100, high / 100], "is_sure": is_sure,
    }  # fmt: skip


BEST = row("big", "full", 0.9, is_best=True, as_good_as_best=True, multiply_adds=400e6)


def test_a_best_row_that_stands_alone_is_called_so():
    said = conclude([BEST, row("small", "frozen", 0.7)], [])
    assert said[0] == (
        "The most accurate is big fully fine-tuned: 90.0% of 200 test images (95 % interval 85.0% to 95.0%)."
    )
    assert said[1] == "It is more accurate than every other row by more than chance." and len(said) == 2


def test_rows_that_cannot_be_told_from_the_best_are_named_and_the_cheapest_of_them():
    rows = [BEST, row("small", "frozen", 0.88, as_good_as_best=True), row("small", "full", 0.5)]
    said = conclude(rows, [])
    assert said[1] == "These test images cannot tell it from 1 of the 2 other rows: small frozen."
    assert said[2] == "Of these small frozen costs the least: 100 M multiply-adds an image."


def test_of_one_network_the_least_trained_row_costs_least():
    rows = [BEST, row("big", "frozen", 0.88, as_good_as_best=True, multiply_adds=400e6, fit_seconds=99.0)]
    assert conclude(rows, [])[2] == "Of these big frozen costs the least: 400 M multiply-adds an image."
    assert conclude([*rows[1:], {**BEST, "multiply_adds": 1e6}], [])[2] == "It also costs the least of these."


def test_gains_and_losses_over_the_frozen_network_are_told_where_they_are_sure():
    gains = [gain("big", "full", 5.0, 1.0, 9.0), gain("small", "full", -4.0, -7.0, -1.0), gain("x", "partly", 1, -2, 4)]
    said = conclude([BEST, row("small", "full", 0.5)], gains)
    assert "big fully fine-tuned gains 5.0 points over the same network frozen (95 % interval 1.0 to 9.0)." in said
    assert "small fully fine-tuned loses 4.0 points over the same network frozen (95 % interval 1.0 to 7.0)." in said
    assert not any(sentence.startswith("x ") for sentence in said)
    assert any("No network is surely better" in one for one in conclude([BEST], [gain("x", "partly", 1, -2, 4)]))


def test_random_weights_and_failures_are_named():
    untrained = {"weights": "random", "pretrained_on": None}
    rows = [BEST, row("vgg16", "full", 0.3, **untrained), row("vgg16", "frozen", 0.1, **untrained, state="failed")]
    said = conclude(rows, [])
    assert "Without a result: vgg16 frozen with random weights." in said
    assert said[-1].startswith("vgg16 began with random weights: ")
