import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.learn.calibration import (
    calibration_interval,
    calibration_report,
    expected_calibration_error,
    fit_temperature,
    reliability,
    without_temperature,
)
from autotl.learn.metrics import log_loss, softmax


def draw(seed, rows, sharpened=1.0, classes=6):
    """Logits whose labels follow softmax(logits / sharpened)."""
    generator = np.random.default_rng(seed)
    logits = 1.8 * generator.normal(size=(rows, classes))
    labels = (softmax(logits).cumsum(axis=1) > generator.random((rows, 1))).argmax(axis=1)
    return sharpened * logits, labels


@pytest.mark.parametrize("rows", [70, 500, 2000])
def test_the_interval_of_a_calibrated_model_begins_at_zero_however_few_the_images(rows):
    lows = []
    for seed in range(20):
        logits, labels = draw(seed, rows)
        low, high = calibration_interval(softmax(logits), labels)
        lows.append(low)
        assert low <= expected_calibration_error(softmax(logits), labels) <= high
    assert np.mean(np.array(lows) < 0.005) >= 0.85


@pytest.mark.parametrize("sharpened", [0.6, 2.0])
def test_the_interval_holds_the_true_error_of_a_miscalibrated_model(sharpened):
    logits, labels = draw(0, 100_000, sharpened)
    probabilities = softmax(logits)
    truth = expected_calibration_error(probabilities, labels)
    inside = []
    for start in range(0, 9000, 300):
        some = slice(start, start + 300)
        low, high = calibration_interval(probabilities[some], labels[some])
        inside.append(low <= truth <= high)
    assert np.mean(inside) >= 0.85


def test_the_interval_narrows_with_the_images_and_repeats_with_its_seed():
    few, many = (
        calibration_interval(softmax(logits), labels) for logits, labels in (draw(1, 200, 2), draw(1, 9000, 2))
    )
    assert many[1] - many[0] < 0.3 * (few[1] - few[0])
    assert few == calibration_interval(softmax(draw(1, 200, 2)[0]), draw(1, 200, 2)[1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(2, 4), st.floats(0.0, 40.0))
def test_the_interval_is_two_shares_around_the_error_also_of_certain_and_of_single_rows(seed, rows, classes, scale):
    generator = np.random.default_rng(seed)
    probabilities, labels = (
        softmax(scale * generator.normal(size=(rows, classes))),
        generator.integers(0, classes, rows),
    )
    low, high = calibration_interval(probabilities, labels)
    assert 0.0 <= low <= expected_calibration_error(probabilities, labels) <= high <= 1.0


def test_a_certain_and_right_model_is_calibrated_for_sure():
    assert calibration_interval([[1.0, 0.0]] * 9, [0] * 9) == [0.0, 0.0]


def test_the_temperature_can_be_taken_out_of_probabilities_again():
    logits, _ = draw(2, 50)
    found = without_temperature(softmax(logits / 2.5).astype(np.float32), 2.5)
    np.testing.assert_allclose(found, softmax(logits), atol=1e-5)
    assert np.isfinite(without_temperature(np.array([[1.0, 0.0]], np.float32), 3.0)).all()


def test_the_report_shows_that_a_temperature_has_helped_an_overconfident_model():
    logits, labels = draw(3, 3000, sharpened=2.5)
    temperature = fit_temperature(logits, labels)
    found = calibration_report(softmax(logits / temperature), labels, temperature)
    before = found["uncalibrated"]
    assert before["expected_calibration_error_ci95"][0] > found["expected_calibration_error_ci95"][1]
    assert found["expected_calibration_error_ci95"][0] < 0.01
    assert before["log_loss"] == pytest.approx(log_loss(softmax(logits), labels), rel=1e-6)
    assert set(found["reliability"]) == {"calibrated", "uncalibrated"}
    assert "uncalibrated" not in calibration_report(softmax(logits), labels)


def test_the_bins_of_a_reliability_diagram_hold_all_rows_and_give_the_error():
    logits, labels = draw(4, 800, sharpened=2.0)
    bins = reliability(softmax(logits), labels)
    assert sum(row["n"] for row in bins) == 800
    assert [row["confidence"] for row in bins] == sorted(row["confidence"] for row in bins)
    error = sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / 800
    assert error == pytest.approx(expected_calibration_error(softmax(logits), labels))
