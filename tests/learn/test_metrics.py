import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.learn import metrics

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def draw(seed, rows=60, classes=5, absent=()):
    generator = np.random.default_rng(seed)
    probabilities = metrics.softmax(generator.normal(size=(rows, classes)) * 2)
    allowed = [index for index in range(classes) if index not in absent]
    return probabilities, generator.choice(allowed, size=rows)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 80), st.integers(2, 7))
def test_all_scores_agree_with_scikit_learn(seed, rows, classes):
    probabilities, labels = draw(seed, rows, classes)
    predictions = probabilities.argmax(axis=1)
    found = metrics.scores(probabilities, labels)
    recalls = [(predictions[labels == index] == index).mean() for index in np.unique(labels)]
    assert found["n"] == rows
    assert found["accuracy"] == sklearn_metrics.accuracy_score(labels, predictions)
    assert found["accuracy"] == metrics.accuracy(probabilities, labels)
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls), abs=1e-12)
    assert found["balanced_accuracy"] == metrics.balanced_accuracy(probabilities, labels)
    assert found["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, predictions, average="macro"), abs=1e-12)
    expected = sklearn_metrics.log_loss(labels, probabilities, labels=list(range(classes)))
    assert found["log_loss"] == pytest.approx(expected, abs=1e-12)
    assert found["log_loss"] == metrics.log_loss(probabilities, labels)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 60), st.integers(2, 5), st.integers(1, 3))
def test_the_area_under_the_curve_is_scikit_learns_mean_over_the_classes_that_occur_even_with_ties(
    seed, rows, classes, decimals
):
    probabilities, labels = draw(seed, rows, classes)
    probabilities = probabilities.round(decimals)
    occurring = np.unique(labels)
    expected = 0.5
    if len(occurring) > 1:
        areas = [sklearn_metrics.roc_auc_score(labels == label, probabilities[:, label]) for label in occurring]
        expected = np.mean(areas)
    assert metrics.auroc(probabilities, labels) == pytest.approx(expected, abs=1e-12)
    assert metrics.scores(probabilities, labels)["auroc"] == metrics.auroc(probabilities, labels)


def test_the_area_of_two_classes_is_the_usual_one():
    probabilities, labels = draw(4, rows=300, classes=2)
    expected = sklearn_metrics.roc_auc_score(labels, probabilities[:, 1])
    assert metrics.auroc(probabilities, labels) == pytest.approx(expected, abs=1e-9)


def test_with_one_class_the_area_is_one_half_and_its_interval_is_a_number():
    probabilities, labels = draw(5, rows=20), np.zeros(20, int)
    assert metrics.auroc(probabilities[0], labels) == 0.5
    assert metrics.bootstrap_interval(probabilities[0], labels, "auroc", draws=50) == [0.5, 0.5]
    rare = np.array([1] + [0] * 19)  # a third of the draws have no row of class 1
    assert np.isfinite(metrics.bootstrap_interval(probabilities[0], rare, "auroc", draws=200)).all()


def test_confusion_and_per_class_agree_with_scikit_learn_even_for_absent_classes():
    probabilities, labels = draw(3, absent=(1,))
    predictions = probabilities.argmax(axis=1)
    expected = sklearn_metrics.precision_recall_fscore_support(labels, predictions, labels=range(5), zero_division=0)
    for name, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(metrics.per_class(probabilities, labels)[name], column, atol=1e-12)
    expected = sklearn_metrics.confusion_matrix(labels, predictions, labels=range(5))
    np.testing.assert_array_equal(metrics.confusion(probabilities, labels), expected)


def test_log_loss_is_finite_for_a_certain_and_wrong_prediction():
    assert np.isfinite(metrics.log_loss([[1.0, 0.0]], [1]))


def test_softmax_survives_huge_logits():
    np.testing.assert_allclose(metrics.softmax([[1e6, 1e6, -1e6]]), [[0.5, 0.5, 0.0]])


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "auroc"])
def test_bootstrap_interval_contains_the_score_and_repeats_with_its_seed(metric):
    probabilities, labels = draw(1, rows=200)
    low, high = metrics.bootstrap_interval(probabilities, labels, metric, draws=2000)
    assert low < metrics.scores(probabilities, labels)[metric] < high
    assert [low, high] == metrics.bootstrap_interval(probabilities, labels, metric, draws=2000)


def test_bootstrap_of_accuracy_has_the_width_of_the_binomial():
    labels = np.zeros(400, dtype=int)
    probabilities = np.tile([[0.9, 0.1]], (400, 1))
    probabilities[:100] = [0.1, 0.9]
    low, high = metrics.bootstrap_interval(probabilities, labels)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 400), rel=0.05)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "auroc"])
def test_bootstrap_interval_is_that_of_rows_drawn_with_replacement(metric):
    probabilities, labels = draw(2, rows=150)
    generator = np.random.default_rng(5)
    samples = [generator.integers(0, 150, 150) for _ in range(2000 if metric == "auroc" else 4000)]
    drawn = [metrics.scores(probabilities[rows], labels[rows])[metric] for rows in samples]
    low, high = metrics.bootstrap_interval(probabilities, labels, metric)
    np.testing.assert_allclose([low, high], np.quantile(drawn, [0.025, 0.975]), atol=0.012)


def test_bootstrap_of_many_rows_and_classes_stays_in_bounded_memory():
    import tracemalloc

    generator = np.random.default_rng(0)
    labels = generator.integers(0, 300, 5000)
    probabilities = np.zeros((5000, 300))
    probabilities[np.arange(5000), np.where(generator.random(5000) < 0.6, labels, 299 - labels)] = 1.0
    for metric in ("balanced_accuracy", "macro_f1", "log_loss", "auroc"):
        tracemalloc.start()
        metrics.bootstrap_interval(probabilities, labels, metric, draws=40 if metric == "auroc" else 2000)
        assert tracemalloc.get_traced_memory()[1] < 300e6
        tracemalloc.stop()


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="metric must be"):
        metrics.bootstrap_interval([[0.5, 0.5]], [0], "area")


def test_calibration_error_is_zero_when_confidence_is_right_and_the_gap_when_it_is_not():
    probabilities = np.tile([[0.75, 0.25]], (4, 1))
    assert metrics.expected_calibration_error(probabilities, [0, 0, 0, 1]) == pytest.approx(0.0)
    assert metrics.expected_calibration_error(probabilities, [1, 1, 1, 1]) == pytest.approx(0.75)
    assert metrics.expected_calibration_error([[1.0, 0.0]], [0]) == 0.0


@pytest.mark.parametrize("sharpened", [0.25, 1.0, 3.0])
def test_temperature_recovers_how_far_the_logits_were_sharpened(sharpened):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 4)) * 1.5
    labels = (metrics.softmax(logits).cumsum(axis=1) > generator.random((4000, 1))).argmax(axis=1)
    found = metrics.fit_temperature(logits * sharpened, labels)
    assert found == pytest.approx(sharpened, rel=0.08)
    here, sharper, softer = (
        metrics.log_loss(metrics.softmax(logits * sharpened / (found * factor)), labels) for factor in (1, 0.98, 1.02)
    )
    assert here <= min(sharper, softer)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 100.0), st.integers(3, 60))
def test_no_other_temperature_in_bounds_has_a_smaller_log_loss(seed, scale, rows):
    generator = np.random.default_rng(seed)
    labels = generator.integers(3, size=rows)
    logits = scale * (generator.normal(size=(rows, 3)) + np.eye(3)[labels])
    found = metrics.log_loss(metrics.softmax(logits / metrics.fit_temperature(logits, labels)), labels)
    others = [metrics.log_loss(metrics.softmax(logits / other), labels) for other in np.geomspace(0.05, 20.0, 60)]
    assert found <= min(others) + 1e-9


def test_temperature_stays_in_its_bounds():
    logits = np.eye(3) * 10
    assert metrics.fit_temperature(logits, [0, 1, 2]) == 0.05
    assert metrics.fit_temperature(logits, [1, 2, 0]) == 20.0


@pytest.mark.parametrize(
    ("values", "labels"), [(np.zeros((0, 2)), []), (np.zeros((2, 2)), [0]), ([[0.5, 0.5]], [2]), ([[0.5, 0.5]], [-1])]
)
def test_shapes_and_labels_that_do_not_fit_are_refused(values, labels):
    with pytest.raises(ValueError, match=r"expected values|labels must be"):
        metrics.scores(values, labels)
