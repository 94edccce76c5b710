"""Which backbones go on: from results with small validation files, as workers leave them."""

import numpy as np

from autotl.search.screening import rank_backbones


def test_backbones_that_are_surely_worse_than_the_best_are_dropped(fitted):
    results = [
        fitted(1, "large", np.full(50, 0.9), 1000, penalty=1),
        fitted(2, "middle", np.full(50, 0.8), 1000, penalty=1),
        fitted(3, "middle", np.full(50, 0.3), 1000, penalty=2),
        fitted(4, "small", np.full(50, 0.5), 1000, penalty=1),
    ]
    assert rank_backbones(results, "log_loss", {}) == ["large"]


def test_a_cheaper_backbone_that_is_as_good_is_ranked_before(fitted):
    results = [
        fitted(1, "large", np.full(50, 0.9), 1000),
        fitted(2, "small", 0.9 + np.tile([0.09, -0.09], 25), 100),
        fitted(3, "tiny", np.full(50, 0.2), 1),
    ]
    assert rank_backbones(results, "log_loss", {}) == ["small", "large"]


def test_a_probability_of_zero_is_a_large_loss_and_not_an_infinite_one(fitted):
    sure = np.full(50, 0.9)
    sure[0] = 0.0
    with np.errstate(divide="ignore"):
        wrong = {**fitted(1, "wrong", sure, 100), "score": 0.4, "scores": {"log_loss": 0.4}}
    assert rank_backbones([wrong, fitted(2, "right", np.full(50, 0.9), 100)], "log_loss", {}) == ["right"]


def test_without_a_completed_trial_no_backbone_is_ranked():
    failed = {"number": 1, "state": "failed", "score": None, "config": {"backbone": "b"}}
    assert rank_backbones([failed], "log_loss", {}) == []


NOISE = np.tile([0.09, -0.09], 25)


def test_published_accuracy_decides_between_followers_that_measure_alike(fitted):
    results = [
        fitted(1, "leader", np.full(50, 0.8), 100),
        fitted(2, "known", 0.79 + NOISE, 100),
        fitted(3, "unknown", 0.79 - NOISE, 100),
    ]
    assert rank_backbones(results, "log_loss", {"known": 79.0, "unknown": 70.0})[1:] == ["known", "unknown"]
    assert rank_backbones(results, "log_loss", {"known": 70.0, "unknown": 79.0})[1:] == ["unknown", "known"]


def test_published_accuracy_alone_takes_no_backbone_along(fitted):
    results = [fitted(1, "leader", np.full(50, 0.9), 100), fitted(2, "famous", np.full(50, 0.5), 100)]
    assert rank_backbones(results, "log_loss", {"leader": 60.0, "famous": 90.0}) == ["leader"]
