"""Parity: what counts as near enough, on arrays."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotl.deliver.parity import Answers, choose_balanced, compare, synthetic_images
from autotl.exporters.contract import Limits

EXACT = Limits(1e-4, same_label=1.0, accuracy_drop=0.0)
LOOSE = Limits(None, same_label=0.9, accuracy_drop=0.01)
LABELS = np.arange(100) % 4


def good(labels=LABELS, confidence=0.7):
    probabilities = np.full((len(labels), 4), (1 - confidence) / 3, np.float32)
    probabilities[np.arange(len(labels)), labels] = confidence
    return probabilities


def answers(validation, *chosen):
    return Answers(list(chosen) or [validation[:10], validation[:10]], validation)


def test_the_same_answers_pass_exactly():
    found = compare(answers(good()), answers(good()), LABELS, EXACT)
    assert found["passed"] and found["max_difference"] == 0.0 and found["same_label"] == 1.0
    assert found["validation"] == {"n": 100, "accuracy": 1.0, "reference_accuracy": 1.0, "accuracy_drop": 0.0}


def test_a_difference_in_one_batch_size_alone_is_seen():
    shifted = good()[:10] + np.float32(0.01)
    found = compare(answers(good()), answers(good(), good()[:10], shifted), LABELS, EXACT)
    assert found["max_difference"] == pytest.approx(0.01, rel=1e-3)
    assert found["problems"] == ["probabilities differ by up to 0.01, the limit is 0.0001"]
    assert compare(answers(good()), answers(good(), good()[:10], shifted), LABELS, LOOSE)["passed"]


def test_labels_that_change_and_accuracy_that_falls_are_two_limits():
    wrong = good(np.where(np.arange(100) < 20, (LABELS + 1) % 4, LABELS))
    found = compare(answers(good()), answers(wrong, good()[:10]), LABELS, LOOSE)
    assert found["validation"]["accuracy_drop"] == pytest.approx(0.2)
    assert len(found["problems"]) == 2 and "keep their label" in found["problems"][0]
    assert found["problems"][1] == "accuracy falls by 20.00%, the limit is 1.00%"


def test_ties_may_fall_either_way():
    tied = np.full((100, 4), 0.25, np.float32)
    before, after = tied.copy(), tied.copy()
    before[np.arange(100), LABELS] += 4e-5
    after[np.arange(100), (LABELS + 1) % 4] += 4e-5
    found = compare(answers(before), answers(after), LABELS, EXACT)
    assert found["passed"] and found["compared"] == 0
    assert found["validation"]["accuracy"] == 0.0  # told as it is, and held against nobody


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_never_passes_and_stays_out_of_the_json(value):
    broken = good()
    broken[3, 0] = value
    found = compare(answers(good()), answers(broken), LABELS, LOOSE)
    assert not found["passed"] and found["problems"][0] == "some probabilities are not numbers"
    assert found["max_difference"] is None and found["validation"]["accuracy"] == 0.99
    json.dumps(found, allow_nan=False)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.integers(1, 80), st.integers(0, 3))
def test_the_choice_is_as_even_as_the_classes_allow(labels, count, seed):
    labels = np.array(labels)
    chosen = choose_balanced(labels, count, seed)
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(labels))
    assert (np.diff(chosen) > 0).all()
    taken, there = np.bincount(labels[chosen], minlength=6), np.bincount(labels, minlength=6)
    most = taken.max()
    assert all(taken[label] >= most - 1 or taken[label] == there[label] for label in range(6))
    assert (chosen == choose_balanced(labels, count, seed)).all()


def test_synthetic_images_are_black_white_and_noise():
    black, white, noise = synthetic_images(8, 0)
    assert black.max() == 0 and white.min() == 255 and len(np.unique(noise)) > 100
    assert (synthetic_images(8, 0) == synthetic_images(8, 0)).all()
