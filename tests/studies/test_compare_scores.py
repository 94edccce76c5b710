"""Scores and paired intervals of a comparison's rows, held against counts made by hand."""

import math

import numpy as np
import pytest

from autotl.studies.compare_scores import Measured, measure, measure_all, read_fit, resample

LABELS = np.repeat([0, 1], 100)


def fit_with(right, sure=0.9):
    """A fit that is right on the images where `right` is true, and says so with that probability."""
    predicted = np.where(right, LABELS, 1 - LABELS)
    probabilities = np.full((len(LABELS), 2), 1.0 - sure)
    probabilities[np.arange(len(LABELS)), predicted] = sure
    return read_fit([probabilities], LABELS)


def every(step):
    return np.arange(len(LABELS)) % step != 0


def test_scores_are_those_of_the_definition():
    right = np.concatenate([np.arange(100) < 90, np.arange(100) < 50])
    found = measure([fit_with(right)], LABELS)
    assert found["accuracy"][0] == pytest.approx(0.7)
    assert found["balanced_accuracy"][0] == pytest.approx(0.7)
    assert found["log_loss"][0] == pytest.approx(-0.7 * math.log(0.9) - 0.3 * math.log(0.1))


def test_repeats_are_averaged_and_kept():
    one, other = np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[0.9, 0.1], [0.0, 1.0]])
    fit = read_fit([one, other], np.array([0, 1]))
    assert fit.accuracies == (0.5, 1.0) and list(fit.hits) == [1.0, 0.5]
    assert math.isfinite(fit.losses[1])


def test_a_probability_of_zero_costs_a_finite_loss():
    assert np.isfinite(read_fit([np.array([[0.0, 1.0]])], np.array([0])).losses).all()


def test_intervals_have_the_width_of_a_binomial():
    drawn = resample([fit_with(every(5))], LABELS, seed=0)["accuracy"][:, 0]
    assert drawn.std() == pytest.approx(math.sqrt(0.8 * 0.2 / len(LABELS)), rel=0.1)


def test_balanced_accuracy_is_of_the_classes_that_were_drawn():
    labels, probabilities = np.array([0, 0, 0, 1]), np.tile([0.9, 0.1], (4, 1))
    drawn = resample([read_fit([probabilities], labels)], labels, seed=0)["balanced_accuracy"][:, 0]
    assert set(drawn) == {0.0, 0.5, 1.0}  # of draws with the second class alone, with both, and without it


def test_the_difference_is_paired():
    """Two fits that err on the very same images but ten differ by those ten, whatever images are drawn."""
    better, worse = every(5), every(5) & (np.arange(200) >= 12)
    measured = measure_all([fit_with(better), fit_with(worse)], LABELS, seed=0)
    gap = measured.gap(0, 1)
    assert gap["accuracy"] == pytest.approx(9 / 200) and gap["is_sure"]
    low, high = gap["accuracy_ci95"]
    assert 0.0 < low < 9 / 200 < high < 0.09
    one, other = (measured.scores(place)["accuracy_ci95"] for place in (0, 1))
    assert one[0] < other[1]  # their own intervals overlap: unpaired, they could not be told apart


def test_what_is_within_chance_is_not_sure():
    measured = measure_all([fit_with(every(5)), fit_with(~every(5) | (np.arange(200) % 4 > 0))], LABELS, seed=0)
    assert not measured.gap(0, 1)["is_sure"]


def test_of_equally_accurate_fits_the_one_with_the_lower_loss_is_best():
    fits = [fit_with(every(5), sure=0.7), fit_with(every(5), sure=0.9), fit_with(every(4))]
    assert measure_all(fits, LABELS, seed=0).best == 0
    assert isinstance(measure_all(fits, LABELS, seed=0), Measured)


def test_the_same_seed_gives_the_same_intervals():
    fits = [fit_with(every(5)), fit_with(every(3))]
    one, other = (measure_all(fits, LABELS, seed=3).scores(0) for _ in range(2))
    assert one == other
