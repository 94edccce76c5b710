"""Accuracies with intervals, paired gains, and the labels that scratch needs: on known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.studies.gain_scores import accuracy, gain, labels_needed, measure

IMAGES = 400
LABELS = {0: 1.0, 1: 10.0, 2: 100.0}


def right(share, draws=2):
    """Fits that are right on the first `share` of the images."""
    return np.tile(np.arange(IMAGES) < share * IMAGES, (draws, 1))


@pytest.fixture
def measured():
    shares = {"frozen": (0.3, 0.5, 0.7), "scratch": (0.1, 0.3, 0.5), "random": (0.7, 0.2, 0.7)}
    return measure({(arm, tier): right(shares[arm][tier]) for arm in shares for tier in LABELS}, seed=0)


def test_an_interval_is_that_of_a_share_of_so_many_images(measured):
    found = accuracy(measured, "frozen", 1)
    low, high = found["accuracy_ci95"]
    assert found["accuracy"] == 0.5
    assert (low, high) == (pytest.approx(0.451, abs=0.006), pytest.approx(0.549, abs=0.006))  # binomial


def test_draws_that_differ_widen_the_interval():
    alike, apart = right(0.5, 4), np.stack([right(share, 1)[0] for share in (0.2, 0.4, 0.6, 0.8)])
    found = measure({("frozen", 0): alike, ("scratch", 0): apart}, seed=0)
    widths = [np.ptp(accuracy(found, arm, 0)["accuracy_ci95"]) for arm in ("frozen", "scratch")]
    assert widths[1] > 3 * widths[0]


def test_one_answer_to_all_images_has_the_balanced_accuracy_of_chance():
    classes = np.repeat([0, 1, 2], (IMAGES // 2, IMAGES // 4, IMAGES // 4))
    hits = {("frozen", 0): right(0.5), ("scratch", 0): right(0.75)}  # all of class 0; all of classes 0 and 1
    plain, balanced = measure(hits, seed=0), measure(hits, seed=0, classes=classes)
    assert (plain.values["frozen", 0], balanced.values["frozen", 0]) == (0.5, pytest.approx(1 / 3))
    np.testing.assert_allclose(balanced.resampled["frozen", 0], 1 / 3)
    assert balanced.values["scratch", 0] == pytest.approx(2 / 3)
    alone = measure(hits, seed=0, classes=np.zeros(IMAGES, int))
    np.testing.assert_array_equal(alone.resampled["frozen", 0], plain.resampled["frozen", 0])


def test_a_gain_is_paired_and_sure_only_where_its_interval_leaves_zero_out(measured):
    found = gain(measured, "frozen", "scratch", 1)
    assert found["points"] == pytest.approx(20.0)
    assert found["is_sure"] and found["points_ci95"][0] == pytest.approx(16.0, abs=1.0)  # the same images: 80 differ
    harm = gain(measured, "frozen", "random", 0)
    assert harm["points"] == pytest.approx(-40.0) and harm["is_sure"]
    same = gain(measured, "frozen", "random", 2)
    assert same == {"points": 0.0, "points_ci95": [0.0, 0.0], "is_sure": False}


def test_labels_that_scratch_needs_are_read_off_its_curve(measured):
    ten = labels_needed(measured, "frozen", "scratch", LABELS, 0)
    assert (ten["labels"], ten["times"]) == (pytest.approx(10.0), pytest.approx(10.0))
    assert ten["labels_ci95"] == [pytest.approx(10.0), pytest.approx(10.0)]  # paired: both curves shift together
    hundred = labels_needed(measured, "frozen", "scratch", LABELS, 1)
    assert (hundred["labels"], hundred["times"]) == (pytest.approx(100.0), pytest.approx(10.0))


def test_scratch_that_never_comes_to_it_needs_more_than_there_are(measured):
    assert labels_needed(measured, "frozen", "scratch", LABELS, 2) == {
        "labels": None, "labels_ci95": [None, None], "times": None, "most": 100.0,
    }  # fmt: skip


def test_between_two_tiers_it_is_on_the_logarithm_of_labels():
    shares = {("frozen", 0): 0.2, ("frozen", 1): 0.2, ("frozen", 2): 0.2}
    scratch = {("scratch", 0): 0.1, ("scratch", 1): 0.3, ("scratch", 2): 0.3}
    found = measure({key: right(share) for key, share in {**shares, **scratch}.items()}, seed=0)
    assert labels_needed(found, "frozen", "scratch", LABELS, 0)["labels"] == pytest.approx(10**0.5)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_scratch_never_needs_more_labels_for_less(shares):
    frozen, scratch = np.sort(shares[:3]), shares[3:]
    found = measure(
        {(arm, one): right(row[one], 1) for arm, row in (("frozen", frozen), ("scratch", scratch)) for one in LABELS}, 0
    )
    needed = [labels_needed(found, "frozen", "scratch", LABELS, one)["labels"] or np.inf for one in LABELS]
    assert needed == sorted(needed)
    assert all(1.0 <= value <= 100.0 + 1e-9 or value == np.inf for value in needed)
